//! Every limit of the gateway, in one place.

use std::num::NonZeroU32;
use std::time::Duration;

/// Bytes of a request's body. A booking of ten seats takes under a kilobyte.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bookings of one's own on a page: a screen of them.
pub const BOOKINGS_PAGE: u32 = 20;
/// Characters of a page's cursor: the engine's are an id.
pub const CURSOR_CHARS_MAX: usize = 200;
/// Bytes of a webhook's body. Stripe's largest events, those that carry whole objects, stay well below.
pub const WEBHOOK_BYTES_MAX: usize = 256 * 1024;
/// Webhooks kept by one statement.
pub const WEBHOOKS_KEPT_MAX: usize = 500;
/// Bytes of an oversized body that are read and thrown away, so that the client gets to read its 413 rather than
/// find the connection reset while it is still sending.
pub const BODY_DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a client may take to send its body.
pub const BODY_READ_LIMIT: Duration = Duration::from_secs(10);

/// Seats in one booking: what ticket shops commonly sell to one buyer, and a claim that locks few rows.
pub const SEATS_PER_BOOKING_MAX: usize = 10;
/// Characters of an identifier (user, event, seat, section).
pub const ID_CHARS_MAX: usize = 100;
/// Characters of a payment method's identifier; Stripe's own limit for ids is 255.
pub const PAYMENT_METHOD_CHARS_MAX: usize = 255;
/// Characters of an e-mail address (RFC 5321: a path of 256 octets with its angle brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Characters of an idempotency key. The engine takes 255, of which a registered user's id takes some.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 200;
/// Digits of an amount before the decimal point: far beyond any price, far within 64 bits of cents.
pub const AMOUNT_DIGITS_MAX: usize = 12;
/// Languages of an `Accept-Language` that are looked at: browsers send a handful.
pub const LANGUAGES_MAX: usize = 20;
/// Problems named in one answer; whoever makes more mistakes at once fixes these first.
pub const ERRORS_MAX: usize = 20;
/// Characters of a client's own text repeated in an error.
pub const ECHO_CHARS_MAX: usize = 64;

/// The longest wait that `Prefer: wait` is granted: below the idle time-outs of common proxies.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Entries of a booking's history in an answer. A booking has about a dozen, and a few for each payment attempt.
pub const HISTORY_MAX: u32 = 1_000;
/// Events on a page, at most.
pub const EVENTS_PAGE_MAX: u32 = 200;
/// Steps of a report, at most: a day by minute, two months by hour.
pub const REPORT_POINTS_MAX: i64 = 1_500;
/// Events on a page when nobody says.
pub const EVENTS_PAGE_DEFAULT: u32 = 50;
/// Events whose seats are kept in memory; about 4 MB each for 20,000 seats, the rendered list included.
pub const SEAT_MAPS_MAX: usize = 64;

/// How often the seats of watched events are looked at while they change, and so how many changes are sent together: a
/// map that moves four times a second looks live, and costs one statement each time however many look on.
pub const SEATS_REFRESH_EVERY: Duration = Duration::from_millis(250);
/// The longest pause between two looks: where nothing changes, or where looking takes long.
pub const SEATS_REFRESH_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A look is followed by a pause of so many times its own length, so that looking never takes more than a tenth of a
/// connection's time.
pub const SEATS_REFRESH_PAUSE_FACTOR: u32 = 9;
/// How long one look may take before it counts as failed.
pub const SEATS_REFRESH_LIMIT: Duration = Duration::from_secs(2);
/// Seats seen longer ago than this refuse nobody and are shown to nobody: then each request asks the database again.
/// Twice the longest pause, so that one late look does no harm.
pub const SEATS_AGE_MAX: Duration = Duration::from_secs(2);
/// How often names, prices and places are read again as well: they change by hand, rarely.
pub const SEATS_RELOAD_EVERY: Duration = Duration::from_secs(30);
/// A look that begins so long after a booking was begun has seen what came of its seats: a hop to a worker and a commit.
pub const SEATS_CLAIM_SETTLES_IN: Duration = Duration::from_millis(300);
/// How long a wish waits for what comes of another one for the same seats, at most; then the saga decides.
pub const SEATS_CLAIM_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long an event is watched after somebody last asked for its seats.
pub const SEATS_WATCH_IDLE: Duration = Duration::from_secs(60);
/// Free seats offered instead of taken ones: what fits a screen, as the saga offers too.
pub const SEATS_OFFERED_MAX: usize = 10;
/// Seats looked at in search of those: some sections on from the wanted ones, some microseconds.
pub const SEATS_OFFER_SCAN_MAX: usize = 2_000;

