//! The audit trail.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// Writes down what is no saga's.
pub async fn done(pool: &PgPool, operator: &str, action: &str, details: Value) -> Result<(), sqlx::Error> {
    sqlx::query("insert into ops.audit (operator, action, details, outcome) values ($1, $2, $3, 'done')")
        .bind(operator)
        .bind(action)
        .bind(Json(details))
        .execute(pool)
        .await?;
    Ok(())
}

/// Writes down what is about to be done to something that is no saga.
pub async fn begin_other(
    pool: &PgPool,
    operator: &str,
    action: &str,
    reason: &str,
    details: Value,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("insert into ops.audit (operator, action, reason, details) values ($1, $2, $3, $4) returning id")
        .bind(operator)
        .bind(action)
        .bind(reason)
        .bind(Json(details))
        .fetch_one(pool)
        .await
}

/// Writes down what is no single saga's, with its reason and what came of it.
pub async fn record(
    pool: &PgPool,
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
        .execute(pool)
        .await?;
    Ok(())
}

/// A row of the trail.
#[derive(serde::Serialize, schemars::JsonSchema)]
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

/// Writes down what is about to be done to a saga.
pub async fn begin(
    pool: &PgPool,
    operator: &str,
    action: &str,
    saga: Uuid,
    reason: &str,
    details: Value,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ops.audit (operator, action, saga_id, reason, details) values ($1, $2, $3, $4, $5) returning id",
    )
    .bind(operator)
    .bind(action)
    .bind(saga)
    .bind(reason)
    .bind(Json(details))
    .fetch_one(pool)
    .await
}

/// Writes down what came of it.
pub async fn finish(pool: &PgPool, id: i64, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.audit set outcome = $2 where id = $1")
        .bind(id)
        .bind(outcome)
        .execute(pool)
        .await?;
    Ok(())
}

/// A page of the trail, the newest first, before entry `before`.
pub async fn page(pool: &PgPool, before: i64, limit: i64) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query(
        "select id, at, operator, action, saga_id, reason, details, outcome from ops.audit where id < $1 \
         order by id desc limit $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let saga: Option<Uuid> = row.try_get("saga_id")?;
            Ok(Entry {
                id: row.try_get("id")?,
                at: instant(row.try_get("at")?),
                operator: row.try_get("operator")?,
                action: row.try_get("action")?,
                saga: saga.map(|saga| saga.to_string()).unwrap_or_default(),
                reason: row.try_get("reason")?,
                details: row.try_get::<Json<Value>, _>("details")?.0,
                outcome: row
                    .try_get::<Option<String>, _>("outcome")?
                    .unwrap_or_else(|| "begun: the saga's journal says whether it was done".to_owned()),
            })
        })
        .collect()
}

/// Adds a note.
pub async fn add_note(pool: &PgPool, saga: Uuid, operator: &str, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("insert into ops.notes (saga_id, operator, text) values ($1, $2, $3)")
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
