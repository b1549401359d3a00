//! Whose request it is: the bearer of an access token, by the `Authorization` header.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::outbox::ACCOUNT_EVENT_KEYS;
use super::token::Bearer;
use super::{UserId, id, store};
use crate::app::App;
use crate::events::outbox::EVENT_CHANGE_KEYS;
use crate::notifications::runner::{NOTIFICATION_KEYS, RECEIPT_KEYS};
use crate::problem::{Kind, Problem};
use crate::refunds::REFUND_KEYS;
use crate::refunds::cancellation::CANCELLATION_KEYS;
use crate::refunds::differences::DIFFERENCE_KEYS;
use crate::webhooks::deliver::WEBHOOK_KEYS;

/// How the keys begin under which schedules and accounts start their sagas: all keys are the engine's, which has one book for them.
const OTHERS_KEYS: [&str; 10] = [
    workflows::tickets::alert::KEYS,
    orchestrator::schedules::KEYS,
    ACCOUNT_EVENT_KEYS,
    REFUND_KEYS,
    CANCELLATION_KEYS,
    DIFFERENCE_KEYS,
    EVENT_CHANGE_KEYS,
    WEBHOOK_KEYS,
    NOTIFICATION_KEYS,
    RECEIPT_KEYS,
];

/// Somebody who is logged in, and whose session goes on: the database was asked.
pub struct LoggedIn(pub Bearer);

impl FromRequestParts<App> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let bearer = bearer(app, &parts.headers)?.ok_or_else(no_token)?;
        if is_live(app, &bearer).await? {
            Ok(LoggedIn(bearer))
        } else {
            Err(no_token())
        }
    }
}

/// Whether the session that a token belongs to goes on: the database is asked.
pub async fn is_live(app: &App, bearer: &Bearer) -> Result<bool, Problem> {
    Ok(store::sessions::is_live(app.pool(), bearer.session, bearer.user).await?)
}

/// Who buys: somebody with an access token, or somebody whom the shop doesn't know. Nobody is asked: it takes no longer for a buyer
/// with a token, and a session that was ended goes on booking until its last access token ends.
pub struct Buyer(pub Option<Bearer>);

impl FromRequestParts<App> for Buyer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        bearer(app, &parts.headers).map(Buyer)
    }
}

impl Buyer {
    /// The token's user, whatever the request says; none: somebody whom the shop doesn't know, where that will do (`anonymous`).
    pub fn user_id(&self, anonymous: bool) -> Result<Option<String>, Problem> {
        match &self.0 {
            Some(bearer) => Ok(Some(bearer.user.to_string())),
            None if anonymous => Ok(None),
            None => Err(no_token()),
        }
    }

    /// Where to write to the token's user.
    pub fn email(&self) -> Option<String> {
        self.0.as_ref().map(|bearer| bearer.email.clone())
    }

    /// Keeps one user's idempotency keys apart from everybody else's, who may not use keys of that form.
    pub fn scoped(&self, key: String) -> Result<String, Problem> {
        match &self.0 {
            Some(bearer) => Ok(format!("{}/{key}", bearer.user)),
            None if id::is_reserved(&key) || OTHERS_KEYS.iter().any(|prefix| key.starts_with(prefix)) => {
                Err(Problem::malformed(
                    "@Idempotency-Key",
                    "must not begin with `usr_`, `schedule/`, `account-event/`, `event-change/`, `refund/`, \
                     `event-cancellation/`, `payment-difference/`, `watch/`, `webhook/`, `notification/` or `notification-receipt/`: those keys are \
                     others'",
                ))
            }
            None => Ok(key),
        }
    }

    /// Whether this buyer may see, and cancel, what belongs to this user: bookings of registered users are theirs alone.
    pub fn owns(&self, user_id: &str) -> bool {
        !id::is_reserved(user_id) || self.0.as_ref().is_some_and(|bearer| bearer.user.to_string() == user_id)
    }
}

/// Who the request's token stands for; none: it has no token. One that won't do is an error: nobody shall book anonymously who
/// believes to be logged in.
fn bearer(app: &App, headers: &HeaderMap) -> Result<Option<Bearer>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = match values.next() {
        Some(_) => None,
        None => value.to_str().ok().and_then(|text| text.split_once(' ')),
    };
    token
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| app.users().tokens.verify(token.trim()))
        .map(Some)
        .ok_or_else(no_token)
}

/// Whose token the request has, if it is a good one.
pub fn known(app: &App, headers: &HeaderMap) -> Option<Bearer> {
    bearer(app, headers).ok().flatten()
}

/// The user whose request it is, as far as a good token says so.
pub fn user(app: &App, headers: &HeaderMap) -> Option<UserId> {
    bearer(app, headers).ok().flatten().map(|bearer| bearer.user)
}

/// The answer to whoever isn't logged in.
pub fn no_token() -> Problem {
    let detail = "this wants `Authorization: Bearer <access token>` with a token that is good: this one is missing, forged, of an \
                  ended session, or too old; POST /sessions logs in, POST /sessions/refresh gives the next one";
    Problem::new(Kind::NoToken, detail)
}
