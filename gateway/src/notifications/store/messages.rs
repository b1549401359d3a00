//! Messages that the engine is to be told of, and their receipts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// A message whose saga, or whose receipt's saga, is to be started.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Due {
    pub id: Uuid,
    pub booking_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    pub channel: String,
    pub kind: String,
    pub recipient: String,
    pub status: String,
    pub problem: Option<String>,
    /// It is the provider's word that is to be told.
    pub is_receipt: bool,
    /// By which the row is known not to have changed.
    pub tell_at: DateTime<Utc>,
}

/// Takes up to `limit` messages that are due, for the length of a lease.
pub async fn claim(pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.notifications n set tell_at = now() + make_interval(secs => $2)
         from (select id from ticketing.notifications where tell_at <= now()
               order by tell_at limit $1 for update skip locked) d
         where n.id = d.id
         returning n.id, n.booking_id, n.account_id, n.channel, n.kind, n.recipient, n.status, n.problem,
                   n.receipt_at is not null as is_receipt, n.tell_at",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// The engine knows of these, unless there is news of them since.
pub async fn told(pool: &PgPool, messages: &[(Uuid, DateTime<Utc>)]) -> Result<(), sqlx::Error> {
    let (ids, leases): (Vec<Uuid>, Vec<DateTime<Utc>>) = messages.iter().copied().unzip();
    sqlx::query(
        "update ticketing.notifications n set tell_at = null
         from unnest($1::uuid[], $2::timestamptz[]) as d (id, tell_at)
         where n.id = d.id and n.tell_at = d.tell_at",
    )
    .bind(ids)
    .bind(leases)
    .execute(pool)
    .await
    .map(drop)
}

/// The provider has it, though it may not have been heard that it said so.
pub async fn taken(pool: &PgPool, id: Uuid, channel: &str, provider_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticketing.notifications set status = 'sent', sent_at = now(), provider_id = $3, leased_until = null
         where id = $1 and channel = $2 and status = 'queued' and coalesce(provider_id, $3) = $3",
    )
    .bind(id)
    .bind(channel)
    .bind(provider_id)
    .execute(pool)
    .await
    .map(drop)
}

/// It arrived; says whether that is news.
pub async fn delivered(pool: &PgPool, id: Uuid, channel: &str, provider_id: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update ticketing.notifications
         set status = 'delivered', delivered_at = now(), sent_at = coalesce(sent_at, now()), provider_id = $3,
             leased_until = null, problem = null, receipt_at = now(), tell_at = now()
         where id = $1 and channel = $2 and status in ('queued', 'sent') and coalesce(provider_id, $3) = $3",
    )
    .bind(id)
    .bind(channel)
    .bind(provider_id)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// It came back, even if it had seemed to arrive; says whether that is news.
pub async fn failed(
    pool: &PgPool,
    id: Uuid,
    channel: &str,
    provider_id: &str,
    problem: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update ticketing.notifications
         set status = 'failed', failed_at = now(), sent_at = coalesce(sent_at, now()), provider_id = $3,
             leased_until = null, problem = $4, receipt_at = now(), tell_at = now()
         where id = $1 and channel = $2 and status <> 'failed' and coalesce(provider_id, $3) = $3",
    )
    .bind(id)
    .bind(channel)
    .bind(provider_id)
    .bind(problem)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets up to `limit` messages older than `age` with which nothing more is to be done, and as many mails about accounts; says how many of
/// each.
pub async fn purge(pool: &PgPool, age: Duration, limit: i64) -> Result<(u64, u64), sqlx::Error> {
    let messages = sqlx::query(
        "delete from ticketing.notifications where id in (
             select id from ticketing.notifications
             where created_at < now() - make_interval(secs => $1) and status <> 'queued' and tell_at is null
             limit $2 for update skip locked)",
    );
    let mails = sqlx::query(
        "delete from ticketing.notifications_sent where key in (
             select key from ticketing.notifications_sent
             where created_at < now() - make_interval(secs => $1)
             limit $2 for update skip locked)",
    );
    let messages = messages.bind(age.as_secs_f64()).bind(limit).execute(pool).await?;
    let mails = mails.bind(age.as_secs_f64()).bind(limit).execute(pool).await?;
    Ok((messages.rows_affected(), mails.rows_affected()))
}
