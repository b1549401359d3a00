//! Messages that are wished for: what their recipients want, and their rows.

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// What a registered user wants to be reached by.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Reach {
    pub account_id: Uuid,
    /// None: they have said nothing.
    pub language: Option<String>,
    pub channels: Option<Vec<String>>,
    pub phone: Option<String>,
    /// The devices' tokens.
    pub devices: Vec<String>,
}

/// A message to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    pub id: Uuid,
    pub booking_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    pub channel: &'static str,
    pub kind: &'static str,
    pub language: &'static str,
    pub recipient: String,
    pub data: Value,
}

/// What these users want; nobody is left out.
pub async fn reaches(pool: &PgPool, accounts: &[Uuid]) -> Result<Vec<Reach>, sqlx::Error> {
    sqlx::query_as(
        "select a.account_id, p.language, p.channels, p.phone, d.devices
         from unnest($1::uuid[]) as a (account_id)
         left join ticketing.notification_preferences p on p.account_id = a.account_id
         cross join lateral (
             select coalesce(array_agg(n.token order by n.registered_at, n.token), '{}') as devices
             from ticketing.notification_devices n where n.account_id = a.account_id) d",
    )
    .bind(accounts)
    .fetch_all(pool)
    .await
}

/// Writes messages down, unless they were before; says how many are new.
pub async fn insert(pool: &PgPool, messages: &[NewMessage]) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = messages.iter().map(|it| it.id).collect();
    let bookings: Vec<Option<Uuid>> = messages.iter().map(|it| it.booking_id).collect();
    let accounts: Vec<Option<Uuid>> = messages.iter().map(|it| it.account_id).collect();
    let channels: Vec<&str> = messages.iter().map(|it| it.channel).collect();
    let kinds: Vec<&str> = messages.iter().map(|it| it.kind).collect();
    let languages: Vec<&str> = messages.iter().map(|it| it.language).collect();
    let recipients: Vec<&str> = messages.iter().map(|it| it.recipient.as_str()).collect();
    let data: Vec<&Value> = messages.iter().map(|it| &it.data).collect();
    let done = sqlx::query(
        "insert into ticketing.notifications (id, booking_id, account_id, channel, kind, language, recipient, data)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[])
              as m (id, booking_id, account_id, channel, kind, language, recipient, data)
         order by id
         on conflict (id) do nothing",
    )
    .bind(ids)
    .bind(bookings)
    .bind(accounts)
    .bind(channels)
    .bind(kinds)
    .bind(languages)
    .bind(recipients)
    .bind(data)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
