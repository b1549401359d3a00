//! Tokens of the operators' API.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool, Row};

use super::users::role;
use crate::access::{Operator, Role};
use crate::limits::{TOKEN_TOUCH, TOKENS_PER_USER_MAX};

/// A token, without its secret.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct TokenRow {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub user_name: String,
    /// What it is for.
    pub name: String,
    /// What it may do, if its user may.
    pub role: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Since when it is no good any more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to a minute.
    pub used_at: Option<DateTime<Utc>>,
}

/// Adds a token; None: there is no such user, a token of theirs has this name, or they have too many.
pub async fn insert(
    db: impl PgExecutor<'_>,
    user: &str,
    name: &str,
    role: Role,
    digest: &[u8],
    life: Duration,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ops.api_tokens (user_id, name, role, token_hash, expires_at) \
         select u.id, $2, $3, $4, now() + $5 * interval '1 second' from ops.users u \
         where u.name = $1 and not u.disabled \
           and (select count(*) from ops.api_tokens t where t.user_id = u.id and t.revoked_at is null and t.expires_at > now()) < $6 \
         on conflict do nothing returning id",
    )
    .bind(user)
    .bind(name)
    .bind(role.as_str())
    .bind(digest)
    .bind(life.as_secs_f64())
    .bind(TOKENS_PER_USER_MAX)
    .fetch_optional(db)
    .await
}

/// Revokes all tokens of a user.
pub async fn revoke_all(db: impl PgExecutor<'_>, user: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.api_tokens set revoked_at = now() where user_id = $1 and revoked_at is null")
        .bind(user)
        .execute(db)
        .await?;
    Ok(())
}

/// Whose token it is, if it is good; they may do what both they and the token may.
pub async fn find(pool: &PgPool, digest: &[u8]) -> Result<Option<Operator>, sqlx::Error> {
    let row = sqlx::query(
        "select t.id as token, t.role as token_role, u.id, u.name, u.role, \
                coalesce(t.used_at < now() - $2 * interval '1 second', true) as touch \
         from ops.api_tokens t join ops.users u on u.id = t.user_id \
         where t.token_hash = $1 and t.revoked_at is null and t.expires_at > now() and not u.disabled",
    )
    .bind(digest)
    .bind(TOKEN_TOUCH.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get("touch")? {
        sqlx::query("update ops.api_tokens set used_at = now() where id = $1")
            .bind(row.try_get::<i64, _>("token")?)
            .execute(pool)
            .await?;
    }
    Ok(Some(Operator {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: role(row.try_get("role")?)?.min(role(row.try_get("token_role")?)?),
    }))
}

/// Tokens, the newest first: of one user, or of all.
pub async fn list(pool: &PgPool, user: Option<&str>, limit: i64) -> Result<Vec<TokenRow>, sqlx::Error> {
    sqlx::query_as(
        "select t.id, u.name as user_name, t.name, t.role, t.created_at, t.expires_at, t.revoked_at, t.used_at \
         from ops.api_tokens t join ops.users u on u.id = t.user_id where $1::text is null or u.name = $1 \
         order by t.id desc limit $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Ends a token, of this user if one is given; gives its user and name.
pub async fn revoke(
    db: impl PgExecutor<'_>,
    id: i64,
    user: Option<&str>,
) -> Result<Option<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "update ops.api_tokens t set revoked_at = now() from ops.users u \
         where t.id = $1 and t.revoked_at is null and u.id = t.user_id and ($2::text is null or u.name = $2) \
         returning u.name, t.name",
    )
    .bind(id)
    .bind(user)
    .fetch_optional(db)
    .await
}