/// Listeners to seat changes of one gateway: each costs about 20 KB with its connection, so a gigabyte.
pub const SEAT_LISTENERS_MAX: usize = 50_000;
/// When a listener that found no room may come again: a moment in which others leave.
pub const SEAT_LISTENERS_RETRY: Duration = Duration::from_secs(5);
/// Frames that a slow listener may be behind before it is told to reload: sixteen seconds while everything changes.
pub const SEAT_FRAMES_BEHIND_MAX: usize = 64;
/// Frames kept for listeners that come back: a minute while everything changes.
pub const SEAT_FRAMES_KEPT_MAX: usize = 256;
/// Seats in one frame; past it everybody is told to reload, which is shorter.
pub const SEAT_FRAME_SEATS_MAX: usize = 2_000;
/// How often a listener hears something, at least, so that proxies keep the connection.
pub const SEAT_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How far clocks and snapshots of two gateways' looks may be apart: a listener that comes back is sent as much again.
/// Changes name a seat's state, so a repetition does no harm.
pub const SEAT_RESUME_OVERLAP: Duration = Duration::from_secs(1);

/// Bookings that a gateway takes in work at first, before it has learned anything: a few batches of the engine's.
pub const BOOKINGS_IN_WORK_INITIAL: f64 = 64.0;
/// However slow the back end is, so many are tried: what is never tried is never seen to be quick again.
pub const BOOKINGS_IN_WORK_MIN: f64 = 4.0;
/// The most that are ever in work: what the engine takes in one batch several times over; the rest would only wait there.
pub const BOOKINGS_IN_WORK_MAX: usize = 4_096;
/// How long beginning a booking may take before it says that too much is in work: a twelfth of the 1.2 s in which a buyer shall be
/// done, for each of the steps that follow is as slow.
pub const BOOKINGS_START_TARGET: Duration = Duration::from_millis(100);
/// How much the limit grows while as many as it allows are answered in time: about eight on each round.
pub const BOOKINGS_INCREASE: f64 = 8.0;
/// What is left of the limit after a sign of too much: mild, for a batching engine is late at once or not at all.
pub const BOOKINGS_DECREASE: f64 = 0.85;
/// One in so many of the limit may wait for room: work for a moment, so that short bursts get through.
pub const BOOKINGS_QUEUE_SHARE: usize = 2;
/// How long: a refusal that takes longer is no quick one.
pub const BOOKINGS_QUEUE_WAIT: Duration = Duration::from_millis(100);
/// When those who were sent away may come again, at the earliest and at the latest: spread, so that they don't come
/// back all at once.
pub const BOOKINGS_RETRY_S: std::ops::RangeInclusive<u64> = 1..=4;

/// How often lines move: often enough to look alive, two or three statements each time.
pub const ROOM_TICK: Duration = Duration::from_secs(1);
/// How often to look for waiting rooms where there are none.
pub const ROOMS_IDLE_TICK: Duration = Duration::from_secs(5);
/// Rooms seen longer ago are looked at again by whoever needs them: a look that failed, and the next one, are waited for.
pub const ROOMS_AGE_MAX: Duration = Duration::from_secs(10);
/// Seconds of a line's moves that are remembered as one: a turn lasts up to so much longer than it says, and a room of five-minute
/// turns has some sixty rows.
pub const ROOM_TURN_STEP_S: f64 = 5.0;
/// Buyers put in line, or asked for, by one statement.
pub const ROOM_BUYERS_TOGETHER_MAX: usize = 1_000;
/// How much of what could be begun is let in: the others are left for those who try again, and for other events.
pub const ROOM_SHARE: f64 = 0.5;

