//! The rules that let the tables be distributed (docs/scaling.md), held against the migrated schema, `deploy/citus.sql` and the
//! statements in the code.
#![allow(clippy::unwrap_used)]

mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::PgPool;

/// Where a table's rows live on a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Home {
    /// By this column, together with the rows of the tables of the same group.
    Spread { group: &'static str, column: &'static str },
    /// A copy on every node, because…
    Everywhere(&'static str),
    /// On one node, because…
    OneNode(&'static str),
}

const fn saga(column: &'static str) -> Home {
    Home::Spread {
        group: "saga.sagas",
        column,
    }
}

const fn event() -> Home {
    Home::Spread {
        group: "ticketing.seats",
        column: "event_id",
    }
}

/// Why buyers' accounts are not spread.
const ACCOUNTS: &str =
    "unique by e-mail address; no transaction spans them and another table, so they may have a server of their own";

/// Why money is not spread.
const MONEY: &str = "written with its payment, by the same statement";
/// Why organisers' tables are not spread.
const ORGANISERS: &str = "written by people, and read when an event is published, not when it is sold";

/// Why mission control's tables are not spread.
const OPERATORS: &str = "as much as people click; may have a server of its own";

/// Why what is counted is not spread.
const ANALYTICS: &str = "written apart from every sale; has a server of its own where it is large";

/// Why alerts are not spread.
const ALERTS: &str = "a few rows, which one process writes every few seconds";

/// Every table has its line: whoever adds one decides where it lives.
const HOMES: [(&str, Home); 73] = [
    ("saga.sagas", saga("id")),
    ("saga.journal", saga("saga_id")),
    ("saga.timers", saga("saga_id")),
    ("saga.held_tasks", saga("saga_id")),
    (
        "saga.queues",
        Home::Everywhere("one row a queue, written by operators, and by whoever lets limited tasks through"),
    ),
    ("saga.counts", Home::OneNode("a few rows a minute")),
    ("saga.workers", Home::OneNode("one row a worker process")),
    (
        "saga.activities",
        Home::OneNode("one row an activity of the workers' programs"),
    ),
    ("saga.signals", saga("saga_id")),
    (
        "saga.start_keys",
        Home::Spread {
            group: "saga.start_keys",
            column: "key",
        },
    ),
    (
        "saga.definitions",
        Home::Everywhere("some rows, read with every saga, written by deployments"),
    ),
    (
        "saga.outbox",
        Home::OneNode("a row is a batch's, of many sagas: see EXCEPTIONS"),
    ),
    ("saga.instances", Home::OneNode("one row an orchestrator")),
    ("saga.leases", Home::OneNode("one row a duty")),
    ("saga.schedules", Home::OneNode("as many as people have written")),
    (
        "saga.firings",
        Home::OneNode("with its schedule; some a second at the most"),
    ),
    (
        "ticketing.events",
        Home::Everywhere("some rows, read with every booking, written by people"),
    ),
    ("ticketing.seats", event()),
    ("ticketing.holds", event()),
    ("ticketing.event_buyers", event()),
    ("ticketing.refunds", event()),
    ("ticketing.event_cancellations", event()),
    ("ticketing.event_cancellation_items", event()),
    ("ticketing.waiting_rooms", event()),
    ("ticketing.queue_places", event()),
    ("ticketing.queue_turns", event()),
    ("ticketing.check_ins", event()),
    ("ticketing.check_ins_undone", event()),
    ("ticketing.door_passes", event()),
    (
        "ticketing.ticket_keys",
        Home::Everywhere("a few rows for the life of a shop"),
    ),
    (
        "ticketing.notifications_sent",
        Home::Spread {
            group: "ticketing.notifications_sent",
            column: "key",
        },
    ),
    (
        "ticketing.notifications",
        Home::Spread {
            group: "ticketing.notifications",
            column: "id",
        },
    ),
    ("ticketing.notification_preferences", Home::OneNode(ACCOUNTS)),
    ("ticketing.notification_devices", Home::OneNode(ACCOUNTS)),
    (
        "ticketing.webhook_inbox",
        Home::Spread {
            group: "ticketing.webhook_inbox",
            column: "event_id",
        },
    ),
    (
        "ticketing.payments",
        Home::OneNode(
            "unique by the provider's id too; no transaction spans it and another table, so it may have a server of its own",
        ),
    ),
    ("ticketing.payment_refunds", Home::OneNode(MONEY)),
    ("ticketing.disputes", Home::OneNode(MONEY)),
    ("ticketing.ledger_accounts", Home::OneNode(MONEY)),
    ("ticketing.ledger_entries", Home::OneNode(MONEY)),
    ("ticketing.reconciliations", Home::OneNode(MONEY)),
    ("ticketing.reconciliation_seen", Home::OneNode(MONEY)),
    ("ticketing.payment_differences", Home::OneNode(MONEY)),
    ("ticketing.accounts", Home::OneNode(ACCOUNTS)),
    ("ticketing.organisations", Home::OneNode(ORGANISERS)),
    ("ticketing.organisers", Home::OneNode(ORGANISERS)),
    ("ticketing.venues", Home::OneNode(ORGANISERS)),
    ("ticketing.venue_seats", Home::OneNode(ORGANISERS)),
    ("ticketing.event_changes", Home::OneNode(ORGANISERS)),
    ("ticketing.sessions", Home::OneNode(ACCOUNTS)),
    ("ticketing.account_links", Home::OneNode(ACCOUNTS)),
    ("ticketing.account_events", Home::OneNode(ACCOUNTS)),
    ("analytics.facts", Home::OneNode(ANALYTICS)),
    ("analytics.rollups", Home::OneNode(ANALYTICS)),
    ("analytics.active_users", Home::OneNode(ANALYTICS)),
    ("analytics.visitors", Home::OneNode(ANALYTICS)),
    ("analytics.durations", Home::OneNode(ANALYTICS)),
    ("ops.users", Home::OneNode(OPERATORS)),
    ("ops.sessions", Home::OneNode(OPERATORS)),
    ("ops.login_links", Home::OneNode(OPERATORS)),
    ("ops.audit", Home::OneNode(OPERATORS)),
    ("ops.notes", Home::OneNode(OPERATORS)),
    ("ops.stuck_groups", Home::OneNode(OPERATORS)),
    ("ops.views", Home::OneNode(OPERATORS)),
    ("ops.campaigns", Home::OneNode(OPERATORS)),
    ("ops.campaign_items", Home::OneNode(OPERATORS)),
    ("ops.approvals", Home::OneNode(OPERATORS)),
    ("ops.api_tokens", Home::OneNode(OPERATORS)),
    ("ops.alert_rules", Home::OneNode(ALERTS)),
    ("ops.alerts", Home::OneNode(ALERTS)),
    ("ops.scale_targets", Home::OneNode(ALERTS)),
    ("ops.watch_outbox", Home::OneNode(ALERTS)),
    ("ops.watch", Home::OneNode(ALERTS)),
];

/// Statements that reach across groups, by a part of their text, and what is to be done about each. No others may come.
const EXCEPTIONS: [(&str, &str); 3] = [
    (
        "insert into saga.start_keys",
        "the engine's batch: its keys and its outbox row need statements of their own, and the rest is to be cut by node",
    ),
    (
        "update saga.firings as firing set open = false",
        "looks at the sagas that schedules began, outside of every booking: to be asked for by their ids first",
    ),
    (
        "select o.outbox, o.outbox_seconds, t.late_timers",
        "mission control's overview: three questions in one, only read; a cluster is asked them one by one",
    ),
];

/// Statements on spread tables that name no row by the column they are spread by, by a part of their text, and what they
/// are for: they ask every node, and none of them is a step of a saga or a booking.
const EVERY_NODE: [(&str, &str); 18] = [
    (
        "ended_at is null order by id limit 1) as oldest",
        "an alert's metric, every few seconds",
    ),
    (
        "from ticketing.holds where confirmation_number = $1",
        "a guest looks for an order by its number alone",
    ),
    ("select q.queue, held.tasks", "mission control's queues: what waits"),
    (
        "select asked.id from",
        "mission control: the last saga that passed a step, when an operator compares attempts",
    ),
    (
        "from ticketing.holds\n         where status = 'held'",
        "the safety net's sweep",
    ),
    ("from ticketing.webhook_inbox where status = 'waiting'", "a metric"),
    ("from saga.sagas where ended_at is null group by status", "a metric"),
    ("delete from saga.start_keys where created_at", "retention"),
    (
        "select p.saga_id, p.signal from saga.signals p",
        "the sweep of parked signals",
    ),
    ("delete from saga.signals where not delivered", "retention"),
    (
        "select due_at from saga.timers order by due_at limit 1",
        "when the next timer is due",
    ),
    (
        "attempt_due_at <= clock_timestamp() limit $1",
        "the sweep of unanswered attempts",
    ),
    (
        "where ended_at is null and id > $1 order by id",
        "redispatch after an outage",
    ),
    (
        "select workflow, status, count(*) as sagas",
        "mission control's overview: live sagas",
    ),
    (
        "select sample.definition_id, node.index",
        "mission control's overview: steps, of a sample",
    ),
    (
        "select s.workflow, s.definition_id, s.step",
        "mission control's stuck inbox",
    ),
    (
        "select late.workflow, count(distinct late.id)",
        "mission control's stuck inbox: what is overdue",
    ),
    (
        "select entry.saga_id, entry.at, entry.event",
        "mission control's workflows: a sample of journals",
    ),
];

fn home(table: &str) -> Option<Home> {
    HOMES.iter().find(|(name, _)| *name == table).map(|(_, home)| *home)
}

fn spread() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    HOMES.iter().filter_map(|(table, home)| match home {
        Home::Spread { group, column } => Some((*table, *group, *column)),
        Home::Everywhere(_) | Home::OneNode(_) => None,
    })
}

