//! `sagaline bench limit`: what Postgres must do for the reference workload, and nothing else.
//!
//! A hand-written loop writes the very rows that the engine writes for the same sagas (state, journal, outbox, seats), in
//! set-based statements on one connection a lane: no engine, no HTTP, no Kafka, no worker. Whatever the engine reaches is
//! to be held against this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;
use workflows::effect::Effect;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, TaskResult};
use workflows::tickets::reference;
use workflows::{Compiled, Transition};

use super::LimitArgs;
use super::check::{self, DECLINED_EVERY};
use super::cpu::Usage;
use super::ground::{Scratch, database};
use crate::output::Output;

/// What stands for a saga's id in a sample's texts; as long as any.
const SAMPLE_ID: Uuid = Uuid::from_u128(0x0190_a5c0_0000_7000_8000_00ab_cdef_0123);
/// Batches before the measurement, a lane: plans are made, pages are there.
const WARM_UP_BATCHES: u64 = 50;
/// Bytes in the outbox for one task, compressed; measured on the engine's own rows.
const OUTBOX_BYTES_PER_TASK: usize = 40;

/// The result of `bench limit`.
#[derive(Debug, Serialize)]
pub struct Limit {
    /// Sagas written.
    pub sagas: u64,
    /// Sagas a statement.
    pub batch: u64,
    /// Connections.
    pub lanes: u32,
    /// From the first statement to the last.
    pub wall_s: f64,
    /// Sagas a second.
    pub sagas_per_s: f64,
    /// CPU time of Postgres; none if it isn't ours.
    pub postgres_cpu_ms_per_saga: Option<f64>,
    /// CPU time of the loop.
    pub loop_cpu_ms_per_saga: f64,
}

impl Limit {
    /// For people.
    fn table(&self) -> String {
        let postgres = self.postgres_cpu_ms_per_saga;
        format!(
            "{:>12}  {:.0} sagas/s in batches of {}, {} lanes; Postgres {}, loop {:.3} ms a saga",
            "limit",
            self.sagas_per_s,
            self.batch,
            self.lanes,
            postgres.map_or_else(|| "not ours".to_owned(), |ms| format!("{ms:.3} ms")),
            self.loop_cpu_ms_per_saga
        )
    }
}

/// Runs it on a database of its own, or on the one given, and prints what it found.
pub async fn run(args: &LimitArgs, output: Output) -> anyhow::Result<()> {
    let say = |line: &str| eprintln!("bench: {line}");
    let scratch = Scratch::new(None)?;
    let (postgres, url) = database(args.database_url.as_deref(), &scratch, &say).await?;
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
    orchestrator::migrate(&pool).await.context("applying the migrations")?;
    let pids: Vec<u32> = postgres
        .as_ref()
        .and_then(localpg::LocalPostgres::pid)
        .into_iter()
        .collect();
    say(&format!("writing {} sagas, {} a statement", args.sagas, args.batch));
    let limit = measure(&pool, &pids, args.sagas, args.batch, args.lanes).await?;
    super::print(output, || limit.table(), &limit)
}

/// Writes `sagas` sagas, `batch` a statement, over `lanes` connections.
pub async fn measure(pool: &PgPool, postgres: &[u32], sagas: u64, batch: u64, lanes: u32) -> anyhow::Result<Limit> {
    let lanes_count = u64::from(lanes);
    let batches = (sagas / batch).max(lanes_count);
    let warm_up = WARM_UP_BATCHES * lanes_count;
    check::make_seats(pool, (batches + warm_up) * batch, 0).await?;
    let sample = Arc::new(Sample::new()?);
    let options = orchestrator::store::engine_session(PgConnectOptions::clone(&pool.connect_options()));

    // Seats are counted up over both rounds, so that each saga has one of its own.
    let next = Arc::new(AtomicU64::new(0));
    write_batches(&options, &sample, &next, warm_up, batch, lanes).await?;
    check::settle(pool).await;
    let groups = [("postgres", postgres.to_vec())];
    let before = Usage::now(&groups);
    let wall = write_batches(&options, &sample, &next, warm_up + batches, batch, lanes).await?;
    let used = Usage::now(&groups).since(&before);

    let written = batches * batch;
    let ended: i64 = sqlx::query_scalar(
        "select count(*) from bench.seats where id like 'S-%' and status <> 'held' and booking_id is not null",
    )
    .fetch_one(pool)
    .await?;
    if (ended as u64) < written - written / DECLINED_EVERY - batch {
        bail!("only {ended} seats of {written} were sold: the loop does not do what it measures");
    }
    Ok(Limit {
        sagas: written,
        batch,
        lanes,
        wall_s: wall.as_secs_f64(),
        sagas_per_s: written as f64 / wall.as_secs_f64(),
        postgres_cpu_ms_per_saga: (!postgres.is_empty()).then_some(used.groups_ms["postgres"] / written as f64),
        loop_cpu_ms_per_saga: used.load_ms / written as f64,
    })
}