/// Characters of a new password, at least, and of any password, at most: phrases fit, and nobody has us hash novels.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// See above.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Characters of a phone number, with what people write between its digits.
pub const PHONE_CHARS_MAX: usize = 40;
/// Passwords hashed at once: each takes a core for some 50 ms, and 19 MiB. Two leave the other cores to bookings.
pub const HASHES_MAX: usize = 2;
/// Requests that may wait for their password to be hashed: what two hashers get done within the wait.
pub const HASHES_WAITING_MAX: usize = 64;
/// How long they wait.
pub const HASH_WAIT: Duration = Duration::from_secs(2);
/// When those who were sent away may come again.
pub const HASH_RETRY: Duration = Duration::from_secs(2);
/// How long an access token is good, and so how long a session that was ended still books: a few minutes, for a refresh costs a
/// statement.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(10 * 60);
/// How far gateways' clocks may be apart.
pub const ACCESS_TOKEN_LEEWAY: Duration = Duration::from_secs(5);
/// Bytes of an access token; ours have about 400, with the longest address some 800.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 2_048;
/// How long a session goes on without being used.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long it goes on at all.
pub const SESSION_MAX: Duration = Duration::from_secs(180 * 24 * 60 * 60);
/// Sessions of one account; the one that was used least lately makes room for the next. More devices than anybody has.
pub const SESSIONS_PER_ACCOUNT_MAX: i64 = 50;
/// Characters kept of what a device calls itself.
pub const USER_AGENT_CHARS_MAX: usize = 200;
/// Attempts (to log in, to register, to use a link or a refresh token) from one address at once: an office or a phone company's
/// customers share one.
pub const ATTEMPTS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// After those, one in so long.
pub const ATTEMPTS_PER_ADDRESS_EVERY: Duration = Duration::from_secs(1);
/// Attempts to log in to one account from one address at once: nobody forgets a password ten times in a row.
pub const ATTEMPTS_PER_PAIR: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// After those, one in so long.
pub const ATTEMPTS_PER_PAIR_EVERY: Duration = Duration::from_secs(30);
/// Attempts to log in to one account from all addresses at once: whoever fails on purpose from many locks its owner out.
pub const ATTEMPTS_PER_ACCOUNT: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// After those, one in so long.
pub const ATTEMPTS_PER_ACCOUNT_EVERY: Duration = Duration::from_secs(3);
/// Mails to one address at once that somebody may cause by asking for links.
pub const MAILS_PER_ACCOUNT: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
/// After those, one in so long.
pub const MAILS_PER_ACCOUNT_EVERY: Duration = Duration::from_secs(10 * 60);
/// Addresses or accounts whose attempts are counted each by themselves: some 100 bytes each. Past it those who may try again as if they never
/// had are forgotten; whoever finds no room all the same is counted together with a few others.
pub const ATTEMPT_KEYS_MAX: usize = 200_000;
/// How long browsers remember which sites' pages may ask: as long as Chromium does at the most.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);
/// How many users' budgets of requests an address has: a household, an office, a provider's customers who share one.
pub const ADDRESS_BUDGETS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// Users, and addresses, whose requests of one kind are counted: some 100 bytes each. They are forgotten once they may ask as often
/// again as if they never had, which takes seconds; past this number the others are counted together with a few more.
pub const RATE_KEYS_MAX: usize = 500_000;
/// Proxies whose word on where a request comes from is taken: a header longer than this chain names the last of them.
pub const FORWARDED_MAX: usize = 16;
/// What happened to accounts or to events: taken from an outbox at a time.
pub const OUTBOX_BATCH_MAX: i64 = 100;
/// Starts of their sagas under way to the engine at a time, per gateway.
pub const OUTBOX_CONCURRENCY: usize = 16;
/// What nobody told within this time is taken again.
pub const OUTBOX_LEASE: Duration = Duration::from_secs(60);
/// The wait before the first retry; later ones wait twice as long each, up to the next.
pub const OUTBOX_RETRY: Duration = Duration::from_secs(1);
/// See above.
pub const OUTBOX_BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// How often sessions and links that are over are cleared away.
pub const USERS_PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// So many at a time, so that no delete runs long.
pub const USERS_PURGE_MAX: i64 = 1_000;

