//! Organisations and their members.

use sqlx::PgPool;
use uuid::Uuid;

/// A member.
#[derive(sqlx::FromRow)]
pub struct Member {
    pub account_id: Uuid,
    pub organisation_id: Uuid,
    pub organisation: String,
}

/// The organisation that a user belongs to.
pub async fn organisation_of(pool: &PgPool, account: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select organisation_id from ticketing.organisers where account_id = $1")
        .bind(account)
        .fetch_optional(pool)
        .await
}

/// Whether a user belongs to the organisation whose event this is.
pub async fn organises(pool: &PgPool, account: Uuid, event_id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (
             select from ticketing.events e
             join ticketing.organisers m on m.organisation_id = e.organisation_id
             where e.id = $2 and m.account_id = $1
         )",
    )
    .bind(account)
    .bind(event_id)
    .fetch_one(pool)
    .await
}

/// Makes a user a member of the organisation of this name, which gets the id `new` unless it is there; gives its id.
pub async fn add(pool: &PgPool, account: Uuid, organisation: &str, new: Uuid) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar(
        "with organisation as (
             insert into ticketing.organisations as o (id, name) values ($3, $2)
             on conflict (name) do update set name = excluded.name
             returning o.id
         )
         insert into ticketing.organisers (account_id, organisation_id)
         select $1, id from organisation
         on conflict (account_id) do update set organisation_id = excluded.organisation_id
         returning organisation_id",
    )
    .bind(account)
    .bind(organisation)
    .bind(new)
    .fetch_one(pool)
    .await
}

/// Ends a user's membership; false: there was none.
pub async fn remove(pool: &PgPool, account: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("delete from ticketing.organisers where account_id = $1")
        .bind(account)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Every member, by organisation.
pub async fn list(pool: &PgPool) -> Result<Vec<Member>, sqlx::Error> {
    sqlx::query_as(
        "select m.account_id, m.organisation_id, o.name as organisation
         from ticketing.organisers m
         join ticketing.organisations o on o.id = m.organisation_id
         order by o.name, m.account_id",
    )
    .fetch_all(pool)
    .await
}
