//! The hot path: one statement reads a batch's sagas, one writes everything that came of it.
//!
//! Both are set-based and autocommitted, so a batch costs two round trips and holds row locks only while Postgres works on it.

use std::collections::HashMap;
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};

/// A saga as it is stored.
#[derive(Debug)]
pub struct LoadedSaga {
    /// Its definition.
    pub definition_id: i64,
    /// Its state, encoded.
    pub state: String,
}

/// What a start key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartKey {
    /// Hash of the request.
    pub request_hash: String,
    /// The saga it started.
    pub saga: SagaId,
}

/// Sagas by id.
pub async fn load_sagas(pool: &PgPool, ids: &[Uuid]) -> Result<HashMap<SagaId, LoadedSaga>, sqlx::Error> {
    let rows = sqlx::query("select id, definition_id, state from saga.sagas where id = any($1)")
        .bind(ids)
        .fetch_all(pool)
        .await?;
    let loaded = |row: &PgRow| {
        let saga = LoadedSaga {
            definition_id: row.try_get(1)?,
            state: row.try_get(2)?,
        };
        Ok((SagaId(row.try_get(0)?), saga))
    };
    rows.iter().map(loaded).collect()
}

/// Start keys that were used.
pub async fn load_start_keys(pool: &PgPool, keys: &[&str]) -> Result<HashMap<String, StartKey>, sqlx::Error> {
    let rows = sqlx::query("select key, request_hash, saga_id from saga.start_keys where key = any($1)")
        .bind(keys)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            let used = StartKey {
                request_hash: row.try_get(1)?,
                saga: SagaId(row.try_get(2)?),
            };
            Ok((row.try_get(0)?, used))
        })
        .collect()
}

/// Everything that came of a batch, by column, as `unnest` wants it. Rows are in the order of their sagas' ids, so that
/// two batches can't wait for each other in a circle.
#[derive(Debug, Default)]
pub struct BatchWrite {
    /// New sagas.
    pub inserted: InsertedSagas,
    /// Changed sagas.
    pub updated: UpdatedSagas,
    /// Journal entries.
    pub journal: JournalRows,
    /// Timers to be set.
    pub timers: TimerRows,
    /// Sagas whose timer is to be removed.
    pub timers_gone: Vec<Uuid>,
    /// Start keys to be taken.
    pub start_keys: StartKeyRows,
    /// Signals to be noted.
    pub signals: SignalRows,
    /// The batch's messages.
    pub outbox: Option<OutboxRow>,
    /// Outbox rows whose messages have been acknowledged.
    pub outbox_gone: Vec<Uuid>,
    /// Tasks that wait for their queues.
    pub held: HeldTasks,
    /// Tasks that wait no more.
    pub unheld: GoneTasks,
}

/// Columns of tasks that wait for their queues.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct HeldTasks {
    pub saga_id: Vec<Uuid>,
    pub step: Vec<String>,
    pub queue: Vec<String>,
}

/// Columns of tasks that wait no more.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct GoneTasks {
    pub saga_id: Vec<Uuid>,
    pub step: Vec<String>,
}

impl GoneTasks {
    /// One more.
    pub(crate) fn push(&mut self, saga: Uuid, step: &str) {
        self.saga_id.push(saga);
        self.step.push(step.to_owned());
    }
}

/// Columns of new sagas.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct InsertedSagas {
    pub id: Vec<Uuid>,
    pub workflow: Vec<String>,
    pub definition_id: Vec<i64>,
    pub status: Vec<&'static str>,
    pub business_key: Vec<Option<String>>,
    pub tags: Vec<Option<String>>,
    pub state: Vec<String>,
    pub seq: Vec<i64>,
    pub attempt_due_at: Vec<Option<DateTime<Utc>>>,
    pub ended: Vec<bool>,
    pub failure_code: Vec<Option<String>>,
    pub failure_step: Vec<Option<String>>,
}