/// Seats of a venue: the largest stadiums have some 110,000 for sports, and fewer for concerts.
pub const VENUE_SEATS_MAX: usize = 100_000;
/// Bytes of a venue's seats: 160 for each of them.
pub const VENUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Imports of seats worked on at a time: each may take some ten times its bytes.
pub const VENUE_IMPORTS_MAX: usize = 2;
/// When an import that found no room may come again: one takes some seconds.
pub const VENUE_IMPORT_RETRY: Duration = Duration::from_secs(5);
/// Venues on a page.
pub const VENUES_PAGE_MAX: u32 = 100;
/// A seat's number, at most.
pub const SEAT_NUMBER_MAX: i32 = 100_000;
/// How far from nought a seat's coordinates are, at most: in centimetres, a kilometre.
pub const SEAT_COORDINATE_MAX: f32 = 100_000.0;
/// Bytes of an event as organisers send it: with tiers for each row of a stadium.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of an event's attributes, which are sent with every list of events.
pub const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;
/// Characters of an event's or a venue's name.
pub const NAME_CHARS_MAX: usize = 200;
/// Performers of an event: a festival's.
pub const PERFORMERS_MAX: usize = 100;
/// Price tiers of an event.
pub const TIERS_MAX: usize = 100;
/// Sections, or sections with rows, that an event's tiers name together.
pub const TIER_PLACES_MAX: usize = 5_000;
/// Fees of an event, and taxes: more would not be understood by anybody who pays them.
pub const CHARGES_MAX: usize = 10;
/// Seats that an organiser keeps, or lets go, by one request.
pub const HOUSE_SEATS_MAX: usize = 5_000;
/// Words of a search, at most.
pub const SEARCH_WORDS_MAX: usize = 10;
/// Seats of which a picture names each; a larger one would be several megabytes.
pub const PICTURE_TITLES_MAX: usize = 2_000;

/// Webhook events taken from the inbox at a time.
pub const INBOX_BATCH_MAX: i64 = 100;
/// Signals under way to the engine at a time, per gateway.
pub const INBOX_CONCURRENCY: usize = 16;
/// A claimed webhook event that nobody finished within this time is claimed again.
pub const INBOX_LEASE: Duration = Duration::from_secs(60);
/// How long a webhook event waits for its booking: as long as Stripe itself keeps repeating one.
pub const INBOX_PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// The longest pause between two tries at one webhook event.
pub const INBOX_BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
/// How long finished webhook events are kept, to recognise repetitions and to answer questions.
pub const INBOX_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Old webhook events deleted at a time, so that no delete runs long.
pub const INBOX_PURGE_MAX: i64 = 1_000;
/// How often those that wait are counted, for the metrics.
pub const INBOX_COUNT_EVERY: Duration = Duration::from_secs(5);
/// How often old webhook events are looked for.
pub const INBOX_PURGE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Listeners to the live figures, at most: each costs some kilobytes.
pub const METRICS_LISTENERS_MAX: usize = 20_000;
/// How often they are told.
pub const METRICS_EVERY: Duration = Duration::from_secs(1);
/// How often the analytics are asked for that.
pub const METRICS_STORE_EVERY: Duration = Duration::from_secs(5);
/// How long a second's figures wait for their answer; without it they are told with the one before.
pub const METRICS_STORE_WAIT: Duration = Duration::from_millis(250);
/// How long a listener may take to take one message: longer than a telephone is in a tunnel for.
pub const METRICS_SEND_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of what a listener may say: nothing of it is read.
pub const METRICS_MESSAGE_BYTES_MAX: usize = 1_024;
/// Events that are named as popular.
pub const POPULAR_EVENTS_MAX: i64 = 5;

/// How long connecting to a service that runs apart may take: it is in the same network.
pub const PASSED_CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Connections to each of them that are kept; as many requests may be under way without a new one.
pub const PASSED_IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an unused one is kept, below the minute after which balancers between them hang up.
pub const PASSED_IDLE_MAX: Duration = Duration::from_secs(30);
/// How much longer than its own limit a service may take to answer.
pub const PASSED_MARGIN: Duration = Duration::from_secs(1);
/// When whoever asked for a service that gave no answer may come again.
pub const PASSED_RETRY: Duration = Duration::from_secs(2);
/// One in so many of the requests that are worked on at a time may be for one service that runs apart: one that is slow leaves half to the others.
pub const PASSED_SHARE: usize = 2;

