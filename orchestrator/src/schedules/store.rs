//! The schedules' SQL: one function per query, named for its effect.
//!
//! Locks are taken in one order, so that no deadlock can form: a schedule before its firings, firings by schedule and
//! due time; whoever needs only what is free skips what is locked.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};

use crate::client::{Firing, FiringOrigin, FiringOutcome, Overlap, Schedule, ScheduleSpec};

const SCHEDULE: &str = "name, cron, time_zone, workflow, version, input, tags, overlap, catch_up_ms, paused, next_due_at, \
                        last_due_at, created_at, updated_at";
const FIRING: &str = "schedule, due_at, origin, outcome, saga_id, note, claimed_at";

/// A firing about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewFiring {
    pub schedule: String,
    pub due_at: Timestamp,
    pub outcome: FiringOutcome,
    pub note: Option<String>,
}

/// A claimed firing, with all that its saga needs.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub schedule: String,
    pub due_at: Timestamp,
    pub saga: SagaId,
    pub workflow: String,
    pub version: Option<u32>,
    pub input: Value,
    pub tags: BTreeMap<String, String>,
    pub overlap: Overlap,
}

/// What came of a claimed firing.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub schedule: String,
    pub due_at: Timestamp,
    pub outcome: FiringOutcome,
    pub saga: SagaId,
    pub note: Option<String>,
    /// Its saga stands in the way of the next one.
    pub open: bool,
}

/// Every schedule, by name.
pub async fn all(pool: &PgPool) -> Result<Vec<Schedule>, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!("select {SCHEDULE} from saga.schedules order by name"));
    sqlx::query(sql).fetch_all(pool).await?.iter().map(schedule).collect()
}

/// One schedule.
pub async fn one(pool: &PgPool, name: &str) -> Result<Option<Schedule>, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!("select {SCHEDULE} from saga.schedules where name = $1"));
    sqlx::query(sql)
        .bind(name)
        .fetch_optional(pool)
        .await?
        .as_ref()
        .map(schedule)
        .transpose()
}

/// A schedule that stays as it is until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection, name: &str) -> Result<Option<Schedule>, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!(
        "select {SCHEDULE} from saga.schedules where name = $1 for update"
    ));
    sqlx::query(sql)
        .bind(name)
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(schedule)
        .transpose()
}

