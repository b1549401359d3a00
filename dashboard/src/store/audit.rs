//! The audit trail.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;

/// Writes down what is no saga's.
pub async fn done(db: impl PgExecutor<'_>, operator: &str, action: &str, details: Value) -> Result<(), sqlx::Error> {
    sqlx::query("insert into ops.audit (operator, action, details, outcome) values ($1, $2, $3, 'done')")
        .bind(operator)
        .bind(action)
        .bind(Json(details))
        .execute(db)
        .await?;
    Ok(())
}

/// Writes down what is no single saga's, with its reason and what came of it.
pub async fn record(
    db: impl PgExecutor<'_>,
    operator: &str,
    action: &str,
    reason: &str,
    details: Value,
    outcome: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into ops.audit (operator, action, reason, details, outcome) values ($1, $2, $3, $4, $5)")
        .bind(operator)
        .bind(action)
        .bind(reason)
        .bind(Json(details))
        .bind(outcome)
        .execute(db)
        .await?;
    Ok(())
}

/// A row of the trail.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: String,
    /// Who.
    pub operator: String,
    /// What.
    pub action: String,
    /// To which saga; empty: none.
    pub saga: String,
    /// Why.
    pub reason: String,
    /// How it was; none: the action has no such thing.
    pub before: Option<Value>,
    /// How it is now; none: nothing came of it, or the action has no such thing.
    pub after: Option<Value>,
    /// With what.
    pub details: Value,
    /// What came of it.
    pub outcome: String,
}

/// Somebody's words about a saga.
pub struct Note {
    /// When.
    pub at: String,
    /// Whose.
    pub operator: String,
    /// The words.
    pub text: String,
}

/// A deed at a saga that is about to be done.
pub struct Begun<'a> {
    /// Who.
    pub operator: &'a str,
    /// What.
    pub action: &'a str,
    /// To which saga.
    pub saga: Uuid,
    /// At which end of its journal.
    pub entry: i64,
    /// Why.
    pub reason: &'a str,
    /// With what; `step` is one of it.
    pub details: Value,
}

/// Writes down what is about to be done to a saga. The engine's transaction that does it completes the row (a trigger of the journal). The very
/// same deed again, while the first is under way, is the same row.
pub async fn begin(pool: &PgPool, begun: Begun<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ops.audit (operator, action, saga_id, reason, details, entry) values ($1, $2, $3, $4, $5, $6) \
         on conflict (saga_id, entry, operator, action, (details ->> 'step')) where outcome is null and entry is not null \
         do update set reason = excluded.reason, details = excluded.details returning id",
    )
    .bind(begun.operator)
    .bind(begun.action)
    .bind(begun.saga)
    .bind(begun.reason)
    .bind(Json(begun.details))
    .bind(begun.entry)
    .fetch_one(pool)
    .await
}

/// Writes down what came of it, unless the transaction that did it has said so already; and how it was afterwards.
pub async fn finish(pool: &PgPool, id: i64, outcome: &str, after: Option<Value>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ops.audit set outcome = coalesce(outcome, $2), \
                details = case when $3::jsonb is null then details else details || jsonb_build_object('after', $3) end \
         where id = $1",
    )
    .bind(id)
    .bind(outcome)
    .bind(after.map(Json))
    .execute(pool)
    .await?;
    Ok(())
}

/// Which entries of the trail; every condition must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Of this operator.
    pub operator: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// About this saga.
    pub saga: Option<Uuid>,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

/// A page of the trail, the newest first, before entry `before`.
pub async fn page(pool: &PgPool, filter: &Filter, before: i64, limit: i64) -> Result<Vec<Entry>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select id, at, operator, action, saga_id, reason, details, outcome from ops.audit where id < ",
    );
    query.push_bind(before);
    if let Some(operator) = &filter.operator {
        query.push(" and operator = ").push_bind(operator.clone());
    }
    if let Some(action) = &filter.action {
        query.push(" and action = ").push_bind(action.clone());
    }
    if let Some(saga) = filter.saga {
        query.push(" and saga_id = ").push_bind(saga);
    }
    // Numbers are given in nearly the order of time: the index by time leads to the range of numbers, a minute wider.
    if let Some(since) = filter.since {
        query.push(" and at >= ").push_bind(since);
        query
            .push(" and id >= (select id from ops.audit where at >= ")
            .push_bind(since - SLACK)
            .push(" order by at, id limit 1)");
    }
    if let Some(until) = filter.until {
        query.push(" and at < ").push_bind(until);
        query
            .push(" and id <= (select id from ops.audit where at < ")
            .push_bind(until + SLACK)
            .push(" order by at desc, id desc limit 1)");
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(entry).collect()
}

/// How much later than its number's turn a row may be stamped: a transaction's time is that of its beginning.
const SLACK: chrono::Duration = chrono::Duration::minutes(1);

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let saga: Option<Uuid> = row.try_get("saga_id")?;
    let mut details = row.try_get::<Json<Value>, _>("details")?.0;
    let mut side = |name| {
        let side = details.as_object_mut().and_then(|details| details.remove(name));
        side.filter(|side| !side.is_null())
    };
    Ok(Entry {
        id: row.try_get("id")?,
        at: instant(row.try_get("at")?),
        operator: row.try_get("operator")?,
        action: row.try_get("action")?,
        saga: saga.map(|saga| saga.to_string()).unwrap_or_default(),
        reason: row.try_get("reason")?,
        before: side("before"),
        after: side("after"),
        details,
        outcome: row
            .try_get::<Option<String>, _>("outcome")?
            .unwrap_or_else(|| "begun, and no word of its end".to_owned()),
    })
}

/// The actions that the trail knows, for a form to choose from.
pub async fn actions(pool: &PgPool, limit: i64) -> Result<Vec<String>, sqlx::Error> {
    // From one action to the next by the index: a trail of millions has few of them.
    sqlx::query_scalar(
        "with recursive known (action) as ( \
             (select action from ops.audit order by action limit 1) \
             union all \
             select (select a.action from ops.audit a where a.action > known.action order by a.action limit 1) \
             from known where known.action is not null) \
         select action from known where action is not null limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Adds a note, and its row of the trail with it.
pub async fn add_note(pool: &PgPool, saga: Uuid, operator: &str, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with note as (insert into ops.notes (saga_id, operator, text) values ($1, $2, $3)) \
         insert into ops.audit (operator, action, saga_id, reason, outcome) values ($2, 'note', $1, $3, 'done')",
    )
    .bind(saga)
    .bind(operator)
    .bind(text)
    .execute(pool)
    .await?;
    Ok(())
}

/// A saga's notes, the newest first.
pub async fn notes(pool: &PgPool, saga: Uuid, limit: i64) -> Result<Vec<Note>, sqlx::Error> {
    let rows = sqlx::query("select at, operator, text from ops.notes where saga_id = $1 order by id desc limit $2")
        .bind(saga)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Note {
                at: instant(row.try_get("at")?),
                operator: row.try_get("operator")?,
                text: row.try_get("text")?,
            })
        })
        .collect()
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