/// Columns of changed sagas.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct UpdatedSagas {
    pub id: Vec<Uuid>,
    pub expected_seq: Vec<i64>,
    pub seq: Vec<i64>,
    pub status: Vec<&'static str>,
    pub state: Vec<String>,
    pub attempt_due_at: Vec<Option<DateTime<Utc>>>,
    pub ended: Vec<bool>,
    pub failure_code: Vec<Option<String>>,
    pub failure_step: Vec<Option<String>>,
}

/// Columns of journal entries.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct JournalRows {
    pub saga_id: Vec<Uuid>,
    pub seq: Vec<i64>,
    pub kind: Vec<&'static str>,
    pub step: Vec<Option<String>>,
    pub event: Vec<String>,
    pub facts: Vec<Option<String>>,
}

/// Columns of timers.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct TimerRows {
    pub saga_id: Vec<Uuid>,
    pub due_at: Vec<DateTime<Utc>>,
}

/// Columns of start keys.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct StartKeyRows {
    pub key: Vec<String>,
    pub request_hash: Vec<String>,
    pub saga_id: Vec<Uuid>,
}

/// Columns of signals.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SignalRows {
    pub saga_id: Vec<Uuid>,
    pub id: Vec<String>,
    pub signal: Vec<String>,
    /// False: parked, until its saga begins.
    pub delivered: Vec<bool>,
}

/// A batch's messages.
#[derive(Debug)]
pub struct OutboxRow {
    /// Version 7: rows sort by time.
    pub id: Uuid,
    /// Who publishes it.
    pub instance: Uuid,
    /// How many messages there are.
    pub messages: i32,
    /// The messages, encoded.
    pub payload: Vec<u8>,
}

impl BatchWrite {
    /// Whether there is anything to be written for the batch itself.
    pub fn is_empty(&self) -> bool {
        self.journal.saga_id.is_empty()
            && self.timers.saga_id.is_empty()
            && self.timers_gone.is_empty()
            && self.signals.saga_id.is_empty()
            && self.outbox.is_none()
            && self.held.saga_id.is_empty()
            && self.unheld.saga_id.is_empty()
    }
}

/// The parts of a batch's statement. One statement, so that it is one round trip and one commit; all parts see the same snapshot.
/// A part with nothing to do is left out: making ready to write to a table costs Postgres as much as writing a row or two.
///
/// Each is a statement of its own, with its own parameters; [`compose`] counts them through.
const PARTS: [(&str, &str); PARTS_COUNT] = [
    (
        "inserted",
        "insert into saga.sagas (id, workflow, definition_id, status, business_key, tags, state, seq, attempt_due_at,
                                 created_at, updated_at, ended_at, failure_code, failure_step)
         select u.id, u.workflow, u.definition_id, u.status, u.business_key, u.tags::jsonb, u.state, u.seq,
                u.attempt_due_at, $1::timestamptz, $1, case when u.ended then $1 end, u.failure_code, u.failure_step
         from unnest($2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                     $10::timestamptz[], $11::boolean[], $12::text[], $13::text[])
           as u(id, workflow, definition_id, status, business_key, tags, state, seq, attempt_due_at, ended, failure_code,
                failure_step)",
    ),
    (
        "updated",
        "update saga.sagas s
         set state = u.state, seq = u.seq, status = u.status, attempt_due_at = u.attempt_due_at,
             updated_at = $1::timestamptz, ended_at = case when u.ended then coalesce(s.ended_at, $1) end,
             failure_code = u.failure_code, failure_step = u.failure_step
         from unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[], $8::boolean[], $9::text[],
                     $10::text[])
           as u(id, expected_seq, seq, status, state, attempt_due_at, ended, failure_code, failure_step)
         where s.id = u.id and s.seq = u.expected_seq
         returning 1",
    ),
    (
        "journaled",
        "insert into saga.journal (saga_id, seq, at, kind, step, event, facts)
         select u.saga_id, u.seq, $1::timestamptz, u.kind, u.step, u.event, u.facts
         from unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
           as u(saga_id, seq, kind, step, event, facts)",
    ),
    (
        "keyed",
        "insert into saga.start_keys (key, request_hash, saga_id)
         select u.key, u.request_hash, u.saga_id
         from unnest($1::text[], $2::text[], $3::uuid[]) as u(key, request_hash, saga_id)",
    ),
    (
        "timed",
        "insert into saga.timers as t (saga_id, due_at)
         select u.saga_id, u.due_at from unnest($1::uuid[], $2::timestamptz[]) as u(saga_id, due_at)
         on conflict (saga_id) do update set due_at = excluded.due_at",
    ),
    ("untimed", "delete from saga.timers where saga_id = any($1::uuid[])"),
    (
        "signalled",
        "insert into saga.signals as s (saga_id, id, signal, delivered)
         select u.saga_id, u.id, u.signal, u.delivered from unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[])
           as u(saga_id, id, signal, delivered)
         on conflict (saga_id, id) do update set delivered = true where excluded.delivered and not s.delivered
         returning delivered",
    ),
    (
        "sent",
        "insert into saga.outbox (id, instance, messages, payload) values ($1::uuid, $2::uuid, $3::integer, $4::bytea)",
    ),
    ("acknowledged", "delete from saga.outbox where id = any($1::uuid[])"),
];
const PARTS_COUNT: usize = 9;