/// Stores a schedule; none: its name is taken.
pub(crate) async fn insert(
    pool: &PgPool,
    spec: &ScheduleSpec,
    next_due_at: Option<Timestamp>,
) -> Result<Option<Schedule>, sqlx::Error> {
    let sql = format!(
        "insert into saga.schedules (name, cron, time_zone, workflow, version, input, tags, overlap, catch_up_ms, \
         paused, next_due_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         on conflict (name) do nothing returning {SCHEDULE}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&spec.name)
        .bind(&spec.cron)
        .bind(&spec.time_zone)
        .bind(&spec.workflow)
        .bind(spec.version.map(|version| i32::try_from(version).unwrap_or(i32::MAX)))
        .bind(Json(&spec.input))
        .bind(Json(&spec.tags))
        .bind(overlap_text(spec.overlap))
        .bind(i64::try_from(spec.catch_up.as_millis()).unwrap_or(i64::MAX))
        .bind(spec.paused)
        .bind(next_due_at.map(Timestamp::to_datetime))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(schedule).transpose()
}

/// Pauses or resumes a schedule.
pub(crate) async fn set_paused(
    connection: &mut PgConnection,
    name: &str,
    paused: bool,
    next_due_at: Option<Timestamp>,
) -> Result<Schedule, sqlx::Error> {
    let sql = format!(
        "update saga.schedules set paused = $2, next_due_at = $3, updated_at = now() where name = $1 returning {SCHEDULE}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(name)
        .bind(paused)
        .bind(next_due_at.map(Timestamp::to_datetime))
        .fetch_one(connection)
        .await?;
    schedule(&row)
}

/// Deletes a schedule and its firings; false: there was none. The firings are locked in the order that everyone locks
/// them in; a cascade alone would take them as they lie in the table.
pub async fn delete(pool: &PgPool, name: &str) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let found = lock(&mut transaction, name).await?.is_some();
    sqlx::query("select from saga.firings where schedule = $1 order by schedule, due_at for update")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("delete from saga.schedules where name = $1")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(found)
}

/// A schedule's latest firings, newest first.
pub async fn firings(pool: &PgPool, name: &str, limit: u32) -> Result<Vec<Firing>, sqlx::Error> {
    let sql = format!("select {FIRING} from saga.firings where schedule = $1 order by due_at desc limit $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).bind(i64::from(limit));
    query.fetch_all(pool).await?.iter().map(firing).collect()
}

/// One firing.
pub(crate) async fn one_firing(pool: &PgPool, name: &str, due_at: Timestamp) -> Result<Option<Firing>, sqlx::Error> {
    let sql = format!("select {FIRING} from saga.firings where schedule = $1 and due_at = $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(name)
        .bind(due_at.to_datetime());
    query.fetch_optional(pool).await?.as_ref().map(firing).transpose()
}

/// Schedules that are due and nobody else handles, kept so until the transaction ends; with the database's time.
pub(crate) async fn lock_due(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(Schedule, Timestamp)>, sqlx::Error> {
    let sql = format!(
        "select {SCHEDULE}, now() as now from saga.schedules where next_due_at <= now() \
         order by next_due_at limit $1 for update skip locked"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((schedule(row)?, row.try_get::<DateTime<Utc>, _>("now")?.into())))
        .collect()
}

/// Of these schedules, those with a firing in the way, and whether one of theirs waits in the queue.
pub(crate) async fn busy(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<BTreeMap<String, bool>, sqlx::Error> {
    let rows = sqlx::query(
        "select schedule, bool_or(outcome = 'queued') as queued from saga.firings \
         where open and schedule = any($1) group by schedule",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("schedule")?, row.try_get("queued")?)))
        .collect()
}

/// Firings whose sagas have settled no longer stand in the way. (Sagas that are gone have settled long ago.)
pub(crate) async fn close_settled(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update saga.firings as firing set open = false from ( \
             select schedule, due_at from saga.firings as candidate \
             where open and outcome = 'started' and not exists ( \
                 select from saga.sagas where id = candidate.saga_id \
                 and status in ('running', 'waiting', 'compensating', 'paused')) \
             order by schedule, due_at for update skip locked) as settled \
         where firing.schedule = settled.schedule and firing.due_at = settled.due_at",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Stores firings. Due times that are there already are left alone, unless `again` and they never began a saga.
/// Gives those that were stored.
pub(crate) async fn insert_firings(
    connection: &mut PgConnection,
    origin: FiringOrigin,
    firings: &[NewFiring],
    again: bool,
) -> Result<Vec<Firing>, sqlx::Error> {
    let schedules: Vec<&str> = firings.iter().map(|it| it.schedule.as_str()).collect();
    let due: Vec<DateTime<Utc>> = firings.iter().map(|it| it.due_at.to_datetime()).collect();
    let outcomes: Vec<&str> = firings.iter().map(|it| outcome_text(it.outcome)).collect();
    let sagas: Vec<Uuid> = firings.iter().map(|_| Uuid::now_v7()).collect();
    let notes: Vec<Option<&str>> = firings.iter().map(|it| it.note.as_deref()).collect();
    let open: Vec<bool> = firings.iter().map(|it| is_open(it.outcome)).collect();
    let sql = format!(
        "insert into saga.firings as firing (schedule, due_at, origin, outcome, saga_id, note, open) \
         select schedule, due_at, $1, outcome, saga_id, note, open from \
         unnest($2::text[], $3::timestamptz[], $4::text[], $5::uuid[], $6::text[], $7::boolean[]) \
             as new (schedule, due_at, outcome, saga_id, note, open) order by schedule, due_at \
         on conflict (schedule, due_at) do update set origin = excluded.origin, outcome = excluded.outcome, \
             saga_id = excluded.saga_id, note = excluded.note, open = excluded.open, claimed_at = now(), \
             lease_until = now() \
         where $8 and firing.outcome in ('skipped', 'missed', 'refused') \
         returning {FIRING}"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(origin_text(origin))
        .bind(schedules)
        .bind(due)
        .bind(outcomes)
        .bind(sagas)
        .bind(notes)
        .bind(open)
        .bind(again);
    query.fetch_all(connection).await?.iter().map(firing).collect()
}

/// Moves schedules on to their next due times.
pub(crate) async fn move_on(
    connection: &mut PgConnection,
    moves: &[(String, Option<Timestamp>, Option<Timestamp>)],
) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = moves.iter().map(|(name, _, _)| name.as_str()).collect();
    let next: Vec<Option<DateTime<Utc>>> = moves
        .iter()
        .map(|(_, next, _)| next.map(Timestamp::to_datetime))
        .collect();
    let last: Vec<Option<DateTime<Utc>>> = moves
        .iter()
        .map(|(_, _, last)| last.map(Timestamp::to_datetime))
        .collect();
    sqlx::query(
        "update saga.schedules as schedule set next_due_at = new.next_due_at, updated_at = now(), \
         last_due_at = coalesce(new.last_due_at, schedule.last_due_at) \
         from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as new (name, next_due_at, last_due_at) \
         where schedule.name = new.name",
    )
    .bind(names)
    .bind(next)
    .bind(last)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the oldest queued firing of each schedule go ahead if nothing stands in its way any more.
pub(crate) async fn release_queued(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update saga.firings as firing set outcome = 'claimed', lease_until = now() from ( \
             select queued.schedule, queued.due_at from saga.firings as queued join ( \
                 select schedule, min(due_at) as due_at from saga.firings as waiting \
                 where open and outcome = 'queued' and not exists ( \
                     select from saga.firings as other \
                     where other.schedule = waiting.schedule and other.open and other.outcome <> 'queued') \
                 group by schedule) as oldest using (schedule, due_at) \
             where queued.outcome = 'queued' \
             order by queued.schedule, queued.due_at for update of queued skip locked) as free \
         where firing.schedule = free.schedule and firing.due_at = free.due_at and firing.outcome = 'queued'",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Takes claimed firings that nobody is starting: each is this caller's to start for as long as the lease.
pub(crate) async fn lease_claimed(pool: &PgPool, lease: Duration, limit: i64) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query(
        "update saga.firings as firing set lease_until = now() + make_interval(secs => $1) from ( \
             select schedule, due_at from saga.firings where outcome = 'claimed' and lease_until <= now() \
             order by due_at limit $2 for update skip locked) as free, saga.schedules as schedule \
         where firing.schedule = free.schedule and firing.due_at = free.due_at and schedule.name = firing.schedule \
         returning firing.schedule, firing.due_at, firing.saga_id, schedule.workflow, schedule.version, \
             schedule.input, schedule.tags, schedule.overlap",
    )
    .bind(lease.as_secs_f64())
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let (Json(input), Json(tags)) = (row.try_get("input")?, row.try_get("tags")?);
            Ok(Claimed {
                schedule: row.try_get("schedule")?,
                due_at: instant(row, "due_at")?,
                saga: SagaId(row.try_get("saga_id")?),
                workflow: row.try_get("workflow")?,
                version: row.try_get::<Option<i32>, _>("version")?.map(i32::unsigned_abs),
                input,
                tags,
                overlap: overlap(row)?,
            })
        })
        .collect()
}

/// Writes down what came of claimed firings.
pub(crate) async fn finish(pool: &PgPool, finished: &[Finished]) -> Result<(), sqlx::Error> {
    let schedules: Vec<&str> = finished.iter().map(|it| it.schedule.as_str()).collect();
    let due: Vec<DateTime<Utc>> = finished.iter().map(|it| it.due_at.to_datetime()).collect();
    let outcomes: Vec<&str> = finished.iter().map(|it| outcome_text(it.outcome)).collect();
    let sagas: Vec<Uuid> = finished.iter().map(|it| it.saga.0).collect();
    let notes: Vec<Option<&str>> = finished.iter().map(|it| it.note.as_deref()).collect();
    let open: Vec<bool> = finished.iter().map(|it| it.open).collect();
    sqlx::query(
        "with new as ( \
             select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::uuid[], $5::text[], $6::boolean[]) \
                 as new (schedule, due_at, outcome, saga_id, note, open)), \
         mine as ( \
             select firing.schedule, firing.due_at from saga.firings as firing join new using (schedule, due_at) \
             where firing.outcome = 'claimed' order by firing.schedule, firing.due_at for update of firing) \
         update saga.firings as firing set outcome = new.outcome, saga_id = new.saga_id, note = new.note, \
             open = new.open from new join mine using (schedule, due_at) \
         where firing.schedule = mine.schedule and firing.due_at = mine.due_at and firing.outcome = 'claimed'",
    )
    .bind(schedules)
    .bind(due)
    .bind(outcomes)
    .bind(sagas)
    .bind(notes)
    .bind(open)
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether a firing is open, or a schedule due; and how long until the next schedule is due, if one ever is.
pub(crate) async fn look(pool: &PgPool) -> Result<(bool, Option<Duration>), sqlx::Error> {
    let (open, seconds): (bool, Option<f64>) = sqlx::query_as(
        "select exists (select 1 from saga.firings where open), \
                extract(epoch from min(next_due_at) - clock_timestamp())::double precision \
         from saga.schedules where next_due_at is not null",
    )
    .fetch_one(pool)
    .await?;
    let due = seconds.is_some_and(|seconds| seconds <= 0.0);
    let wait = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
    Ok((open || due, wait))
}

/// Forgets old firings, at most `limit`.
pub(crate) async fn purge(pool: &PgPool, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from saga.firings where (schedule, due_at) in ( \
             select schedule, due_at from saga.firings where not open \
             and greatest(due_at, claimed_at) < now() - make_interval(secs => $1) \
             order by schedule, due_at limit $2 for update skip locked)",
    )
    .bind(keep.as_secs_f64())
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

fn is_open(outcome: FiringOutcome) -> bool {
    match outcome {
        FiringOutcome::Claimed | FiringOutcome::Queued => true,
        FiringOutcome::Started | FiringOutcome::Skipped | FiringOutcome::Missed | FiringOutcome::Refused => false,
    }
}

fn instant(row: &PgRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    Ok(row.try_get::<DateTime<Utc>, _>(column)?.into())
}

fn maybe_instant(row: &PgRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<DateTime<Utc>>, _>(column)?.map(Timestamp::from))
}

fn schedule(row: &PgRow) -> Result<Schedule, sqlx::Error> {
    let (Json(input), Json(tags)) = (row.try_get("input")?, row.try_get("tags")?);
    Ok(Schedule {
        name: row.try_get("name")?,
        cron: row.try_get("cron")?,
        time_zone: row.try_get("time_zone")?,
        workflow: row.try_get("workflow")?,
        version: row.try_get::<Option<i32>, _>("version")?.map(i32::unsigned_abs),
        input,
        tags,
        overlap: overlap(row)?,
        catch_up: Duration::from_millis(row.try_get::<i64, _>("catch_up_ms")?.unsigned_abs()),
        paused: row.try_get("paused")?,
        next_due_at: maybe_instant(row, "next_due_at")?,
        last_due_at: maybe_instant(row, "last_due_at")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

fn firing(row: &PgRow) -> Result<Firing, sqlx::Error> {
    let outcome = word(row, "outcome", &OUTCOMES)?;
    let saga = SagaId(row.try_get("saga_id")?);
    Ok(Firing {
        schedule: row.try_get("schedule")?,
        due_at: instant(row, "due_at")?,
        origin: word(row, "origin", &ORIGINS)?,
        outcome,
        saga: (outcome == FiringOutcome::Started).then_some(saga),
        note: row.try_get("note")?,
        claimed_at: instant(row, "claimed_at")?,
    })
}

const OUTCOMES: [(&str, FiringOutcome); 6] = [
    ("claimed", FiringOutcome::Claimed),
    ("queued", FiringOutcome::Queued),
    ("started", FiringOutcome::Started),
    ("skipped", FiringOutcome::Skipped),
    ("missed", FiringOutcome::Missed),
    ("refused", FiringOutcome::Refused),
];
const ORIGINS: [(&str, FiringOrigin); 3] = [
    ("due", FiringOrigin::Due),
    ("backfill", FiringOrigin::Backfill),
    ("manual", FiringOrigin::Manual),
];
const OVERLAPS: [(&str, Overlap); 3] = [
    ("skip", Overlap::Skip),
    ("queue", Overlap::Queue),
    ("allow", Overlap::Allow),
];

fn word<T: Copy>(row: &PgRow, column: &str, words: &[(&str, T)]) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| sqlx::Error::Decode(format!("{text:?} is not a known {column}").into()))
}

fn text_of<T: PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words
        .iter()
        .find(|(_, known)| *known == value)
        .map(|(word, _)| *word)
        .expect("every value has its word")
}

fn overlap(row: &PgRow) -> Result<Overlap, sqlx::Error> {
    word(row, "overlap", &OVERLAPS)
}

fn overlap_text(overlap: Overlap) -> &'static str {
    text_of(overlap, &OVERLAPS)
}

fn outcome_text(outcome: FiringOutcome) -> &'static str {
    text_of(outcome, &OUTCOMES)
}

fn origin_text(origin: FiringOrigin) -> &'static str {
    text_of(origin, &ORIGINS)
}
