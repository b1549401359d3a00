//! What users want to be reached by.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// What somebody said.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Row {
    pub language: String,
    pub channels: Vec<String>,
    pub phone: Option<String>,
}

/// A device, without its token.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DeviceRow {
    pub id: Uuid,
    pub name: String,
    pub registered_at: DateTime<Utc>,
}

/// What a user said; none: nothing.
pub async fn read(pool: &PgPool, account: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as("select language, channels, phone from ticketing.notification_preferences where account_id = $1")
        .bind(account)
        .fetch_optional(pool)
        .await
}

/// Writes down what a user says now.
pub async fn write(pool: &PgPool, account: Uuid, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ticketing.notification_preferences (account_id, language, channels, phone) values ($1, $2, $3, $4)
         on conflict (account_id) do update
         set language = excluded.language, channels = excluded.channels, phone = excluded.phone, updated_at = now()",
    )
    .bind(account)
    .bind(&row.language)
    .bind(&row.channels)
    .bind(row.phone.as_deref())
    .execute(pool)
    .await
    .map(drop)
}

/// A user's devices, the oldest first.
pub async fn devices(pool: &PgPool, account: Uuid) -> Result<Vec<DeviceRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, name, registered_at from ticketing.notification_devices where account_id = $1
         order by registered_at, id",
    )
    .bind(account)
    .fetch_all(pool)
    .await
}

/// Registers a device under this id, or takes it over from whoever had it: a token is one device, and who holds it now is its user. None: its
/// new user has as many as they may have.
pub async fn register_device(
    pool: &PgPool,
    account: Uuid,
    id: Uuid,
    token: &str,
    name: &str,
    devices_max: i64,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ticketing.notification_devices as d (token, id, account_id, name)
         select $1, $2, $3, $4
         where (select count(*) from ticketing.notification_devices where account_id = $3 and token <> $1) < $5
         on conflict (token) do update
         set account_id = excluded.account_id, name = excluded.name,
             id = case when d.account_id = excluded.account_id then d.id else excluded.id end
         returning id",
    )
    .bind(token)
    .bind(id)
    .bind(account)
    .bind(name)
    .bind(devices_max)
    .fetch_optional(pool)
    .await
}

/// Forgets a user's device; false: they have none of that id.
pub async fn remove_device(pool: &PgPool, account: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("delete from ticketing.notification_devices where id = $1 and account_id = $2")
        .bind(id)
        .bind(account)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}
