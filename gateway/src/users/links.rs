//! `/confirmations` and `/password-resets`: the links in our mails, and how one gets them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::identify::{LoggedIn, no_token};
use super::outbox::asked_in;
use super::request::{self, ConfirmationRequest, NewPassword, ResetRequest};
use super::store::{accounts, events, links};
use super::{page, random};
use crate::app::App;
use crate::http::client::Client;
use crate::http::extract::{Parameters, PathId};
use crate::problem::{Kind, Problem, ProblemDetails};

/// Ask for another link to confirm one's address.
#[utoipa::path(
    post,
    path = "/users/me/confirmations",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 202, description = "A mail is on its way"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The address is confirmed (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Enough mails were sent", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn ask_for_confirmation(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let profile = accounts::profile(app.pool(), bearer.user).await?.ok_or_else(no_token)?;
    if profile.email_confirmed_at.is_some() {
        return Err(Problem::new(Kind::Refused, "the address is confirmed already"));
    }
    app.users().attempts.mail_to(&request::email_key(&profile.email))?;
    events::insert(app.pool(), "confirmation", bearer.user.0, &asked_in(&headers)).await?;
    app.wake_account_events();
    Ok(StatusCode::ACCEPTED)
}

/// A link's token.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinkParameters {
    /// From the mail.
    pub(super) token: String,
}

/// The page behind the link that confirms an address: a button that sends `POST /confirmations`.
#[utoipa::path(
    get,
    path = "/confirmations",
    tag = "users",
    params(LinkParameters),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 422, description = "The token has another form", body = String, content_type = "text/html"),
    )
)]
pub async fn confirmation_page(Parameters(parameters): Parameters<LinkParameters>) -> Response {
    if random::is_token(&parameters.token) {
        page::confirm(&parameters.token)
    } else {
        page::problem(request::bad_link())
    }
}

/// Confirm an address.
#[utoipa::path(
    post,
    path = "/confirmations",
    tag = "users",
    request_body = ConfirmationRequest,
    responses(
        (status = 204, description = "Confirmed; a form is answered with a page (200)"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The token isn't good (any more)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn confirm(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (members, is_form) = request::members_or_form(&headers, body).await?;
    let confirmed = async {
        let token = request::link_token(members)?;
        app.users().attempts.by_address(client.address)?;
        match links::confirm(app.pool(), &token).await? {
            true => Ok(()),
            false => Err(request::bad_link()),
        }
    };
    answer(confirmed.await, is_form, "Your address is confirmed")
}

/// Ask for a link to a new password.
///
/// The answer and its time are the same whether or not the address has an account; only then a mail follows.
#[utoipa::path(
    post,
    path = "/password-resets",
    tag = "users",
    request_body = ResetRequest,
    responses(
        (status = 202, description = "If the address has an account, a mail is on its way"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address, or for this one", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn ask_for_reset(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let email = request::reset_email(request::members(&headers, body).await?)?;
    let email_key = request::email_key(&email);
    app.users().attempts.by_address(client.address)?;
    app.users().attempts.mail_to(&email_key)?;
    events::insert_reset(app.pool(), &email_key, &asked_in(&headers)).await?;
    app.wake_account_events();
    Ok(StatusCode::ACCEPTED)
}

/// The page behind the link to a new password: a form that sends `POST /password-resets/{token}`.
#[utoipa::path(
    get,
    path = "/password-resets/{token}",
    tag = "users",
    params(("token" = String, Path, description = "From the mail")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, description = "The token has another form", body = String, content_type = "text/html"),
    )
)]
pub async fn reset_page(PathId(token): PathId) -> Response {
    if random::is_token(&token) {
        page::reset(&token)
    } else {
        page::problem(no_link())
    }
}

/// Set a new password.
///
/// All sessions of the account end, and its address counts as confirmed.
#[utoipa::path(
    post,
    path = "/password-resets/{token}",
    tag = "users",
    params(("token" = String, Path, description = "From the mail")),
    request_body = NewPassword,
    responses(
        (status = 204, description = "Set: log in with it. A form is answered with a page (200)"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The link isn't good (any more)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The password won't do", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many passwords wait to be hashed", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn reset(
    State(app): State<App>,
    client: Client,
    PathId(token): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (members, is_form) = request::members_or_form(&headers, body).await?;
    let reset = async {
        let password = request::password_only(members)?;
        app.users().attempts.by_address(client.address)?;
        // Before anything is hashed: whoever has no link costs next to nothing.
        if !random::is_token(&token) || !links::is_reset(app.pool(), &token).await? {
            return Err(no_link());
        }
        let hash = app.users().hasher.hash(password).await?;
        match links::reset(app.pool(), &token, &hash).await? {
            true => Ok(()),
            false => Err(no_link()),
        }
    };
    let reset = reset.await;
    app.wake_account_events();
    answer(reset, is_form, "Your new password is set")
}

fn no_link() -> Problem {
    Problem::not_found(
        "the link is not good: it was used, is too old, or there never was one; POST /password-resets sends another",
    )
}

/// What a link's form, or its request, is answered.
pub fn answer(outcome: Result<(), Problem>, is_form: bool, done: &str) -> Result<Response, Problem> {
    match (outcome, is_form) {
        (Ok(()), true) => Ok(page::done(done)),
        (Ok(()), false) => Ok(StatusCode::NO_CONTENT.into_response()),
        (Err(problem), true) => Ok(page::problem(problem)),
        (Err(problem), false) => Err(problem),
    }
}
