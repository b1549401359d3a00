//! Accounts.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::users::UserId;

/// A new account.
pub struct NewAccount<'a> {
    pub user: UserId,
    pub email: &'a str,
    pub email_key: &'a str,
    pub password_hash: &'a str,
    pub name: &'a str,
    pub phone: Option<&'a str>,
    /// What goes with the event that it was made: see [`super::super::outbox::asked_in`].
    pub data: Value,
}

/// An account as its owner sees it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Profile {
    pub email: String,
    pub name: String,
    pub phone: Option<String>,
    pub email_confirmed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// What a login is measured against.
#[derive(sqlx::FromRow)]
pub struct Known {
    pub id: Uuid,
    pub email: String,
    pub password_hash: String,
}

/// Makes an account and writes down that it was made; false: somebody has the address.
pub async fn insert(pool: &PgPool, account: &NewAccount<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with made as (
             insert into ticketing.accounts (id, email, email_key, password_hash, name, phone)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (email_key) do nothing
             returning id
         )
         insert into ticketing.account_events (id, kind, account_id, data)
         select $7, 'registered', id, $8 from made",
    )
    .bind(account.user.0)
    .bind(account.email)
    .bind(account.email_key)
    .bind(account.password_hash)
    .bind(account.name)
    .bind(account.phone)
    .bind(Uuid::now_v7())
    .bind(&account.data)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes an account that nobody need be told of; nothing if it is there.
pub async fn insert_silently(pool: &PgPool, account: &NewAccount<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ticketing.accounts (id, email, email_key, password_hash, name, phone, email_confirmed_at)
         values ($1, $2, $3, $4, $5, $6, now())
         on conflict (email_key) do nothing",
    )
    .bind(account.user.0)
    .bind(account.email)
    .bind(account.email_key)
    .bind(account.password_hash)
    .bind(account.name)
    .bind(account.phone)
    .execute(pool)
    .await?;
    Ok(())
}

/// The account of an address, if there is one.
pub async fn known(pool: &PgPool, email_key: &str) -> Result<Option<Known>, sqlx::Error> {
    sqlx::query_as("select id, email, password_hash from ticketing.accounts where email_key = $1")
        .bind(email_key)
        .fetch_optional(pool)
        .await
}

/// An account, by its id.
pub async fn known_by_id(pool: &PgPool, user: UserId) -> Result<Option<Known>, sqlx::Error> {
    sqlx::query_as("select id, email, password_hash from ticketing.accounts where id = $1")
        .bind(user.0)
        .fetch_optional(pool)
        .await
}

/// An account.
pub async fn profile(pool: &PgPool, user: UserId) -> Result<Option<Profile>, sqlx::Error> {
    sqlx::query_as("select email, name, phone, email_confirmed_at, created_at from ticketing.accounts where id = $1")
        .bind(user.0)
        .fetch_optional(pool)
        .await
}

/// Changes what is given of an account.
pub async fn change(
    pool: &PgPool,
    user: UserId,
    name: Option<&str>,
    phone: Option<Option<&str>>,
) -> Result<Option<Profile>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.accounts
         set name = coalesce($2, name), phone = case when $3 then $4 else phone end, updated_at = now()
         where id = $1
         returning email, name, phone, email_confirmed_at, created_at",
    )
    .bind(user.0)
    .bind(name)
    .bind(phone.is_some())
    .bind(phone.flatten())
    .fetch_optional(pool)
    .await
}

/// Gives an account a new password. Its owner has shown to read the address's mail.
pub async fn set_password(db: impl PgExecutor<'_>, account: Uuid, hash: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticketing.accounts
         set password_hash = $2, email_confirmed_at = coalesce(email_confirmed_at, now()), updated_at = now()
         where id = $1",
    )
    .bind(account)
    .bind(hash)
    .execute(db)
    .await?;
    Ok(())
}
