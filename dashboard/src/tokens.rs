//! Tokens for the operators' API: made by the command line or on the settings page, shown once.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;

use crate::access::{Role, session};
use crate::limits::TOKEN_LIFE_MAX;
use crate::operators::OperatorError;
use crate::store::{audit, tokens as store};

pub use crate::store::tokens::TokenRow;

/// By this one sees in a log or a file what has leaked, and scanners find it.
const PREFIX: &str = "sgl_";
/// Tokens in a list.
const LIST_MAX: i64 = 1_000;

/// What is kept of a token.
pub fn digest(token: &str) -> Option<Vec<u8>> {
    token.strip_prefix(PREFIX).map(session::digest)
}

/// Adds a token for a user and gives it: nothing shows it again. `by` is whom the audit trail names.
pub async fn add(
    pool: &PgPool,
    by: &str,
    user: &str,
    name: &str,
    role: Role,
    life: Duration,
) -> Result<String, OperatorError> {
    if life.is_zero() || life > TOKEN_LIFE_MAX {
        return Err(OperatorError::Invalid("a token lives for a year at most".to_owned()));
    }
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '@' | '-');
    let good = name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inside);
    if !good {
        let message = "a token's name has up to 64 letters, digits, blanks, `.`, `_`, `@` and `-`, and begins with a letter or digit";
        return Err(OperatorError::Invalid(message.to_owned()));
    }
    let secret = session::Token::random();
    let mut transaction = pool.begin().await?;
    let id = store::insert(&mut *transaction, user, name, role, &secret.digest, life).await?.ok_or_else(|| {
        OperatorError::Invalid(format!(
            "there is no user {user:?} (or it is disabled), a token {name:?} of theirs is there already, or they have too many"
        ))
    })?;
    let details = json!({"token": id, "user": user, "name": name, "role": role.as_str(), "seconds": life.as_secs()});
    audit::done(&mut *transaction, by, "add token", details).await?;
    transaction.commit().await?;
    Ok(format!("{PREFIX}{}", secret.text))
}

/// Tokens without their secrets: of one user, or of all.
pub async fn list(pool: &PgPool, user: Option<&str>) -> Result<Vec<TokenRow>, OperatorError> {
    Ok(store::list(pool, user, LIST_MAX).await?)
}

/// Ends a token; of nobody else's than `user`'s, if one is given.
pub async fn revoke(pool: &PgPool, by: &str, id: i64, user: Option<&str>) -> Result<(), OperatorError> {
    let mut transaction = pool.begin().await?;
    let found = store::revoke(&mut *transaction, id, user).await?;
    let (user, name) =
        found.ok_or_else(|| OperatorError::Invalid(format!("there is no token {id}, or it is revoked already")))?;
    let details = json!({"token": id, "user": user, "name": name});
    audit::done(&mut *transaction, by, "revoke token", details).await?;
    transaction.commit().await?;
    Ok(())
}