async fn write_batches(
    options: &PgConnectOptions,
    sample: &Arc<Sample>,
    next: &Arc<AtomicU64>,
    until: u64,
    batch: u64,
    lanes: u32,
) -> anyhow::Result<Duration> {
    let mut connections = Vec::new();
    for _ in 0..lanes {
        connections.push(PgConnection::connect_with(options).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (sample, next) = (Arc::clone(sample), Arc::clone(next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= until {
                        next.fetch_sub(1, Ordering::Relaxed);
                        return connection.close().await;
                    }
                    write_batch(&mut connection, &sample, number * batch + 1, batch).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.context("a lane panicked")??;
    }
    Ok(begun.elapsed())
}

/// A batch of sagas from start to end.
async fn write_batch(
    connection: &mut PgConnection,
    sample: &Sample,
    first: u64,
    batch: u64,
) -> Result<(), sqlx::Error> {
    let sagas: Vec<(Uuid, u64)> = (first..first + batch).map(|n| (Uuid::now_v7(), n)).collect();
    let steps = sample.confirmed.len().max(sample.compensated.len());
    let mut outbox: Option<Uuid> = None;
    for step in 0..steps {
        outbox = write_step(connection, sample, &sagas, step, outbox).await?;
        // What the worker does between two transitions.
        match step {
            0 => seats(connection, "held", &sagas, |_| true).await?,
            2 => {
                seats(connection, "available", &sagas, |n| n.is_multiple_of(DECLINED_EVERY)).await?;
                seats(connection, "sold", &sagas, |n| !n.is_multiple_of(DECLINED_EVERY)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One transition of each saga; gives the outbox row that it left.
async fn write_step(
    connection: &mut PgConnection,
    sample: &Sample,
    sagas: &[(Uuid, u64)],
    step: usize,
    sent: Option<Uuid>,
) -> Result<Option<Uuid>, sqlx::Error> {
    let rows: Vec<(Uuid, &Row)> = sagas
        .iter()
        .filter_map(|(id, n)| {
            let path = if n.is_multiple_of(DECLINED_EVERY) {
                &sample.compensated
            } else {
                &sample.confirmed
            };
            path.get(step).map(|row| (*id, row))
        })
        .collect();
    let tasks = rows.iter().filter(|(_, row)| !row.ended).count();
    let outbox = (tasks > 0).then(Uuid::now_v7);
    let payload = vec![7_u8; tasks * OUTBOX_BYTES_PER_TASK];
    let sample_id = SAMPLE_ID.to_string();
    let text = |text: &str, id: &Uuid| text.replace(&sample_id, &id.to_string());
    let ids: Vec<Uuid> = rows.iter().map(|(id, _)| *id).collect();
    let states: Vec<String> = rows.iter().map(|(id, row)| text(&row.state, id)).collect();
    let events: Vec<String> = rows.iter().map(|(id, row)| text(&row.event, id)).collect();
    let statuses: Vec<&str> = rows.iter().map(|(_, row)| row.status).collect();
    let ended: Vec<bool> = rows.iter().map(|(_, row)| row.ended).collect();
    let kinds: Vec<&str> = rows.iter().map(|(_, row)| row.kind).collect();
    let steps: Vec<Option<&str>> = rows.iter().map(|(_, row)| row.step.as_deref()).collect();
    let statement = if step == 0 { BEGIN } else { MOVE };
    sqlx::query(statement)
        .bind(ids)
        .bind(states)
        .bind(events)
        .bind(statuses)
        .bind(ended)
        .bind(kinds)
        .bind(steps)
        .bind(step as i64 + 1)
        .bind(outbox)
        .bind(payload)
        .bind(sent)
        .execute(connection)
        .await?;
    Ok(outbox)
}

async fn seats(
    connection: &mut PgConnection,
    status: &str,
    sagas: &[(Uuid, u64)],
    wanted: impl Fn(u64) -> bool,
) -> Result<(), sqlx::Error> {
    let (ids, bookings): (Vec<String>, Vec<String>) = sagas
        .iter()
        .filter(|(_, n)| wanted(*n))
        .map(|(id, n)| (format!("S-{n}"), id.to_string()))
        .unzip();
    sqlx::query(
        "update bench.seats s set status = $1, booking_id = case when $1 = 'available' then null else u.booking_id end
         from unnest($2::text[], $3::text[]) as u (id, booking_id) where s.id = u.id",
    )
    .bind(status)
    .bind(ids)
    .bind(bookings)
    .execute(connection)
    .await?;
    Ok(())
}

const BEGIN: &str = "\
with u as (
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[])
      as u (id, state, event, status, ended, kind, step)
), begun as (
    insert into saga.sagas (id, workflow, definition_id, status, state, seq, attempt_due_at, created_at, updated_at)
    select id, 'reference', 1, status, state, $8, now(), now(), now() from u
), journaled as (
    insert into saga.journal (saga_id, seq, at, kind, step, event) select id, $8, now(), kind, step, event from u
), gone as (
    delete from saga.outbox where id = $11
)
insert into saga.outbox (id, instance, messages, payload) select $9, $9, 1, $10 where $9::uuid is not null";

const MOVE: &str = "\
with u as (
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[])
      as u (id, state, event, status, ended, kind, step)
), moved as (
    update saga.sagas s
    set state = u.state, seq = $8, status = u.status, updated_at = now(),
        attempt_due_at = case when not u.ended then now() end, ended_at = case when u.ended then now() end
    from u where s.id = u.id and s.seq = $8 - 1
), journaled as (
    insert into saga.journal (saga_id, seq, at, kind, step, event) select id, $8, now(), kind, step, event from u
), gone as (
    delete from saga.outbox where id = $11
)
insert into saga.outbox (id, instance, messages, payload) select $9, $9, 1, $10 where $9::uuid is not null";

/// What the engine writes for one saga, transition by transition.
struct Sample {
    confirmed: Vec<Row>,
    compensated: Vec<Row>,
}

struct Row {
    state: String,
    event: String,
    status: &'static str,
    ended: bool,
    kind: &'static str,
    step: Option<String>,
}

impl Sample {
    fn new() -> anyhow::Result<Sample> {
        Ok(Sample {
            confirmed: rows(false)?,
            compensated: rows(true)?,
        })
    }
}

/// Runs a saga through the pure core and keeps its texts.
fn rows(declined: bool) -> anyhow::Result<Vec<Row>> {
    let Ok(definition) = Compiled::new(reference::definition()) else {
        bail!("the reference workflow does not compile");
    };
    let saga = SagaId(SAMPLE_ID);
    let input = json!({ "seatId": "S-123456", "n": 123_456 });
    let now = Timestamp(1_764_000_000_000);
    let mut event = Event::Started {
        input: input.clone(),
        traceparent: None,
    };
    let mut transition = workflows::start(&definition, saga, input, None, now)?;
    let mut rows = Vec::new();
    loop {
        rows.push(row(&transition, &event)?);
        let token = transition.effects.iter().find_map(|effect| match effect {
            Effect::Dispatch { task, .. } => Some(task.token.clone()),
            Effect::Publish(_) => None,
        });
        let Some(token) = token else { return Ok(rows) };
        let outcome = if declined && token.step == "charge" {
            Outcome::Failed {
                code: "declined".to_owned(),
                message: "every twentieth is".to_owned(),
                retryable: false,
                details: serde_json::Value::Null,
            }
        } else {
            Outcome::Succeeded { output: json!({}) }
        };
        event = Event::Result(TaskResult { token, outcome });
        transition = workflows::advance(&definition, saga, transition.state, &event, now)?;
    }
}

fn row(transition: &Transition, event: &Event) -> anyhow::Result<Row> {
    let status = transition.state.status();
    Ok(Row {
        state: transition.state.encode(),
        event: serde_json::to_string(event)?,
        status: status.as_str(),
        ended: status.is_final(),
        kind: transition.journal.context("a transition without an entry")?,
        step: transition.step.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_sample_runs_both_ways_to_the_end() {
        let sample = Sample::new().unwrap();
        assert_eq!((sample.confirmed.len(), sample.compensated.len()), (5, 4));
        assert_eq!(sample.confirmed[4].status, "completed");
        assert_eq!(sample.compensated[3].status, "compensated");
        assert!(
            sample.confirmed[1..]
                .iter()
                .all(|row| row.event.contains(&SAMPLE_ID.to_string()))
        );
    }
}
