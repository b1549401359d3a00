//! `/users/me/notifications`: in which language one is written to, and by what.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::store::preferences::{self, Row};
use crate::app::App;
use crate::http::body;
use crate::http::language::Language;
use crate::limits::BODY_BYTES_MAX;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::users::identify::LoggedIn;
use crate::users::request::{NOT_INTERNATIONAL, international};

/// What a buyer can be reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// At the address that a booking gives, or the account's.
    Email,
    /// At `phone`.
    Sms,
    /// At the devices that were registered.
    Push,
}

/// How one wants to be written to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preferences {
    /// In which language.
    pub language: Language,
    /// By what; nothing: not at all.
    #[schema(value_type = Vec<Channel>, example = json!(["email", "sms"]))]
    pub channels: BTreeSet<Channel>,
    /// Where SMS go, with its country's code. Needed for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "+12125550123")]
    pub phone: Option<String>,
}

impl Default for Preferences {
    /// What holds for somebody who has said nothing.
    fn default() -> Self {
        Preferences {
            language: Language::En,
            channels: BTreeSet::from([Channel::Email, Channel::Push]),
            phone: None,
        }
    }
}

impl Preferences {
    /// What the row says; what this gateway does not know, a newer one wrote, and is left out.
    fn of(row: Row) -> Preferences {
        Preferences {
            language: Language::parse(&row.language).unwrap_or(Language::En),
            channels: row.channels.iter().filter_map(|name| channel(name)).collect(),
            phone: row.phone,
        }
    }

    fn row(&self) -> Row {
        Row {
            language: self.language.tag().to_owned(),
            channels: self.channels.iter().map(|channel| name(*channel).to_owned()).collect(),
            phone: self.phone.clone(),
        }
    }

    /// Reads the body.
    async fn parse(headers: &HeaderMap, body: Body) -> Result<Preferences, Problem> {
        let mut wish: Preferences = body::typed(headers, body, BODY_BYTES_MAX).await?;
        let invalid = |message: &str| Problem::invalid(vec![FieldError::new("/phone", message)]);
        if let Some(phone) = &wish.phone {
            let number = international(phone);
            wish.phone = Some(number.ok_or_else(|| invalid(NOT_INTERNATIONAL))?);
        }
        if wish.channels.contains(&Channel::Sms) && wish.phone.is_none() {
            return Err(invalid("is required for messages by SMS"));
        }
        Ok(wish)
    }
}

fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "email",
        Channel::Sms => "sms",
        Channel::Push => "push",
    }
}

fn channel(text: &str) -> Option<Channel> {
    [Channel::Email, Channel::Sms, Channel::Push]
        .into_iter()
        .find(|channel| name(*channel) == text)
}

/// Show how one wants to be written to.
#[utoipa::path(
    get,
    path = "/users/me/notifications",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 200, description = "What holds, also for somebody who has said nothing", body = Preferences),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, LoggedIn(bearer): LoggedIn) -> Result<Json<Preferences>, Problem> {
    let row = preferences::read(app.pool(), bearer.user.0).await?;
    Ok(Json(row.map(Preferences::of).unwrap_or_default()))
}

/// Say how one wants to be written to.
///
/// Messages about bookings are written down when something happens: what was written down before goes where it was to go then.
#[utoipa::path(
    put,
    path = "/users/me/notifications",
    tag = "users",
    security(("access_token" = [])),
    request_body = Preferences,
    responses(
        (status = 200, description = "What holds now", body = Preferences),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Preferences>, Problem> {
    let wish = Preferences::parse(&headers, body).await?;
    preferences::write(app.pool(), bearer.user.0, &wish.row()).await?;
    Ok(Json(wish))
}