#[tokio::test]
async fn every_table_has_a_home() {
    let database = testkit::migrated_database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('saga', 'ticketing', 'ops', 'analytics') and c.relkind in ('r', 'p') and not c.relispartition",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let tables: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    assert_eq!(tables, HOMES.iter().map(|(table, _)| *table).collect());
    for (table, home) in HOMES {
        if let Home::Everywhere(why) | Home::OneNode(why) = home {
            assert!(!why.is_empty(), "{table}");
        }
    }
    keys_contain_the_column(&database.pool).await;
    references_stay_on_a_node(&database.pool).await;
}

/// A cluster can check a unique key only if equal rows are on the same node.
async fn keys_contain_the_column(pool: &PgPool) {
    for (table, _, column) in spread() {
        let without: Vec<String> = sqlx::query_scalar(
            "select i.indexrelid::regclass::text from pg_index i
             where i.indrelid = $1::regclass and i.indisunique and not exists (
                 select 1 from pg_attribute a
                 where a.attrelid = i.indrelid and a.attnum = any(i.indkey) and a.attname = $2)",
        )
        .bind(table)
        .bind(column)
        .fetch_all(pool)
        .await
        .unwrap();
        assert_eq!(without, [] as [String; 0], "{table} is spread by {column}");
        let is_there: bool = sqlx::query_scalar(
            "select exists (select 1 from pg_attribute where attrelid = $1::regclass and attname = $2 and attnotnull)",
        )
        .bind(table)
        .bind(column)
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(is_there, "{table}.{column}");
    }
}

