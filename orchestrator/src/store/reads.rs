//! What APIs read: sagas, journals, lists. Nothing here is on the hot path.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;
use workflows::effect::Fact;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::state::{State, Status};

/// A saga without its state.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaSummary {
    /// Its id.
    pub id: SagaId,
    /// The workflow's name.
    pub workflow: String,
    /// The definition it runs on, as in [`crate::DefinitionCache::by_id`].
    pub definition_id: i64,
    /// What it is doing.
    pub status: Status,
    /// What it is about.
    pub business_key: Option<String>,
    /// Its labels.
    pub tags: BTreeMap<String, String>,
    /// Journal entries so far.
    pub seq: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended, with nothing in flight any more.
    pub ended_at: Option<Timestamp>,
    /// Why it was not completed; while it is live, what a step fails with: finally, or twice or more in a row.
    pub failure_code: Option<String>,
    /// That step.
    pub failure_step: Option<String>,
}

/// A saga with its state.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaRecord {
    /// Everything but the state.
    pub summary: SagaSummary,
    /// The state.
    pub state: Arc<State>,
}

/// An entry of a saga's journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Counts from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What it was, e.g. `step_succeeded`.
    pub kind: String,
    /// The step it concerns.
    pub step: Option<String>,
    /// The event, as it came in.
    pub event: Event,
    /// The domain events it published.
    pub facts: Vec<Fact>,
}

/// Which sagas to list; every condition must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SagaFilter {
    /// One of these; empty: any.
    pub status: Vec<Status>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// About this.
    pub business_key: Option<String>,
    /// With this label.
    pub tag: Option<(String, String)>,
    /// Failed with this code.
    pub failure_code: Option<String>,
    /// Failed at this step.
    pub failure_step: Option<String>,
    /// Begun at or after.
    pub created_from: Option<Timestamp>,
    /// Begun before.
    pub created_before: Option<Timestamp>,
    /// The oldest first, instead of the newest.
    pub oldest_first: bool,
    /// Only sagas behind this one in the list's order (the last of the page before).
    pub after: Option<SagaId>,
}

const SUMMARY: &str = "select id, workflow, definition_id, status, business_key, tags, seq, created_at, updated_at, \
                       ended_at, failure_code, failure_step";

/// One saga.
pub async fn saga(pool: &PgPool, id: SagaId) -> Result<Option<SagaRecord>, sqlx::Error> {
    let row = sqlx::query(
        "select id, workflow, definition_id, status, business_key, tags, seq, created_at, updated_at, ended_at, \
         failure_code, failure_step, state from saga.sagas where id = $1",
    )
    .bind(id.0)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(record).transpose()
}

fn record(row: &PgRow) -> Result<SagaRecord, sqlx::Error> {
    let text: &str = row.try_get("state")?;
    let state = State::decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(SagaRecord {
        summary: summary(row)?,
        state: Arc::new(state),
    })
}

/// A saga's journal after entry `after` (0: from the beginning), oldest first, at most `limit` entries.
pub async fn journal(pool: &PgPool, id: SagaId, after: u64, limit: u32) -> Result<Vec<JournalEntry>, sqlx::Error> {
    let rows = sqlx::query(
        "select seq, at, kind, step, event, facts from saga.journal where saga_id = $1 and seq > $2 order by seq limit $3",
    )
    .bind(id.0)
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(journal_entry).collect()
}

/// Sagas that match, newest or oldest first (by id, which is by when they were accepted), at most `limit`.
pub async fn list(pool: &PgPool, filter: &SagaFilter, limit: u32) -> Result<Vec<SagaSummary>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("");
    narrow(&mut query, filter, limit);
    query.build().fetch_all(pool).await?.iter().map(summary).collect()
}

/// Carries the same statement out and tells Postgres' own account of it, as `explain (analyze, buffers, format json)` gives it.
pub async fn explain_list(pool: &PgPool, filter: &SagaFilter, limit: u32) -> Result<serde_json::Value, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("explain (analyze, buffers, format json) ");
    narrow(&mut query, filter, limit);
    let row = query.build().fetch_one(pool).await?;
    let Json(account) = row.try_get(0)?;
    Ok(account)
}

/// The statement of a list.
///
/// An index holds sagas by status and id, so each status has its newest (or oldest) at hand, but not several statuses together: each is asked
/// for by itself and the answers are put together. Otherwise all sagas of these statuses would be read and sorted for every page.
fn narrow(query: &mut QueryBuilder<Postgres>, filter: &SagaFilter, limit: u32) {
    let parts = parts(&filter.status);
    if parts.is_empty() {
        query.push(SUMMARY).push(" from saga.sagas where true");
        if !filter.status.is_empty() {
            query
                .push(" and status = any(")
                .push_bind(texts(&filter.status))
                .push(")");
        }
        conditions(query, filter);
        return order(query, filter, limit);
    }
    query.push("select * from (");
    for (number, (status, place)) in parts.into_iter().enumerate() {
        query.push(if number == 0 { "(" } else { " union all (" });
        query.push(SUMMARY).push(" from saga.sagas where status = ");
        query.push_bind(status.as_str()).push(place);
        conditions(query, filter);
        order(query, filter, limit);
        query.push(")");
    }
    query.push(") as found");
    order(query, filter, limit);
}

