//! Every limit of mission control, with its reason.

use std::time::Duration;

/// Connections of the dashboard's own: a slow list must not take those that start sagas.
pub const CONNECTIONS_MAX: u32 = 4;
/// What one statement may take: whoever asks for more has to narrow the search.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a page waits for one of the connections.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A form: an input of 256 KiB, URL-encoded (up to three times as long), and a reason.
pub const FORM_BYTES_MAX: usize = 1024 * 1024;
/// A session that is not used is over.
pub const SESSION_IDLE: Duration = Duration::from_secs(60 * 60);
/// A session is over after a shift, used or not.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Using a session is written down only this often, so that looking at pages isn't writing.
pub const SESSION_TOUCH: Duration = Duration::from_secs(60);
/// A one-time link is for now.
pub const LINK_MAX: Duration = Duration::from_secs(15 * 60);
/// A link for a new colleague, who may be on another shift.
pub const INVITATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a browser may stay at the identity provider: a second factor takes its time.
pub const SIGN_ON_MAX: Duration = Duration::from_secs(10 * 60);
/// How long what the identity provider says of itself is believed; its keys change rarely, and a new one is asked for when it is met.
pub const PROVIDER_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// How soon it is asked again: neither its failures nor forged tokens make us flood it.
pub const PROVIDER_RETRY: Duration = Duration::from_secs(10);
/// How long a request to it may take: somebody waits in front of a page.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Logins that are asked of it at once: more than come at the beginning of a shift.
pub const SIGN_ONS_MAX: usize = 8;
/// An answer of it: a set of keys with their certificates has some tens of KiB.
pub const PROVIDER_ANSWER_MAX: usize = 1024 * 1024;
/// Passwords hashed at once: each takes 19 MiB and some 50 ms of a core.
pub const HASHES_MAX: usize = 2;
/// How long a login waits for its turn to be hashed.
pub const HASH_WAIT: Duration = Duration::from_secs(5);
/// Characters of a new password, at least: length is what counts.
pub const PASSWORD_MIN: usize = 12;
/// Bytes of a password, at most.
pub const PASSWORD_MAX: usize = 256;
/// The delay after failed logins doubles up to here. Not longer: whoever fails on purpose would lock others out.
pub const LOGIN_DELAY_MAX: Duration = Duration::from_secs(60);
/// Failed logins without a delay: typing errors.
pub const FREE_FAILURES: i32 = 2;
/// Characters of a reason or a note.
pub const REASON_MAX: usize = 2_000;
/// Sagas on a page of the list.
pub const PAGE_SAGAS: u32 = 50;
/// Entries of the audit trail on a page.
pub const PAGE_AUDIT: i64 = 100;
/// Notes on a saga's page.
pub const PAGE_NOTES: i64 = 100;
/// Journal entries that a saga's page shows, and replays for its timeline.
pub const PAGE_JOURNAL: u32 = 200;
/// Characters of a journal entry's JSON that a page shows: with all entries of a page, still a small one.
pub const EVENT_SHOWN_MAX: usize = 1_000;
/// Characters of JSON that a page shows; the API gives the rest.
pub const JSON_SHOWN_MAX: usize = 8_000;
/// Characters of a search.
pub const SEARCH_MAX: usize = 500;
/// How far back a list goes that only the order of ids can find: no index narrows it.
pub const WIDE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// Groups of the stuck inbox that are told apart.
pub const INBOX_GROUPS_MAX: i64 = 1_000;
/// Groups on its page, so that it stays a small one.
pub const PAGE_GROUPS: usize = 50;
/// Rows that a figure of the overview counts at most; it then says "or more".
pub const COUNT_MAX: i64 = 100_000;
/// How old the overview's figures may be: any number of open pages ask the database this often.
pub const FIGURES_AGE_MAX: Duration = Duration::from_secs(5);
/// A timer or an attempt's deadline this late means that no orchestrator works them off.
pub const TIMER_LATE: Duration = Duration::from_secs(60);
/// Open streams of one process: each costs a connection and little else; operators are people.
pub const LIVE_LISTENERS_MAX: usize = 300;
/// How often the sagas that somebody looks at are looked at, all by one statement.
pub const LIVE_LOOK: Duration = Duration::from_secs(1);
/// How often pages that aren't about one saga are made anew.
pub const LIVE_TICK: Duration = Duration::from_secs(5);
/// How often a stream asks whether its session goes on.
pub const LIVE_SESSION_LOOK: Duration = Duration::from_secs(30);
/// Hours that the overview's sales go back: an on-sale and what came after it.
pub const SALES_HOURS: u32 = 24;
/// Minutes in the overview's charts.
pub const CHART_MINUTES: usize = 30;
/// Live sagas of each status whose state is read to see at which step they are: the newest. A state has some kilobytes.
pub const STEP_SAMPLE: i64 = 500;
/// How old what is known of the queues may be before Kafka is asked again.
pub const QUEUES_AGE_MAX: Duration = Duration::from_secs(10);
/// Queues that are asked about: each is a few requests.
pub const QUEUES_MAX: usize = 50;
/// A worker that has not been heard of for so long is gone: three signs of life.
pub const WORKER_SILENT: Duration = Duration::from_secs(30);
/// Problems of an edited input that are told at once.
pub const SCHEMA_PROBLEMS_MAX: usize = 5;
/// Workers on a page.
pub const PAGE_WORKERS: i64 = 500;
/// Tasks a second: a limit above this is none.
pub const QUEUE_RATE_MAX: f64 = 1_000_000.0;
/// Sagas in trouble that the inbox counts: the oldest.
pub const INBOX_SAGAS_MAX: i64 = 20_000;
/// Sagas in trouble whose states the inbox looks into, for money and unknown outcomes: the oldest. It costs a tenth of a second.
pub const INBOX_LOOK_MAX: i64 = 2_000;
/// Bytes of a state that is looked into by SQL; most have two or three thousand.
pub const STATE_LOOK_MAX: i32 = 16 * 1024;
/// How old the inbox may be.
pub const INBOX_AGE_MAX: Duration = Duration::from_secs(5);
/// Hours in the inbox's sparklines.
pub const SPARK_HOURS: usize = 24;
/// Sagas whose journals a workflow's page replays for its times: enough for a 95th percentile, little enough to be quick.
pub const SAMPLE_SAGAS: i64 = 100;
/// The newest sagas of all workflows among which these are looked for: no index leads to a workflow's own.
pub const SAMPLE_AMONG: i64 = 10_000;
/// Journal entries that are replayed.
pub const SAMPLE_ENTRIES: i64 = 5_000;
/// Firings of a schedule on its page.
pub const PAGE_FIRINGS: u32 = 50;
/// Sagas of an export: what a spreadsheet still opens.
pub const EXPORT_SAGAS_MAX: usize = 100_000;
/// Sagas that an export reads at a time.
pub const EXPORT_PAGE: u32 = 1_000;
/// Exports that read at once: each keeps one of our connections busy.
pub const EXPORTS_MAX: usize = 2;
/// Kept searches.
pub const VIEWS_MAX: i64 = 200;
/// Words that a search is completed from.
pub const WORDS_MAX: usize = 200;
/// Characters of an error's code in a table: it is somebody's text, of any length.
pub const CODE_SHOWN_MAX: usize = 120;
/// Sagas of one campaign: a dry run of so many takes a minute or two, and more belong into two campaigns.
pub const CAMPAIGN_ITEMS_MAX: u32 = 100_000;
/// Sagas frozen by one statement.
pub const FREEZE_CHUNK: u32 = 5_000;
/// Sagas dry-run at once: with the largest inputs, some 50 MB.
pub const DRY_RUN_CHUNK: i64 = 200;
/// How long a campaign's turn may last before the others have theirs: well below its lease.
pub const CAMPAIGN_TURN: Duration = Duration::from_secs(2);
/// A runner that is silent for this long is taken for dead.
pub const CAMPAIGN_LEASE: Duration = Duration::from_secs(20);
/// Campaigns that one runner has in hand.
pub const CAMPAIGNS_PER_RUNNER: i64 = 8;
/// How often campaigns are looked at while one runs: people watch.
pub const CAMPAIGN_TICK: Duration = Duration::from_millis(200);
/// How often a runner without a campaign looks for one.
pub const CAMPAIGN_IDLE_TICK: Duration = Duration::from_secs(2);
/// Commands given at once: a part of one engine batch.
pub const CAMPAIGN_SEND_MAX: u32 = 250;
/// Items a second, at most.
pub const CAMPAIGN_RATE_MAX: u32 = 5_000;
/// Items sent and not settled, at most; all of them are looked at by one statement.
pub const CAMPAIGN_IN_FLIGHT_MAX: u32 = 2_000;
/// The rate may be made up for after a pause of at most this long, in milliseconds.
pub const CAMPAIGN_BURST_MS: i64 = 1_000;
/// The canary, unless one in [`CANARY_SHARE`] is more.
pub const CANARY_DEFAULT: u32 = 5;
/// One in so many.
pub const CANARY_SHARE: u64 = 100;
/// The largest canary.
pub const CANARY_MAX: u32 = 500;
/// Fewer failures than this say nothing about a rate.
pub const FAILURES_JUDGED_MIN: u64 = 3;
/// The longest that an item can be waited for: a working day.
pub const PATIENCE_MAX_SECONDS: u32 = 12 * 60 * 60;
/// Campaigns on a page.
pub const PAGE_CAMPAIGNS: i64 = 50;
/// Items of a campaign on a page.
pub const PAGE_ITEMS: i64 = 100;
/// Groups of items that a campaign's page shows.
pub const ITEM_GROUPS_MAX: i64 = 50;
/// Characters of an item's outcome.
pub const OUTCOME_MAX: usize = 300;
/// How long a request waits for a second person: a shift, so that nobody finds it the day after.
pub const APPROVAL_MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// Requests for approval on a page.
pub const PAGE_APPROVALS: i64 = 100;
/// A token's longest life: who needs it longer makes a new one.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Using a token is written down only this often.
pub const TOKEN_TOUCH: Duration = Duration::from_secs(60);
/// Tokens of one user that work at the same time: more is somebody who makes them in a loop.
pub const TOKENS_PER_USER_MAX: i64 = 50;
/// Items of one answer of the API.
pub const API_PAGE_MAX: u32 = 500;
/// How long the items of a campaign that is over are kept: a quarter's review still finds them.
pub const KEEP_ITEMS: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How often old items are forgotten.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Journal entries that are folded to compare attempts: more than any saga that people look into one by one has.
pub const COMPARED_ENTRIES_MAX: u32 = 1_000;
/// Among so many of the newest sagas one that has passed a step is searched for.
pub const PASSED_AMONG: i64 = 50_000;
/// Of those, sagas of the workflow that did not fail there, whose journals are asked: an index look-up or two each.
pub const PASSED_ASKED: i64 = 1_000;
/// Entries of the audit trail in a file: what a spreadsheet still opens; the filters lead to the rest.
pub const EXPORT_AUDIT_MAX: usize = 100_000;
/// Entries that such a file is read by: their inputs may be large, so fewer than sagas.
pub const EXPORT_AUDIT_PAGE: i64 = 200;
/// Characters of what was before, what is after and what it was done with, each, on the trail's page: a hundred rows stay a small page, and the file
/// has the rest.
pub const AUDIT_SHOWN_MAX: usize = 400;
/// Actions that the trail's form offers.
pub const ACTIONS_MAX: i64 = 100;
/// How long a report may take: somebody waits for it.
pub const REPORT_LIMIT: Duration = Duration::from_secs(20);
/// Bars of a chart: each is three pixels, and a page of ten charts stays below 100 kB.
pub const CHART_BARS_MAX: usize = 120;
/// Alerts on the page.
pub const ALERTS_SHOWN_MAX: i64 = 200;