/// Makes all of it fail if a saga was not where it was expected, or a signal had been delivered already.
const GUARDS: [(&str, &str); 2] = [
    ("updated", "(select count(*) from updated) = $1::bigint"),
    (
        "signalled",
        "(select count(*) from signalled where delivered) = $1::bigint",
    ),
];

/// Which parts a batch needs, in the order of [`PARTS`].
type Needed = [bool; PARTS_COUNT];

/// The statement with all of its parts, for those who look what it touches and how it is planned.
pub fn whole_statement() -> &'static str {
    statement([true; PARTS_COUNT])
}

/// The statement of these parts.
fn statement(needed: Needed) -> &'static str {
    static FORMS: [OnceLock<String>; 1 << PARTS_COUNT] = [const { OnceLock::new() }; 1 << PARTS_COUNT];
    let form = needed.iter().fold(0, |form, part| form << 1 | usize::from(*part));
    FORMS[form].get_or_init(|| compose(needed))
}

fn compose(needed: Needed) -> String {
    let parts = || {
        PARTS
            .iter()
            .zip(needed)
            .filter(|(_, needed)| *needed)
            .map(|(part, _)| part)
    };
    let mut parameters = 0;
    let queries: Vec<String> = parts()
        .map(|(name, text)| format!("{name} as ({})", shifted(text, &mut parameters)))
        .collect();
    let guards: Vec<String> = GUARDS
        .iter()
        .filter(|(guarded, _)| parts().any(|(name, _)| name == guarded))
        .map(|(_, text)| shifted(text, &mut parameters))
        .collect();
    let end = if guards.is_empty() {
        "select".to_owned()
    } else {
        format!("select saga.require_current({})", guards.join(" and "))
    };
    format!("with {}\n{end}", queries.join(",\n"))
}

/// A text whose parameters come after so many others.
fn shifted(text: &str, parameters: &mut usize) -> String {
    let mut pieces = text.split('$');
    let mut shifted = pieces.next().unwrap_or_default().to_owned();
    let before = *parameters;
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let number = before + piece[..digits].parse::<usize>().unwrap_or_default();
        *parameters = number.max(*parameters);
        shifted.push_str(&format!("${number}{}", &piece[digits..]));
    }
    shifted
}

/// Writes a batch, or none of it. An error that [`super::classify`] calls stale means: read again.
pub async fn write_batch(pool: &PgPool, at: Timestamp, write: &BatchWrite) -> Result<(), sqlx::Error> {
    if write.held.saga_id.is_empty() && write.unheld.saga_id.is_empty() {
        return write_sagas(pool, at, write).await;
    }
    // Rare: only while a queue is paused or limited.
    let mut transaction = pool.begin().await?;
    write_sagas(&mut *transaction, at, write).await?;
    super::queues::let_go(&mut *transaction, &write.unheld).await?;
    super::queues::hold(&mut *transaction, at, &write.held).await?;
    transaction.commit().await
}

