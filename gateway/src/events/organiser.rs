//! Who may make events: users of the shop who belong to an organisation.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sqlx::PgPool;
use uuid::Uuid;

use super::store::events;
use super::store::organisers::{self, Member};
use crate::app::App;
use crate::http::text;
use crate::limits::ID_CHARS_MAX;
use crate::problem::{Kind, Problem};
use crate::users::UserId;
use crate::users::accounts::by_address;
use crate::users::identify::{Buyer, LoggedIn, is_live};

/// Somebody who is logged in and belongs to an organisation.
pub struct Organiser {
    /// The organisation: what they see and change is its own.
    pub organisation: Uuid,
}

impl FromRequestParts<App> for Organiser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let LoggedIn(bearer) = LoggedIn::from_request_parts(parts, app).await?;
        match organisers::organisation_of(app.pool(), bearer.user.0).await? {
            Some(organisation) => Ok(Organiser { organisation }),
            None => Err(Problem::new(
                Kind::Forbidden,
                "this is for organisers of events; `sagaline organiser add` makes somebody one",
            )),
        }
    }
}

impl Organiser {
    /// Whether this is an event of the organisation.
    pub async fn has(&self, app: &App, event_id: &str) -> Result<bool, sqlx::Error> {
        Ok(events::get(app.pool(), self.organisation, event_id).await?.is_some())
    }
}

/// Whether this is somebody of the organisation whose event it is, in a session that goes on.
pub async fn organises(app: &App, buyer: &Buyer, event_id: &str) -> Result<bool, Problem> {
    let Some(bearer) = &buyer.0 else { return Ok(false) };
    Ok(organisers::organises(app.pool(), bearer.user.0, event_id).await? && is_live(app, bearer).await?)
}

/// A member of an organisation.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganiserEntry {
    /// The user.
    pub user_id: String,
    /// The organisation's id.
    pub organisation_id: Uuid,
    /// The organisation's name.
    pub organisation: String,
}

/// Makes the user who registered with this address an organiser of the organisation of this name, which is made unless it is
/// there. Who belongs to another one leaves it.
pub async fn add_organiser(pool: &PgPool, email: &str, organisation: &str) -> Result<OrganiserEntry, String> {
    text::check(organisation, ID_CHARS_MAX).map_err(|message| format!("the organisation's name {message}"))?;
    let user = user(pool, email).await?;
    let id = organisers::add(pool, user.0, organisation, Uuid::now_v7())
        .await
        .map_err(|error| error.to_string())?;
    Ok(OrganiserEntry {
        user_id: user.to_string(),
        organisation_id: id,
        organisation: organisation.to_owned(),
    })
}

/// Makes the user who registered with this address an organiser no more. Their organisation keeps its events.
pub async fn remove_organiser(pool: &PgPool, email: &str) -> Result<(), String> {
    let user = user(pool, email).await?;
    match organisers::remove(pool, user.0).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{email} is no organiser")),
        Err(error) => Err(error.to_string()),
    }
}

/// Every organiser, by organisation.
pub async fn list_organisers(pool: &PgPool) -> Result<Vec<OrganiserEntry>, String> {
    let members = organisers::list(pool).await.map_err(|error| error.to_string())?;
    let entry = |member: Member| OrganiserEntry {
        user_id: UserId(member.account_id).to_string(),
        organisation_id: member.organisation_id,
        organisation: member.organisation,
    };
    Ok(members.into_iter().map(entry).collect())
}

async fn user(pool: &PgPool, email: &str) -> Result<UserId, String> {
    let found = by_address(pool, email).await.map_err(|error| error.to_string())?;
    found.ok_or_else(|| format!("nobody has registered with the address {email}"))
}