/// A spread row refers to rows beside it or to copies; the others refer among themselves.
async fn references_stay_on_a_node(pool: &PgPool) {
    let references: Vec<(String, String)> = sqlx::query_as(
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint
         where contype = 'f' and connamespace in ('saga'::regnamespace, 'ticketing'::regnamespace, 'ops'::regnamespace)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(!references.is_empty());
    for (from, to) in references {
        let is_near = match (home(&from), home(&to)) {
            (_, Some(Home::Everywhere(_))) | (Some(Home::OneNode(_)), Some(Home::OneNode(_))) => true,
            (Some(Home::Spread { group, .. }), Some(Home::Spread { group: other, .. })) => group == other,
            _ => false,
        };
        assert!(is_near, "{from} refers to {to}");
    }
}

#[test]
fn the_migration_for_a_cluster_says_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/citus.sql");
    let text = std::fs::read_to_string(path).unwrap();
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("select create_")) {
        let quoted: Vec<String> = line.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
        let kind = line.split('(').next().unwrap().to_owned();
        let (table, rest) = quoted.split_first().unwrap();
        let line = [vec![kind], rest.to_vec()].concat();
        assert_eq!(said.insert(table.clone(), line), None, "{table} twice");
    }
    let mut first = BTreeSet::new();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, home) in HOMES {
        let line = match home {
            Home::Everywhere(_) => vec!["reference_table"],
            Home::OneNode(_) => continue,
            Home::Spread { group, column } => {
                let mut line = vec!["distributed_table", column];
                let is_first = first.insert(group);
                let is_alone = spread().filter(|(_, other, _)| *other == group).count() == 1;
                match (is_first, is_alone) {
                    (_, true) => line.push("none"),
                    (true, false) => assert_eq!(table, group, "the group's first table names it"),
                    (false, false) => line.push(group),
                }
                line
            }
        };
        expected.insert(table.to_owned(), line.into_iter().map(str::to_owned).collect());
    }
    assert_eq!(said, expected);
}