async fn write_sagas(
    executor: impl sqlx::PgExecutor<'_>,
    at: Timestamp,
    write: &BatchWrite,
) -> Result<(), sqlx::Error> {
    let (i, u, j) = (&write.inserted, &write.updated, &write.journal);
    let time = at.to_datetime();
    let (keys, timers, signals) = (&write.start_keys, &write.timers, &write.signals);
    let needed = [
        !i.id.is_empty(),
        !u.id.is_empty(),
        !j.saga_id.is_empty(),
        !keys.key.is_empty(),
        !timers.saga_id.is_empty(),
        !write.timers_gone.is_empty(),
        !signals.saga_id.is_empty(),
        write.outbox.is_some(),
        !write.outbox_gone.is_empty(),
    ];
    let [
        inserted,
        updated,
        journaled,
        keyed,
        timed,
        untimed,
        signalled,
        _,
        acknowledged,
    ] = needed;
    if needed == [false; PARTS_COUNT] {
        return Ok(());
    }
    let mut query = sqlx::query(statement(needed));
    if inserted {
        query = query
            .bind(time)
            .bind(&i.id)
            .bind(&i.workflow)
            .bind(&i.definition_id)
            .bind(&i.status)
            .bind(&i.business_key)
            .bind(&i.tags)
            .bind(&i.state)
            .bind(&i.seq)
            .bind(&i.attempt_due_at)
            .bind(&i.ended)
            .bind(&i.failure_code)
            .bind(&i.failure_step);
    }
    if updated {
        query = query
            .bind(time)
            .bind(&u.id)
            .bind(&u.expected_seq)
            .bind(&u.seq)
            .bind(&u.status)
            .bind(&u.state)
            .bind(&u.attempt_due_at)
            .bind(&u.ended)
            .bind(&u.failure_code)
            .bind(&u.failure_step);
    }
    if journaled {
        query = query
            .bind(time)
            .bind(&j.saga_id)
            .bind(&j.seq)
            .bind(&j.kind)
            .bind(&j.step)
            .bind(&j.event)
            .bind(&j.facts);
    }
    if keyed {
        query = query.bind(&keys.key).bind(&keys.request_hash).bind(&keys.saga_id);
    }
    if timed {
        query = query.bind(&timers.saga_id).bind(&timers.due_at);
    }
    if untimed {
        query = query.bind(&write.timers_gone);
    }
    if signalled {
        query = query
            .bind(&signals.saga_id)
            .bind(&signals.id)
            .bind(&signals.signal)
            .bind(&signals.delivered);
    }
    if let Some(row) = &write.outbox {
        query = query
            .bind(row.id)
            .bind(row.instance)
            .bind(row.messages)
            .bind(row.payload.as_slice());
    }
    if acknowledged {
        query = query.bind(&write.outbox_gone);
    }
    if updated {
        query = query.bind(u.id.len() as i64);
    }
    if signalled {
        query = query.bind(signals.delivered.iter().filter(|delivered| **delivered).count() as i64);
    }
    query.execute(executor).await?;
    Ok(())
}

/// Whether this very journal entry is there: tells whether a batch whose answer was lost had been committed.
pub async fn has_journal_entry(
    pool: &PgPool,
    saga: Uuid,
    seq: i64,
    at: Timestamp,
    event: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select 1 from saga.journal where saga_id = $1 and seq = $2 and at = $3 and event = $4)",
    )
    .bind(saga)
    .bind(seq)
    .bind(at.to_datetime())
    .bind(event)
    .fetch_one(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_through_the_parts() {
        let mut needed = [false; PARTS_COUNT];
        for name in ["timed", "signalled", "acknowledged"] {
            for (part, needed) in PARTS.iter().zip(&mut needed) {
                *needed |= part.0 == name;
            }
        }
        let text = compose(needed);
        for expected in [
            "unnest($1::uuid[], $2::timestamptz[])",
            "unnest($3::uuid[], $4::text[], $5::text[], $6::boolean[])",
            "id = any($7::uuid[])",
            "where delivered) = $8::bigint)",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("from updated"), "{text}");
    }
}
