//! Users, for the command line (the first ones can't come by a page) and for the settings page.

use serde_json::json;
use sqlx::PgPool;

use crate::access::session::Token;
use crate::access::sign_on::Person;
use crate::access::{Role, password};
use crate::limits::{INVITATION_MAX, LINK_MAX};
use crate::store::users::Changed;
use crate::store::{audit, sessions, tokens, users};

pub use crate::store::users::{Change, User};

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
/// And for what the identity provider's word does.
const PROVIDER: &str = "(identity provider)";

/// Adds a user.
pub async fn add(pool: &PgPool, name: &str, role: Role, password: &str) -> Result<(), OperatorError> {
    check_name(name)?;
    let hash = password::hash(password).map_err(OperatorError::Invalid)?;
    let mut transaction = pool.begin().await?;
    if !users::insert(&mut *transaction, name, role, Some(&hash)).await? {
        let message = format!("there is a user {name:?} already; `operator password {name}` sets a new password");
        return Err(OperatorError::Invalid(message));
    }
    let details = json!({"user": name, "after": {"role": role.as_str(), "disabled": false}});
    audit::done(&mut *transaction, COMMAND_LINE, "add user", details).await?;
    Ok(transaction.commit().await?)
}

/// Adds a user without a password; gives the path of a link that lets them in once, within a day.
pub async fn invite(pool: &PgPool, by: &str, name: &str, role: Role) -> Result<String, OperatorError> {
    check_name(name)?;
    let mut transaction = pool.begin().await?;
    if !users::insert(&mut *transaction, name, role, None).await? {
        return Err(OperatorError::Invalid(format!("there is a user {name:?} already")));
    }
    let token = Token::random();
    known(
        name,
        sessions::insert_link(&mut *transaction, name, &token.digest, INVITATION_MAX).await?,
    )?;
    let details = json!({"user": name, "after": {"role": role.as_str(), "disabled": false}});
    audit::done(&mut *transaction, by, "add user", details).await?;
    transaction.commit().await?;
    Ok(link(&token))
}

/// The path of a link that lets a user in once who is there already, within a day: they have lost their password.
pub async fn invite_again(pool: &PgPool, by: &str, name: &str) -> Result<String, OperatorError> {
    let mut transaction = pool.begin().await?;
    let token = Token::random();
    known(
        name,
        sessions::insert_link(&mut *transaction, name, &token.digest, INVITATION_MAX).await?,
    )?;
    audit::done(&mut *transaction, by, "make login link", json!({"user": name})).await?;
    transaction.commit().await?;
    Ok(link(&token))
}

/// Gives a user a new password and ends their sessions.
pub async fn set_password(pool: &PgPool, by: &str, name: &str, password: &str) -> Result<(), OperatorError> {
    let hash = password::hash(password).map_err(OperatorError::Invalid)?;
    let mut transaction = pool.begin().await?;
    known(name, users::set_password(&mut *transaction, name, &hash).await?)?;
    audit::done(&mut *transaction, by, "set password", json!({"user": name})).await?;
    Ok(transaction.commit().await?)
}

/// Changes what a user may do, lets them in no more (and logs them out at once), or again. One admin always stays.
pub async fn change(pool: &PgPool, by: &str, name: &str, change: Change) -> Result<(), OperatorError> {
    match users::change(pool, by, name, change).await? {
        Changed::Done => Ok(()),
        Changed::Unknown => Err(OperatorError::Invalid(format!("there is no user {name:?}"))),
        Changed::LastAdmin => Err(OperatorError::Invalid(format!(
            "{name} is the last admin: make somebody else one first"
        ))),
    }
}

/// Everyone.
pub async fn list(pool: &PgPool) -> Result<Vec<User>, OperatorError> {
    Ok(users::all(pool).await?)
}

/// One of them.
pub async fn one(pool: &PgPool, name: &str) -> Result<Option<User>, OperatorError> {
    Ok(users::one(pool, name).await?)
}

/// The path of a link that lets a user in once, within a quarter of an hour; the user is made if need be.
pub async fn one_time_link(pool: &PgPool, name: &str, role: Role) -> Result<String, OperatorError> {
    check_name(name)?;
    users::insert(pool, name, role, None).await?;
    let token = Token::random();
    known(name, sessions::insert_link(pool, name, &token.digest, LINK_MAX).await?)?;
    Ok(link(&token))
}

/// What came of somebody whom the identity provider let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// They are this user, with the role that the provider says.
    In(i64, String),
    /// No role is meant for them. What they had open has ended, and their tokens are revoked.
    NoRole,
    /// They are disabled here.
    Disabled,
    /// Their name is another user's.
    NameTaken,
}

/// Takes somebody in whom the identity provider let through: they are made a user when they come first, and have the role that the provider
/// says now, the last admin too.
pub async fn came(pool: &PgPool, person: &Person) -> Result<Came, sqlx::Error> {
    let (issuer, subject) = (person.issuer.as_str(), person.subject.as_str());
    let mut transaction = pool.begin().await?;
    let mut known = users::lock_subject(&mut *transaction, issuer, subject).await?;
    let Some(role) = person.role else {
        if let Some((id, user)) = known {
            users::end_sessions(&mut *transaction, &user.name).await?;
            tokens::revoke_all(&mut *transaction, id).await?;
            // Not an admin who lets the last other one go.
            users::set_role(&mut *transaction, id, Role::Viewer).await?;
            let details = json!({"user": user.name, "before": {"role": user.role.as_str()}, "after": {"role": Role::Viewer.as_str()}});
            audit::done(&mut *transaction, PROVIDER, "lose role", details).await?;
            transaction.commit().await?;
        }
        return Ok(Came::NoRole);
    };
    if known.is_none() {
        let made = users::insert_subject(&mut *transaction, &person.name, role, issuer, subject).await?;
        if let Some(id) = made {
            let after = json!({"role": role.as_str(), "disabled": false});
            let details = json!({"user": person.name, "issuer": issuer, "subject": subject, "after": after});
            audit::done(&mut *transaction, PROVIDER, "add user", details).await?;
            transaction.commit().await?;
            return Ok(Came::In(id, person.name.clone()));
        }
        // Perhaps they came twice at the same moment.
        known = users::lock_subject(&mut *transaction, issuer, subject).await?;
    }
    let Some((id, user)) = known else {
        return Ok(Came::NameTaken);
    };
    if user.disabled {
        return Ok(Came::Disabled);
    }
    if user.role != role {
        users::set_role(&mut *transaction, id, role).await?;
        let side = |role: Role| json!({"role": role.as_str(), "disabled": false});
        let details = json!({"user": user.name, "before": side(user.role), "after": side(role)});
        audit::done(&mut *transaction, PROVIDER, "change role", details).await?;
        transaction.commit().await?;
    }
    Ok(Came::In(id, user.name))
}

fn link(token: &Token) -> String {
    format!("/login/link?token={}", token.text)
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
            "there is no user {name:?} who is let in by a password or a link of ours: it isn't there, is disabled, or comes by the identity provider"
        )))
    }
}