#[test]
fn statements_stay_within_a_group_and_name_their_rows() {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for found in sql::statements() {
        let tables = tables_of(&found.text);
        let homes = tables.iter().filter_map(|table| match home(table) {
            Some(Home::Spread { group, column }) => Some((group, column)),
            _ => None,
        });
        let homes: Vec<(&str, &str)> = homes.collect();
        let groups: BTreeSet<&str> = homes.iter().map(|(group, _)| *group).collect();
        // A row on one node and a spread one would be two nodes' transaction.
        let elsewhere = tables.iter().any(|table| matches!(home(table), Some(Home::OneNode(_))));
        let mut allowed = |list: &[(&'static str, &str)]| {
            let entry = list.iter().find(|(part, _)| found.text.contains(part));
            entry.map(|(part, _)| used.insert(*part)).is_some()
        };
        if (groups.len() > 1 || !groups.is_empty() && elsewhere) && !allowed(&EXCEPTIONS) {
            problems.push(format!("{}: reaches {tables:?}\n{}", found.place, found.text));
        }
        let is_named = homes.iter().all(|(_, column)| names(&found.text, column));
        if !is_named && !allowed(&EVERY_NODE) && !allowed(&EXCEPTIONS) {
            problems.push(format!("{}: asks every node\n{}", found.place, found.text));
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n\n")
    );
    // What isn't needed any more goes.
    let listed = EXCEPTIONS.iter().chain(&EVERY_NODE).map(|(part, _)| *part);
    assert_eq!(listed.collect::<BTreeSet<_>>(), used);
}

/// The tables that a statement names with their schema, as all statements do.
fn tables_of(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == '.'));
    words.filter(|word| home(word).is_some()).collect()
}

/// Whether it inserts the column, or compares it for equality.
fn names(text: &str, column: &str) -> bool {
    let is_whole = |at: usize| !text[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
    let compared = [" = ", " in ("].map(|sign| format!("{column}{sign}"));
    compared
        .iter()
        .any(|part| text.match_indices(part.as_str()).any(|(at, _)| is_whole(at)))
        || text.starts_with("insert into") && text.contains(column)
}
