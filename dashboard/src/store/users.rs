//! Users.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};

use crate::access::Role;
use crate::limits::{FREE_FAILURES, LOGIN_DELAY_MAX};

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// They are let in no more.
    pub disabled: bool,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// What a login is checked against.
pub struct Candidate {
    /// The user.
    pub id: i64,
    /// The password's hash.
    pub hash: Option<String>,
}

/// Adds a user; false: the name is taken.
pub async fn insert(pool: &PgPool, name: &str, role: Role, hash: Option<&str>) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query("insert into ops.users (name, role, password_hash) values ($1, $2, $3) on conflict do nothing")
            .bind(name)
            .bind(role.as_str())
            .bind(hash)
            .execute(pool)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets a password and ends the user's sessions.
pub async fn set_password(pool: &PgPool, name: &str, hash: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with changed as (update ops.users set password_hash = $2, failed_logins = 0, next_login_at = '-infinity' \
                          where name = $1 returning id), \
              ended as (delete from ops.sessions where user_id in (select id from changed)) \
         select id from changed",
    )
    .bind(name)
    .bind(hash)
    .fetch_optional(pool)
    .await?;
    Ok(done.is_some())
}

/// Disables a user and ends their sessions.
pub async fn disable(pool: &PgPool, name: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with changed as (update ops.users set disabled = true where name = $1 returning id), \
              ended as (delete from ops.sessions where user_id in (select id from changed)) \
         select id from changed",
    )
    .bind(name)
    .fetch_optional(pool)
    .await?;
    Ok(done.is_some())
}

/// Everyone, by name.
pub async fn all(pool: &PgPool) -> Result<Vec<User>, sqlx::Error> {
    let rows = sqlx::query("select name, role, disabled, created_at from ops.users order by name limit 1000")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(User {
                name: row.try_get("name")?,
                role: role(row.try_get("role")?)?,
                disabled: row.try_get("disabled")?,
                created_at: row.try_get("created_at")?,
            })
        })
        .collect()
}

/// Counts an attempt to log in *before* the password is looked at, so that attempts at once don't each have a free try.
/// None: no such user, or not yet again.
pub async fn begin_login(pool: &PgPool, name: &str) -> Result<Option<Candidate>, sqlx::Error> {
    let row = sqlx::query(
        "update ops.users set failed_logins = failed_logins + 1, \
             next_login_at = now() + least($3::float8, case when failed_logins < $2 then 0 \
                 else 2.0 ^ least(failed_logins - $2, 20) end) * interval '1 second' \
         where name = $1 and not disabled and next_login_at <= now() returning id, password_hash",
    )
    .bind(name)
    .bind(FREE_FAILURES)
    .bind(LOGIN_DELAY_MAX.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Candidate {
            id: row.try_get("id")?,
            hash: row.try_get("password_hash")?,
        })
    })
    .transpose()
}

/// Forgets failed attempts.
pub async fn login_succeeded(pool: &PgPool, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.users set failed_logins = 0, next_login_at = '-infinity' where id = $1")
        .bind(id)
        .execute(pool)
        .await?;
    Ok(())
}

/// A role from its column.
pub fn role(text: &str) -> Result<Role, sqlx::Error> {
    Role::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}
