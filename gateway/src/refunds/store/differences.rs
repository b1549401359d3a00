//! Differences between the payment provider's lists and our ledger.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// A difference that nobody has been told of.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Due {
    /// The provider's id.
    pub reference: String,
    /// `payment` or `refund`.
    pub kind: String,
    /// Whose.
    pub booking_id: Option<Uuid>,
    /// What our ledger says.
    pub ours_cents: Option<i64>,
    /// What the provider says.
    pub theirs_cents: Option<i64>,
    /// The comparison that found it.
    pub found_by: Uuid,
}

/// Takes up to `limit` of them, for the length of a lease.
pub async fn claim(pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.payment_differences d set next_attempt_at = now() + make_interval(secs => $2)
         from (select reference from ticketing.payment_differences
               where status = 'new' and next_attempt_at <= now()
               order by next_attempt_at limit $1 for update skip locked) n
         where d.reference = n.reference
         returning d.reference, d.kind, d.booking_id, d.ours_cents, d.theirs_cents, d.found_by",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// Operators have them.
pub async fn open(pool: &PgPool, references: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query("update ticketing.payment_differences set status = 'open' where reference = any($1) and status = 'new'")
        .bind(references)
        .execute(pool)
        .await
        .map(drop)
}