/// The parts of the table that hold these statuses, each behind an index of its own; none: completed sagas are wanted too, which
/// are most of the table, and found by id.
fn parts(statuses: &[Status]) -> Vec<(Status, &'static str)> {
    let statuses: std::collections::BTreeSet<Status> = statuses.iter().copied().collect();
    if statuses.contains(&Status::Completed) {
        return Vec::new();
    }
    let mut parts = Vec::new();
    for status in statuses {
        parts.push((status, " and ended_at is null"));
        if status.is_final() {
            parts.push((status, " and ended_at is not null and status <> 'completed'"));
        }
    }
    parts
}

fn conditions(query: &mut QueryBuilder<Postgres>, filter: &SagaFilter) {
    if let Some(workflow) = &filter.workflow {
        query.push(" and workflow = ").push_bind(workflow.clone());
    }
    if let Some(key) = &filter.business_key {
        query.push(" and business_key = ").push_bind(key.clone());
    }
    if let Some(code) = &filter.failure_code {
        query.push(" and failure_code = ").push_bind(code.clone());
    }
    if let Some(step) = &filter.failure_step {
        query.push(" and failure_step = ").push_bind(step.clone());
    }
    if let Some((name, value)) = &filter.tag {
        query
            .push(" and tags @> ")
            .push_bind(Json(BTreeMap::from([(name.clone(), value.clone())])));
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from.to_datetime());
        query
            .push(" and id >= saga.first_id_at(")
            .push_bind(slack(from, -1))
            .push(")");
    }
    if let Some(before) = filter.created_before {
        query.push(" and created_at < ").push_bind(before.to_datetime());
        query
            .push(" and id < saga.first_id_at(")
            .push_bind(slack(before, 1))
            .push(")");
    }
    if let Some(after) = filter.after {
        let behind = if filter.oldest_first {
            " and id > "
        } else {
            " and id < "
        };
        query.push(behind).push_bind(after.0);
    }
}

fn order(query: &mut QueryBuilder<Postgres>, filter: &SagaFilter, limit: u32) {
    let order = if filter.oldest_first {
        " order by id limit "
    } else {
        " order by id desc limit "
    };
    query.push(order).push_bind(i64::from(limit));
}

/// Ids are made by the orchestrators' clocks and may be off by a little, or have waited for Postgres for a while.
const ID_CLOCK_SLACK_HOURS: i64 = 1;

fn slack(at: Timestamp, sign: i64) -> DateTime<Utc> {
    at.to_datetime() + chrono::Duration::hours(sign * ID_CLOCK_SLACK_HOURS)
}

/// How many live sagas there are of each status.
pub async fn count_live(pool: &PgPool) -> Result<Vec<(Status, i64)>, sqlx::Error> {
    let rows = sqlx::query("select status, count(*) as sagas from saga.sagas where ended_at is null group by status")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok((status(row)?, row.try_get("sagas")?)))
        .collect()
}

/// Sagas that somebody waits for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Until they have settled.
    pub settled: Vec<Uuid>,
    /// Until they are decided.
    pub decided: Vec<Uuid>,
}

/// Of these sagas, the ones that are in one of the `settled` statuses, or, where that is enough, seem to be decided; at most `limit`.
pub async fn sagas_that_came(
    pool: &PgPool,
    wanted: &Wanted,
    settled: &[Status],
    limit: i64,
) -> Result<Vec<SagaRecord>, sqlx::Error> {
    let ids = [wanted.settled.as_slice(), wanted.decided.as_slice()].concat();
    let rows = sqlx::query(
        "select id, workflow, definition_id, status, business_key, tags, seq, created_at, updated_at, ended_at, \
         failure_code, failure_step, state from saga.sagas \
         where id = any($1) and (status = any($2) \
               or id = any($3) and (status = 'compensating' or state like '%\"pv\":true%')) limit $4",
    )
    .bind(ids)
    .bind(texts(settled))
    .bind(&wanted.decided)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(record).collect()
}

fn texts(statuses: &[Status]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.as_str()).collect()
}

fn status(row: &PgRow) -> Result<Status, sqlx::Error> {
    let text: &str = row.try_get("status")?;
    text.parse().map_err(|error: String| sqlx::Error::Decode(error.into()))
}

fn summary(row: &PgRow) -> Result<SagaSummary, sqlx::Error> {
    let tags: Option<Json<BTreeMap<String, String>>> = row.try_get("tags")?;
    Ok(SagaSummary {
        id: SagaId(row.try_get("id")?),
        workflow: row.try_get("workflow")?,
        definition_id: row.try_get("definition_id")?,
        status: status(row)?,
        business_key: row.try_get("business_key")?,
        tags: tags.map(|tags| tags.0).unwrap_or_default(),
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        updated_at: row.try_get::<DateTime<Utc>, _>("updated_at")?.into(),
        ended_at: row
            .try_get::<Option<DateTime<Utc>>, _>("ended_at")?
            .map(Timestamp::from),
        failure_code: row.try_get("failure_code")?,
        failure_step: row.try_get("failure_step")?,
    })
}

fn journal_entry(row: &PgRow) -> Result<JournalEntry, sqlx::Error> {
    let decode = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    let event: &str = row.try_get("event")?;
    let facts: Option<&str> = row.try_get("facts")?;
    Ok(JournalEntry {
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        at: row.try_get::<DateTime<Utc>, _>("at")?.into(),
        kind: row.try_get("kind")?,
        step: row.try_get("step")?,
        event: serde_json::from_str(event).map_err(decode)?,
        facts: facts
            .map(serde_json::from_str)
            .transpose()
            .map_err(decode)?
            .unwrap_or_default(),
    })
}
