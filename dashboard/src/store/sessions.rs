//! Sessions and one-time links.

use std::time::Duration;

use sqlx::{PgExecutor, PgPool, Row};

use super::users::role;
use crate::access::Operator;
use crate::limits::{SESSION_IDLE, SESSION_MAX, SESSION_TOUCH};

/// Begins a session; those that are over, of anyone, are cleared away. False: the user is disabled, or has another password by now than
/// the one of this hash, which they have shown to know.
pub async fn insert(
    db: impl PgExecutor<'_>,
    user: i64,
    password_hash: Option<&str>,
    digest: &[u8],
) -> Result<bool, sqlx::Error> {
    // A change of the password ends all sessions: either it waits for this one, or this one sees it.
    let done = sqlx::query(
        "with over as (delete from ops.sessions where expires_at < now()) \
         insert into ops.sessions (token_hash, user_id, expires_at) \
         select $1, u.id, now() + $3 * interval '1 second' from ops.users u \
         where u.id = $2 and not u.disabled and ($4::text is null or u.password_hash = $4) for share of u",
    )
    .bind(digest)
    .bind(user)
    .bind(SESSION_MAX.as_secs_f64())
    .bind(password_hash)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whose session it is, if it goes on. `used`: somebody does something, so it goes on for longer.
pub async fn find(pool: &PgPool, digest: &[u8], used: bool) -> Result<Option<Operator>, sqlx::Error> {
    let row = sqlx::query(
        "select u.id, u.name, u.role, s.seen_at < now() - $3 * interval '1 second' as touch \
         from ops.sessions s join ops.users u on u.id = s.user_id \
         where s.token_hash = $1 and s.expires_at > now() and s.seen_at > now() - $2 * interval '1 second' and not u.disabled",
    )
    .bind(digest)
    .bind(SESSION_IDLE.as_secs_f64())
    .bind(SESSION_TOUCH.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if used && row.try_get("touch")? {
        sqlx::query("update ops.sessions set seen_at = now() where token_hash = $1")
            .bind(digest)
            .execute(pool)
            .await?;
    }
    Ok(Some(Operator {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: role(row.try_get("role")?)?,
    }))
}

/// Ends a session.
pub async fn delete(pool: &PgPool, digest: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from ops.sessions where token_hash = $1")
        .bind(digest)
        .execute(pool)
        .await?;
    Ok(())
}

/// Makes a one-time link; false: there is no such user, or the identity provider says when they may come.
pub async fn insert_link(
    db: impl PgExecutor<'_>,
    name: &str,
    digest: &[u8],
    life: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with over as (delete from ops.login_links where expires_at < now()) \
         insert into ops.login_links (token_hash, user_id, expires_at) \
         select $2, id, now() + $3 * interval '1 second' from ops.users \
         where name = $1 and not disabled and subject is null",
    )
    .bind(name)
    .bind(digest)
    .bind(life.as_secs_f64())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Uses up a link; gives the user's id and name.
pub async fn take_link(pool: &PgPool, digest: &[u8]) -> Result<Option<(i64, String)>, sqlx::Error> {
    sqlx::query_as(
        "with used as (delete from ops.login_links where token_hash = $1 and expires_at > now() returning user_id) \
         select u.id, u.name from used join ops.users u on u.id = used.user_id where not u.disabled",
    )
    .bind(digest)
    .fetch_optional(pool)
    .await
}
