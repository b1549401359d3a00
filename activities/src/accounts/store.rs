//! The links, as they are made. Using them up is the gateway's (`gateway/src/users/`).

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use super::EMAIL_CHANGE;

/// Keeps a link's digest; false: there is no such account, or the address that the link shall be sent to is not its own. A link that gives
/// the account another address is sent to that, and keeps it.
pub(super) async fn insert_link(
    pool: &PgPool,
    digest: &[u8],
    account: Uuid,
    email: &str,
    purpose: &str,
    life: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into ticketing.account_links (token_hash, account_id, purpose, expires_at, email)
         select $1, id, $3, now() + make_interval(secs => $4), case when $6 then $5 end
         from ticketing.accounts where id = $2 and ($6 or email = $5)",
    )
    .bind(digest)
    .bind(account)
    .bind(purpose)
    .bind(life.as_secs_f64())
    .bind(email)
    .bind(purpose == EMAIL_CHANGE)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The language that a user has said they want; none: they have said nothing.
pub(super) async fn language(pool: &PgPool, account: Uuid) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select language from ticketing.notification_preferences where account_id = $1")
        .bind(account)
        .fetch_optional(pool)
        .await
}
