//! One message, from its wish to what its provider said of it.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A message that is ours to send, or what became of it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Row {
    pub id: Uuid,
    pub booking_id: Option<Uuid>,
    pub kind: String,
    pub language: String,
    pub recipient: String,
    pub data: Value,
    /// This attempt's number.
    pub attempts: i32,
}

/// Who sends.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// We do, while the lease lasts.
    Ours(Row),
    /// It went out before, under this name of the provider's.
    Sent(String),
    /// It was found out that it can't be delivered.
    Failed(String),
    /// Somebody else is at it.
    Theirs,
    /// There is no such message.
    Missing,
}

/// Claims a message, for as long as `lease`, unless it went out or somebody is about to send it.
pub async fn claim(pool: &PgPool, id: Uuid, channel: &str, lease: Duration) -> Result<Claimed, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(
        "update ticketing.notifications
         set attempts = attempts + 1, leased_until = now() + make_interval(secs => $3)
         where id = $1 and channel = $2 and status = 'queued' and (leased_until is null or leased_until <= now())
         returning id, booking_id, kind, language, recipient, data, attempts",
    )
    .bind(id)
    .bind(channel)
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    if let Some(row) = row {
        return Ok(Claimed::Ours(row));
    }
    let state: Option<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "select status, provider_id, problem from ticketing.notifications where id = $1 and channel = $2",
    )
    .bind(id)
    .bind(channel)
    .fetch_optional(pool)
    .await?;
    Ok(match state {
        None => Claimed::Missing,
        Some((status, _, _)) if status == "queued" => Claimed::Theirs,
        Some((status, _, problem)) if status == "failed" => Claimed::Failed(problem.unwrap_or_default()),
        Some((_, provider_id, _)) => Claimed::Sent(provider_id.unwrap_or_default()),
    })
}

/// Writes down that the provider has it. Its receipt may have been faster: that says more.
pub async fn mark_sent(pool: &PgPool, id: Uuid, provider_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticketing.notifications
         set status = case when status = 'queued' then 'sent' else status end, provider_id = $2,
             sent_at = coalesce(sent_at, now()), leased_until = null,
             problem = case when status = 'failed' then problem end
         where id = $1",
    )
    .bind(id)
    .bind(provider_id)
    .execute(pool)
    .await
    .map(drop)
}

/// An attempt at a message. What one says once another has begun counts no more.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The message.
    pub id: Uuid,
    /// Counted from one.
    pub number: i32,
}

/// Writes down that it can't be sent at all.
pub async fn mark_failed(pool: &PgPool, attempt: Attempt, problem: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticketing.notifications set status = 'failed', failed_at = now(), leased_until = null, problem = $2
         where id = $1 and status = 'queued' and attempts = $3",
    )
    .bind(attempt.id)
    .bind(problem)
    .bind(attempt.number)
    .execute(pool)
    .await
    .map(drop)
}

/// Leaves it to the next attempt, and notes what was wrong with this one.
pub async fn give_up_lease(pool: &PgPool, attempt: Attempt, problem: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticketing.notifications set leased_until = null, problem = $2
         where id = $1 and status = 'queued' and attempts = $3",
    )
    .bind(attempt.id)
    .bind(problem)
    .bind(attempt.number)
    .execute(pool)
    .await
    .map(drop)
}

/// Forgets a device that takes no messages any more.
pub async fn remove_device(pool: &PgPool, token: &str) -> Result<(), sqlx::Error> {
    sqlx::query("delete from ticketing.notification_devices where token = $1")
        .bind(token)
        .execute(pool)
        .await
        .map(drop)
}
