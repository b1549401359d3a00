//! What happened to sagas in each minute.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Counts, by column; each minute, workflow and kind once.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Counted {
    pub minute: Vec<DateTime<Utc>>,
    pub workflow: Vec<String>,
    pub kind: Vec<&'static str>,
    pub sagas: Vec<i64>,
    pub money_cents: Vec<i64>,
    pub items: Vec<i64>,
}

/// Adds them to what the other replicas have counted. Rows are taken in one order, so that no two replicas wait for one another.
pub async fn add(pool: &PgPool, counted: &Counted) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.counts as c (minute, workflow, kind, sagas, money_cents, items)
         select n.minute, n.workflow, n.kind, n.sagas, n.money_cents, n.items
         from unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
           as n(minute, workflow, kind, sagas, money_cents, items)
         order by n.minute, n.workflow, n.kind
         on conflict (minute, workflow, kind) do update set sagas = c.sagas + excluded.sagas,
             money_cents = c.money_cents + excluded.money_cents, items = c.items + excluded.items",
    )
    .bind(&counted.minute)
    .bind(&counted.workflow)
    .bind(&counted.kind)
    .bind(&counted.sagas)
    .bind(&counted.money_cents)
    .bind(&counted.items)
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets counts older than the retention time.
pub async fn forget(pool: &PgPool, keep_s: f64) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.counts where minute < now() - make_interval(secs => $1)")
        .bind(keep_s)
        .execute(pool)
        .await?;
    Ok(())
}
