//! Users, for the command line: the first ones can't come by a page.

use sqlx::PgPool;

use crate::access::session::Token;
use crate::access::{Role, password};
use crate::limits::LINK_MAX;
use crate::store::{audit, sessions, users};

pub use crate::store::users::User;

/// Why a user is not as wished.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The name or the password won't do.
    #[error("{0}")]
    Invalid(String),
    /// The database.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Who the audit trail names for what is done on the command line.
pub const COMMAND_LINE: &str = "(command line)";

/// Adds a user.
pub async fn add(pool: &PgPool, name: &str, role: Role, password: &str) -> Result<(), OperatorError> {
    check_name(name)?;
    let hash = password::hash(password).map_err(OperatorError::Invalid)?;
    if !users::insert(pool, name, role, Some(&hash)).await? {
        let message = format!("there is a user {name:?} already; `operator password {name}` sets a new password");
        return Err(OperatorError::Invalid(message));
    }
    record(pool, "add user", name, role.as_str()).await
}

/// Gives a user a new password and ends their sessions.
pub async fn set_password(pool: &PgPool, name: &str, password: &str) -> Result<(), OperatorError> {
    let hash = password::hash(password).map_err(OperatorError::Invalid)?;
    known(name, users::set_password(pool, name, &hash).await?)?;
    record(pool, "set password", name, "").await
}

/// Lets a user in no more, and ends their sessions.
pub async fn disable(pool: &PgPool, name: &str) -> Result<(), OperatorError> {
    known(name, users::disable(pool, name).await?)?;
    record(pool, "disable user", name, "").await
}

/// Everyone.
pub async fn list(pool: &PgPool) -> Result<Vec<User>, OperatorError> {
    Ok(users::all(pool).await?)
}

/// The path of a link that lets a user in once, within a quarter of an hour; the user is made if need be.
pub async fn one_time_link(pool: &PgPool, name: &str, role: Role) -> Result<String, OperatorError> {
    check_name(name)?;
    users::insert(pool, name, role, None).await?;
    let token = Token::random();
    known(name, sessions::insert_link(pool, name, &token.digest, LINK_MAX).await?)?;
    Ok(format!("/login/link?token={}", token.text))
}

fn check_name(name: &str) -> Result<(), OperatorError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= 64
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '@' | '-'));
    if good {
        Ok(())
    } else {
        let message =
            "a name has up to 64 lower-case letters, digits, `.`, `_`, `@` and `-`, and begins with one of the former";
        Err(OperatorError::Invalid(message.to_owned()))
    }
}

fn known(name: &str, found: bool) -> Result<(), OperatorError> {
    if found {
        Ok(())
    } else {
        Err(OperatorError::Invalid(format!(
            "there is no user {name:?}, or it is disabled"
        )))
    }
}

async fn record(pool: &PgPool, action: &str, name: &str, role: &str) -> Result<(), OperatorError> {
    let details = serde_json::json!({"user": name, "role": role});
    audit::done(pool, COMMAND_LINE, action, details).await?;
    Ok(())
}
