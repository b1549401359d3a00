//! What waits for a second person.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

/// A request, and what became of it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Its number.
    pub id: i64,
    /// Since when it waits.
    pub requested_at: DateTime<Utc>,
    /// Whose wish it is.
    pub requested_by: String,
    /// Until when it can be approved.
    pub expires_at: DateTime<Utc>,
    /// It is too late.
    pub expired: bool,
    /// The saga.
    pub saga_id: Option<Uuid>,
    /// Or the campaign.
    pub campaign_id: Option<i64>,
    /// What is to be done.
    pub deed: Value,
    /// Why.
    pub reason: String,
    /// `approved`, `rejected` or `withdrawn`.
    pub decision: Option<String>,
    /// By whom.
    pub decided_by: Option<String>,
    /// What came of it.
    pub outcome: Option<String>,
}

/// Adds a request; None: the campaign has one already.
pub async fn insert(
    pool: &PgPool,
    by: &str,
    life: Duration,
    saga: Option<Uuid>,
    campaign: Option<i64>,
    deed: &Value,
    reason: &str,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "with late as (update ops.approvals set decision = 'withdrawn', decided_by = requested_by, decided_at = now(), \
                              outcome = 'nobody decided in time' \
                       where campaign_id = $4 and decision is null and expires_at <= now() returning id) \
         insert into ops.approvals (requested_by, expires_at, saga_id, campaign_id, deed, reason) \
         select $1, now() + $2 * interval '1 second', $3, $4, $5, $6 where (select count(*) from late) >= 0 \
         on conflict do nothing returning id",
    )
    .bind(by)
    .bind(life.as_secs_f64())
    .bind(saga)
    .bind(campaign)
    .bind(Json(deed))
    .bind(reason)
    .fetch_optional(pool)
    .await
}

/// Decides a request that still waits. Nobody approves their own, and nobody else withdraws it. None: it can't be decided so.
pub async fn decide(pool: &PgPool, id: i64, decision: &str, by: &str) -> Result<Option<Approval>, sqlx::Error> {
    sqlx::query_as(
        "update ops.approvals set decision = $2, decided_by = $3, decided_at = now() \
         where id = $1 and decision is null and expires_at > now() and (requested_by = $3) = ($2 = 'withdrawn') \
         returning *, false as expired",
    )
    .bind(id)
    .bind(decision)
    .bind(by)
    .fetch_optional(pool)
    .await
}

/// Writes down what came of an approved request.
pub async fn finish(pool: &PgPool, id: i64, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.approvals set outcome = $2 where id = $1")
        .bind(id)
        .bind(outcome)
        .execute(pool)
        .await?;
    Ok(())
}

/// One request.
pub async fn get(pool: &PgPool, id: i64) -> Result<Option<Approval>, sqlx::Error> {
    sqlx::query_as("select *, expires_at <= now() as expired from ops.approvals where id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await
}

/// Requests, the newest first, before `before`; only those that can still be decided, if `pending`.
pub async fn list(pool: &PgPool, pending: bool, before: i64, limit: i64) -> Result<Vec<Approval>, sqlx::Error> {
    sqlx::query_as(
        "select *, expires_at <= now() as expired from ops.approvals \
         where id < $1 and (not $2 or decision is null and expires_at > now()) order by id desc limit $3",
    )
    .bind(before)
    .bind(pending)
    .bind(limit)
    .fetch_all(pool)
    .await
}
