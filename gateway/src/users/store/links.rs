//! The links in mails. They are made by the activity that sends them, so that no saga ever knows one.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::{accounts, sessions};
use crate::users::random::digest;

/// Confirms the address of a link and uses it up; false: it isn't good.
pub async fn confirm(pool: &PgPool, token: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with used as (
             delete from ticketing.account_links
             where token_hash = $1 and purpose = 'confirmation' and expires_at > now()
             returning account_id
         )
         update ticketing.accounts a
         set email_confirmed_at = coalesce(a.email_confirmed_at, now()), updated_at = now()
         from used where a.id = used.account_id",
    )
    .bind(digest(token))
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a link to a new password is good.
pub async fn is_reset(db: impl PgExecutor<'_>, token: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select 1 from ticketing.account_links
                        where token_hash = $1 and purpose = 'password_reset' and expires_at > now())",
    )
    .bind(digest(token))
    .fetch_one(db)
    .await
}

/// Uses up a link to a new password: sets it, ends all of the account's sessions and links. False: the link isn't good.
pub async fn reset(pool: &PgPool, token: &str, hash: &str) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // The account's row first, so that two links of it are used one after the other.
    let account: Option<Uuid> = sqlx::query_scalar(
        "select a.id from ticketing.account_links l join ticketing.accounts a on a.id = l.account_id
         where l.token_hash = $1 for no key update of a",
    )
    .bind(digest(token))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(account) = account else { return Ok(false) };
    if !is_reset(&mut *transaction, token).await? {
        return Ok(false);
    }
    accounts::set_password(&mut *transaction, account, hash).await?;
    sessions::end_all(&mut *transaction, account).await?;
    sqlx::query("delete from ticketing.account_links where account_id = $1 and purpose = 'password_reset'")
        .bind(account)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Forgets up to `limit` links that are too old.
pub async fn purge(pool: &PgPool, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from ticketing.account_links where token_hash in (
             select token_hash from ticketing.account_links where expires_at < now()
             order by expires_at limit $1 for update skip locked)",
    )
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
