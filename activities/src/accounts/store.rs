//! The links, as they are made. Using them up is the gateway's (`gateway/src/users/`).

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// Keeps a link's digest; false: there is no such account, or the address that the link shall be sent to is not its own.
pub(super) async fn insert_link(
    pool: &PgPool,
    digest: &[u8],
    account: Uuid,
    email: &str,
    purpose: &str,
    life: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into ticketing.account_links (token_hash, account_id, purpose, expires_at)
         select $1, id, $3, now() + make_interval(secs => $4) from ticketing.accounts where id = $2 and email = $5",
    )
    .bind(digest)
    .bind(account)
    .bind(purpose)
    .bind(life.as_secs_f64())
    .bind(email)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