/// Characters of a confirmation number, at most: ours have fewer.
pub const ORDER_NUMBER_CHARS_MAX: usize = 40;
/// Tickets that are checked by one request: what a device has gathered while it had no network.
pub const SCANS_MAX: usize = 500;
/// The body of such a request, in bytes: so many of the longest codes.
pub const SCANS_BYTES_MAX: usize = 1 << 20;
/// How far the clock of a door's device may be ahead.
pub const DOOR_CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// How long ago a device may have let somebody in without telling: two days of a festival without a network.
pub const DOOR_OFFLINE_MAX: Duration = Duration::from_secs(48 * 60 * 60);
/// Characters of a door's name, and of the reason why a check-in is taken back.
pub const DOOR_TEXT_CHARS_MAX: usize = 200;
/// A pass for a door is good so many hours, at most: a festival's week.
pub const PASS_HOURS_MAX: i32 = 7 * 24;
/// The same where nobody says for how long: an evening.
pub const PASS_HOURS_DEFAULT: i32 = 12;
/// Tickets that are drawn at once: each takes a core for some milliseconds.
pub const DRAWINGS_MAX: usize = 2;
/// How long a booking is waited for before it is looked whether its buyer has to authenticate: nearly all are decided by then.
pub const NEXT_ACTION_AFTER: Duration = Duration::from_secs(2);
/// How long a refund's seats are waited for when nobody says: it takes milliseconds, unless much is going on.
pub const REFUND_WAIT: Duration = Duration::from_secs(5);
/// Characters of the reason for which an event is called off, at most.
pub const CANCELLATION_REASON_CHARS_MAX: usize = 200;
/// Bookings of a cancelled event that are taken up together: one request to start their refunds.
pub const CANCELLATION_BATCH_MAX: i64 = 100;
/// A batch each that often, for every gateway: 1,000 bookings a second, so that fifty thousand take a minute, and a payment provider that
/// takes a hundred requests a second is kept busy without many sagas waiting in backoff.
pub const CANCELLATION_BATCH_EVERY: Duration = Duration::from_millis(100);
/// Questions and commands about them to the engine at a time.
pub const CANCELLATION_CONCURRENCY: usize = 16;
/// How often the list is looked at while there is nothing on it.
pub const CANCELLATION_IDLE: Duration = Duration::from_secs(1);
/// How long a batch is one gateway's: longer than its requests take.
pub const CANCELLATION_LEASE: Duration = Duration::from_secs(60);
/// How long the first repetition waits; doubles each time.
pub const CANCELLATION_RETRY: Duration = Duration::from_secs(1);
/// Not longer than this.
pub const CANCELLATION_BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// Differences of payments that are reported together.
pub const DIFFERENCES_BATCH_MAX: i64 = 100;
/// How long such a batch is one gateway's.
pub const DIFFERENCES_LEASE: Duration = Duration::from_secs(60);
/// Messages that the engine is told of together.
pub const NOTIFICATIONS_BATCH_MAX: i64 = 100;
/// How long such a batch is one gateway's, and how long what the engine did not take waits: longer than a request takes.
pub const NOTIFICATIONS_LEASE: Duration = Duration::from_secs(30);
/// Characters of a provider's name for a message: a Message-ID has a domain of up to 255.
pub const PROVIDER_ID_CHARS_MAX: usize = 320;
/// How long messages are kept, with their recipients: as long as somebody may ask what has become of one.
pub const NOTIFICATIONS_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How often older ones are forgotten.
pub const NOTIFICATIONS_PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// So many at a time, so that no delete runs long.
pub const NOTIFICATIONS_PURGE_MAX: i64 = 1_000;
/// Devices of one user that take push messages.
pub const DEVICES_MAX: i64 = 10;
/// Characters of a device's token; Firebase's have some two hundred.
pub const DEVICE_TOKEN_CHARS_MAX: usize = 4_096;
