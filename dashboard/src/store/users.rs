//! Users.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};

use super::audit;
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
    /// How they come in.
    pub origin: Origin,
}

/// Where somebody is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From here: by a password, or a link.
    Here,
    /// From the identity provider, and by it alone.
    Provider,
}

/// What a login is checked against.
pub struct Candidate {
    /// The user.
    pub id: i64,
    /// The password's hash.
    pub hash: Option<String>,
}

/// Adds a user; false: the name is taken.
pub async fn insert(db: impl PgExecutor<'_>, name: &str, role: Role, hash: Option<&str>) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query("insert into ops.users (name, role, password_hash) values ($1, $2, $3) on conflict do nothing")
            .bind(name)
            .bind(role.as_str())
            .bind(hash)
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds a user of an identity provider; gives their id. None: they are there already, or the name is taken.
pub async fn insert_subject(
    db: impl PgExecutor<'_>,
    name: &str,
    role: Role,
    issuer: &str,
    subject: &str,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ops.users (name, role, issuer, subject) values ($1, $2, $3, $4) on conflict do nothing returning id",
    )
    .bind(name)
    .bind(role.as_str())
    .bind(issuer)
    .bind(subject)
    .fetch_optional(db)
    .await
}

/// An identity provider's user, locked.
pub async fn lock_subject(
    db: impl PgExecutor<'_>,
    issuer: &str,
    subject: &str,
) -> Result<Option<(i64, User)>, sqlx::Error> {
    let row = sqlx::query(
        "select id, name, role, disabled, created_at, subject from ops.users where subject = $1 and issuer = $2 for update",
    )
    .bind(subject)
    .bind(issuer)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(|row| Ok((row.try_get("id")?, user(row)?))).transpose()
}

/// Changes the role of an identity provider's user, as the provider says.
pub async fn set_role(db: impl PgExecutor<'_>, id: i64, role: Role) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.users set role = $2 where id = $1")
        .bind(id)
        .bind(role.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Sets a password and ends the user's sessions; false: there is no such user, or the identity provider knows their password.
pub async fn set_password(db: impl PgExecutor<'_>, name: &str, hash: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with changed as (update ops.users set password_hash = $2, failed_logins = 0, next_login_at = '-infinity' \
                          where name = $1 and subject is null returning id), \
              ended as (delete from ops.sessions where user_id in (select id from changed)) \
         select id from changed",
    )
    .bind(name)
    .bind(hash)
    .fetch_optional(db)
    .await?;
    Ok(done.is_some())
}

/// What becomes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They may do this from now on.
    Role(Role),
    /// They are let in no more, or again.
    Disabled(bool),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is so.
    Done,
    /// There is no such user.
    Unknown,
    /// Nobody would be left who can make users.
    LastAdmin,
}

/// Changes a user and writes it into the trail, in one transaction. Who is disabled is logged out at once, and their links are no good.
pub async fn change(pool: &PgPool, by: &str, name: &str, change: Change) -> Result<Changed, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // Whoever would remove an admin waits for whoever does, and then counts.
    let admins = lock_admins(&mut *transaction).await?;
    let Some(user) = lock(&mut *transaction, name).await? else {
        return Ok(Changed::Unknown);
    };
    let (role, disabled) = match change {
        Change::Role(role) => (role, user.disabled),
        Change::Disabled(disabled) => (user.role, disabled),
    };
    let stays = role == Role::Admin && !disabled;
    if !stays && admins.iter().all(|admin| admin == name) && !admins.is_empty() {
        return Ok(Changed::LastAdmin);
    }
    update(&mut *transaction, name, role, disabled).await?;
    if disabled {
        end_sessions(&mut *transaction, name).await?;
    }
    let standing = |role: Role, disabled: bool| json!({"role": role.as_str(), "disabled": disabled});
    let action = match change {
        Change::Role(_) => "change role",
        Change::Disabled(true) => "disable user",
        Change::Disabled(false) => "enable user",
    };
    let details =
        json!({"user": name, "before": standing(user.role, user.disabled), "after": standing(role, disabled)});
    audit::done(&mut *transaction, by, action, details).await?;
    transaction.commit().await?;
    Ok(Changed::Done)
}

/// The admins who are let in, locked.
async fn lock_admins(db: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select name from ops.users where role = 'admin' and not disabled order by id for update")
        .fetch_all(db)
        .await
}

/// A user, locked.
async fn lock(db: impl PgExecutor<'_>, name: &str) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query("select name, role, disabled, created_at, subject from ops.users where name = $1 for update")
        .bind(name)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(user).transpose()
}

async fn update(db: impl PgExecutor<'_>, name: &str, role: Role, disabled: bool) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.users set role = $2, disabled = $3 where name = $1")
        .bind(name)
        .bind(role.as_str())
        .bind(disabled)
        .execute(db)
        .await?;
    Ok(())
}

/// Ends what a user has open, and their links.
pub async fn end_sessions(db: impl PgExecutor<'_>, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (select id from ops.users where name = $1), \
              links as (delete from ops.login_links where user_id in (select id from gone)) \
         delete from ops.sessions where user_id in (select id from gone)",
    )
    .bind(name)
    .execute(db)
    .await?;
    Ok(())
}

/// Everyone, by name.
pub async fn all(pool: &PgPool) -> Result<Vec<User>, sqlx::Error> {
    let rows = sqlx::query("select name, role, disabled, created_at, subject from ops.users order by name limit 1000")
        .fetch_all(pool)
        .await?;
    rows.iter().map(user).collect()
}

/// One of them.
pub async fn one(pool: &PgPool, name: &str) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query("select name, role, disabled, created_at, subject from ops.users where name = $1")
        .bind(name)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(user).transpose()
}

fn user(row: &PgRow) -> Result<User, sqlx::Error> {
    Ok(User {
        name: row.try_get("name")?,
        role: role(row.try_get("role")?)?,
        disabled: row.try_get("disabled")?,
        created_at: row.try_get("created_at")?,
        origin: match row.try_get::<Option<&str>, _>("subject")? {
            Some(_) => Origin::Provider,
            None => Origin::Here,
        },
    })
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
