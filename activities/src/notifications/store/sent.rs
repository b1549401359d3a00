//! Which mails about accounts went out: the SQL of `ticketing.notifications_sent`.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// A message about to be sent.
pub struct Sending<'a> {
    pub key: &'a str,
    pub account: Uuid,
    pub recipient: &'a str,
    pub template: &'a str,
    pub message_id: &'a str,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// We do, while the lease lasts.
    Ours,
    /// It went out before.
    Sent,
    /// Somebody else is at it.
    Theirs,
}

/// Claims the key, for as long as `lease`, unless its message went out or somebody is about to send it.
pub async fn claim(pool: &PgPool, sending: &Sending<'_>, lease: Duration) -> Result<Claimed, sqlx::Error> {
    let claim = sqlx::query_scalar(
        "insert into ticketing.notifications_sent as n
             (key, account_id, channel, recipient, template, message_id, status, leased_until)
         values ($1, $2, 'email', $3, $4, $5, 'sending', now() + make_interval(secs => $6))
         on conflict (key) do update
         set attempts = n.attempts + 1, leased_until = excluded.leased_until
         where n.status = 'sending' and n.leased_until <= now()
         returning 1",
    );
    let claim = claim.bind(sending.key).bind(sending.account).bind(sending.recipient);
    let claim = claim
        .bind(sending.template)
        .bind(sending.message_id)
        .bind(lease.as_secs_f64());
    let claimed: Option<i32> = claim.fetch_optional(pool).await?;
    if claimed.is_some() {
        return Ok(Claimed::Ours);
    }
    let status = sqlx::query_scalar("select status from ticketing.notifications_sent where key = $1");
    let status: Option<String> = status.bind(sending.key).fetch_optional(pool).await?;
    Ok(if status.as_deref() == Some("sent") {
        Claimed::Sent
    } else {
        Claimed::Theirs
    })
}

/// Writes down that the message went out.
pub async fn mark_sent(pool: &PgPool, key: &str) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "update ticketing.notifications_sent set status = 'sent', sent_at = now() where key = $1 and status = 'sending'",
    );
    query.bind(key).execute(pool).await?;
    Ok(())
}

/// Ends the lease, so that the next attempt need not wait for its end.
pub async fn give_up_lease(pool: &PgPool, key: &str) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "update ticketing.notifications_sent set leased_until = now() where key = $1 and status = 'sending'",
    );
    query.bind(key).execute(pool).await?;
    Ok(())
}
