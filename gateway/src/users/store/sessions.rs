//! Sessions, each a family of refresh tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::events;
use crate::limits::{SESSION_IDLE, SESSION_MAX, SESSIONS_PER_ACCOUNT_MAX};
use crate::users::UserId;
use crate::users::random::{Refresh, digest};

/// Where a session was begun.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub user_agent: Option<String>,
    pub address: Option<String>,
}

/// A session as its owner sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Listed {
    pub id: Uuid,
    pub user_agent: Option<String>,
    pub address: Option<String>,
    pub created_at: DateTime<Utc>,
    pub refreshed_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A session that was begun or goes on.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Live {
    pub id: Uuid,
    pub account_id: Uuid,
    pub email: String,
    pub expires_at: DateTime<Utc>,
}

/// Begins a session of whoever has shown to know the password of this hash; none: it has just been changed.
pub async fn begin(
    pool: &PgPool,
    account: Uuid,
    password_hash: &str,
    refresh: &Refresh,
    device: &Device,
) -> Result<Option<Live>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // A change of the password ends all sessions: either it waits for this one, or this one sees it.
    let live: Option<Live> = sqlx::query_as(
        "with account as (
             select id, email from ticketing.accounts where id = $2 and password_hash = $3 for share
         ), made as (
             insert into ticketing.sessions (id, account_id, family_hash, token_hash, user_agent, address, expires_at)
             select $1, id, $4, $5, $6, $7, now() + make_interval(secs => $8) from account
             returning id, account_id, expires_at
         )
         select made.id, made.account_id, account.email, made.expires_at from made join account on account.id = made.account_id",
    )
    .bind(Uuid::now_v7())
    .bind(account)
    .bind(password_hash)
    .bind(digest(&refresh.family))
    .bind(digest(&refresh.current))
    .bind(&device.user_agent)
    .bind(&device.address)
    .bind(SESSION_IDLE.as_secs_f64())
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(live) = &live {
        // Those that were used least lately; what another login is just removing is skipped, so nobody waits.
        sqlx::query(
            "delete from ticketing.sessions where id in (
                 select id from ticketing.sessions where account_id = $1
                 order by refreshed_at desc, id desc offset $2 for update skip locked)",
        )
        .bind(account)
        .bind(SESSIONS_PER_ACCOUNT_MAX)
        .execute(&mut *transaction)
        .await?;
        let data = serde_json::json!({
            "sessionId": live.id, "userAgent": device.user_agent, "address": device.address,
        });
        events::insert(&mut *transaction, "login", account, &data).await?;
    }
    transaction.commit().await?;
    Ok(live)
}

/// Replaces a refresh token by the next one; none: it isn't the last one that was given, or the session is over.
pub async fn rotate(pool: &PgPool, used: &Refresh, next: &Refresh) -> Result<Option<Live>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.sessions s
         set token_hash = $3, refreshed_at = now(),
             expires_at = least(now() + make_interval(secs => $4), s.created_at + make_interval(secs => $5))
         from ticketing.accounts a
         where s.family_hash = $1 and s.token_hash = $2 and s.expires_at > now() and a.id = s.account_id
         returning s.id, s.account_id, a.email, s.expires_at",
    )
    .bind(digest(&used.family))
    .bind(digest(&used.current))
    .bind(digest(&next.current))
    .bind(SESSION_IDLE.as_secs_f64())
    .bind(SESSION_MAX.as_secs_f64())
    .fetch_optional(pool)
    .await
}

/// Ends the session of a token that had been replaced; gives the session, if there was one.
pub async fn end_reused(pool: &PgPool, used: &Refresh) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "with gone as (
             delete from ticketing.sessions where family_hash = $1 and token_hash <> $2 returning id, account_id
         )
         insert into ticketing.account_events (id, kind, account_id, data)
         select $3, 'logout', account_id, jsonb_build_object('sessionId', id, 'reason', 'reused_token') from gone
         returning (data ->> 'sessionId')::uuid",
    )
    .bind(digest(&used.family))
    .bind(digest(&used.current))
    .bind(Uuid::now_v7())
    .fetch_optional(pool)
    .await
}

/// Whether a session of this user goes on.
pub async fn is_live(pool: &PgPool, session: Uuid, user: UserId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select 1 from ticketing.sessions where id = $1 and account_id = $2 and expires_at > now())",
    )
    .bind(session)
    .bind(user.0)
    .fetch_one(pool)
    .await
}

/// A user's sessions, the ones used last first.
pub async fn list(pool: &PgPool, user: UserId) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as(
        "select id, user_agent, address, created_at, refreshed_at, expires_at from ticketing.sessions
         where account_id = $1 and expires_at > now()
         order by refreshed_at desc, id desc limit $2",
    )
    .bind(user.0)
    .bind(SESSIONS_PER_ACCOUNT_MAX)
    .fetch_all(pool)
    .await
}

/// Ends a session of this user; false: there is none.
pub async fn end(pool: &PgPool, session: Uuid, user: UserId, reason: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with gone as (
             delete from ticketing.sessions where id = $1 and account_id = $2 returning id, account_id
         )
         insert into ticketing.account_events (id, kind, account_id, data)
         select $3, 'logout', account_id, jsonb_build_object('sessionId', id, 'reason', $4::text) from gone",
    )
    .bind(session)
    .bind(user.0)
    .bind(Uuid::now_v7())
    .bind(reason)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends all sessions of an account, because its password was changed.
pub async fn end_all(db: impl PgExecutor<'_>, account: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (
             delete from ticketing.sessions where account_id = $1 returning id, account_id
         )
         insert into ticketing.account_events (id, kind, account_id, data)
         select gen_random_uuid(), 'logout', account_id, jsonb_build_object('sessionId', id, 'reason', 'password_reset') from gone",
    )
    .bind(account)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends all sessions of an account but one, because its password was changed there.
pub async fn end_others(db: impl PgExecutor<'_>, account: Uuid, session: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (
             delete from ticketing.sessions where account_id = $1 and id <> $2 returning id, account_id
         )
         insert into ticketing.account_events (id, kind, account_id, data)
         select gen_random_uuid(), 'logout', account_id, jsonb_build_object('sessionId', id, 'reason', 'password_changed') from gone",
    )
    .bind(account)
    .bind(session)
    .execute(db)
    .await?;
    Ok(())
}

/// Begins a session without a password, of so long a life, for the demo.
pub async fn begin_demo(pool: &PgPool, account: Uuid, refresh: &Refresh, life: Duration) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ticketing.sessions (id, account_id, family_hash, token_hash, user_agent, expires_at)
         values ($1, $2, $3, $4, 'sagaline dev', now() + make_interval(secs => $5))
         returning id",
    )
    .bind(Uuid::now_v7())
    .bind(account)
    .bind(digest(&refresh.family))
    .bind(digest(&refresh.current))
    .bind(life.as_secs_f64())
    .fetch_one(pool)
    .await
}

/// Forgets up to `limit` sessions that are over.
pub async fn purge(pool: &PgPool, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from ticketing.sessions where id in (
             select id from ticketing.sessions where expires_at < now() order by expires_at limit $1 for update skip locked)",
    )
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
