//! Passes: what a door's device shows to be allowed to check tickets of one event.

use axum::http::{HeaderMap, header};
use sqlx::PgPool;

use super::store;
use crate::app::App;
use crate::limits::PASS_HOURS_MAX;
use crate::problem::{Kind, Problem};
use crate::users::random;

/// Begins every pass, so that one that lies about somewhere is known for what it is.
const PREFIX: &str = "door_";

/// The door that a request comes from.
pub struct DoorPass {
    /// Its name.
    pub door: String,
}

impl DoorPass {
    /// By the request's `Authorization` header.
    pub async fn of(app: &App, event_id: &str, headers: &HeaderMap) -> Result<DoorPass, Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| token.trim().strip_prefix(PREFIX))
            .filter(|token| random::is_token(token))
            .ok_or_else(no_pass)?;
        let door = store::door(app.pool(), event_id, &random::digest(token)).await?;
        door.map(|door| DoorPass { door }).ok_or_else(no_pass)
    }
}

fn no_pass() -> Problem {
    let detail = "this wants `Authorization: Bearer <door pass>` with a pass for this event that is good now; `sagaline door-pass` makes one";
    Problem::new(Kind::NoToken, detail)
}

/// Makes a pass for a door of an event, and says it, this once; none: there is no such event.
///
/// # Errors
/// If the database can't be reached.
///
/// # Panics
/// If `hours` is not 1 to [`PASS_HOURS_MAX`].
pub async fn new_pass(pool: &PgPool, event_id: &str, door: &str, hours: i32) -> Result<Option<String>, sqlx::Error> {
    assert!(
        (1..=PASS_HOURS_MAX).contains(&hours),
        "a pass is good for 1 to {PASS_HOURS_MAX} hours"
    );
    let token = random::token();
    let added = store::add_pass(pool, event_id, &random::digest(&token), door, hours).await?;
    Ok(added.then(|| format!("{PREFIX}{token}")))
}
