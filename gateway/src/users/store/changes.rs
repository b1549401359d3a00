//! What is changed of an account by whoever knows its password.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::accounts::Known;
use super::{events, sessions};
use crate::users::outbox::EMAIL_CHANGED;
use crate::users::random::digest;
use crate::users::request::email_key;

/// What came of a link to another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The account has it.
    Done,
    /// The link isn't good.
    NoLink,
    /// Somebody else's account has it.
    Taken,
}

/// Gives an account a new password in place of the one that is known, ends all of its sessions but one, and its links to a new password.
/// False: it has another one by now.
pub async fn password(
    pool: &PgPool,
    known: &Known,
    hash: &str,
    session: Uuid,
    data: &Value,
) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // A login waits for this row, or this for the login: no session is begun by the old password and outlives it.
    let done = sqlx::query(
        "update ticketing.accounts set password_hash = $3, updated_at = now() where id = $1 and password_hash = $2",
    )
    .bind(known.id)
    .bind(&known.password_hash)
    .bind(hash)
    .execute(&mut *transaction)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sessions::end_others(&mut *transaction, known.id, session).await?;
    sqlx::query("delete from ticketing.account_links where account_id = $1 and purpose = 'password_reset'")
        .bind(known.id)
        .execute(&mut *transaction)
        .await?;
    events::insert(&mut *transaction, "password_changed", known.id, data).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Uses up a link to another address: the account has it, confirmed, and all of its links are gone, for they were sent to the one before.
pub async fn email(pool: &PgPool, token: &str, data: &Value) -> Result<Changed, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // The account's row first, so that two links of it are used one after the other.
    let account: Option<(Uuid, String)> = sqlx::query_as(
        "select a.id, a.email from ticketing.account_links l join ticketing.accounts a on a.id = l.account_id
         where l.token_hash = $1 for no key update of a",
    )
    .bind(digest(token))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((account, before)) = account else {
        return Ok(Changed::NoLink);
    };
    let email: Option<String> = sqlx::query_scalar(
        "delete from ticketing.account_links
         where token_hash = $1 and purpose = 'email_change' and expires_at > now() returning email",
    )
    .bind(digest(token))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(email) = email else {
        return Ok(Changed::NoLink);
    };
    let changed = sqlx::query(
        "update ticketing.accounts
         set email = $2, email_key = $3, email_confirmed_at = now(), updated_at = now() where id = $1",
    )
    .bind(account)
    .bind(&email)
    .bind(email_key(&email))
    .execute(&mut *transaction)
    .await;
    match changed {
        Ok(_) => (),
        Err(error)
            if error
                .as_database_error()
                .is_some_and(|error| error.is_unique_violation()) =>
        {
            return Ok(Changed::Taken);
        }
        Err(error) => return Err(error),
    }
    sqlx::query("delete from ticketing.account_links where account_id = $1")
        .bind(account)
        .execute(&mut *transaction)
        .await?;
    let mut data = data.clone();
    data["email"] = json!(before);
    events::insert(&mut *transaction, EMAIL_CHANGED, account, &data).await?;
    transaction.commit().await?;
    Ok(Changed::Done)
}
