//! `/users/me/password`, `/users/me/email-changes` and `/email-changes`: what one changes of one's account by its password.
//!
//! Whoever has come by somebody's access token can't keep the account by it: the password is asked for, and whoever reads the mail of the
//! account's address is told.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::identify::{LoggedIn, no_token};
use super::links::{LinkParameters, answer};
use super::outbox::{EMAIL_CHANGE, asked_in};
use super::request::{self, ConfirmationRequest, EmailChange, PasswordChange, wrong_password};
use super::store::accounts::{self, Known};
use super::store::changes::{self, Changed};
use super::store::events;
use super::token::Bearer;
use super::{page, random};
use crate::app::App;
use crate::http::client::Client;
use crate::http::extract::Parameters;
use crate::problem::{Problem, ProblemDetails};

/// Change one's password.
///
/// All other sessions end, links to a new password are good no more, and a mail tells.
#[utoipa::path(
    put,
    path = "/users/me/password",
    tag = "users",
    security(("access_token" = [])),
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed: this session goes on, all others have ended"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The present password is wrong, or the new one won't do", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address, or at this account", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many passwords wait to be hashed", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn password(
    State(app): State<App>,
    client: Client,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let change = PasswordChange::parse(request::members(&headers, body).await?)?;
    let wrong = || wrong_password("/currentPassword");
    let known = proven(&app, &client, &bearer, change.current_password)
        .await?
        .ok_or_else(wrong)?;
    let hash = app.users().hasher.hash(change.new_password).await?;
    // Changed meanwhile by somebody else: then what was given is the present one no more.
    if !changes::password(app.pool(), &known, &hash, bearer.session, &asked_in(&headers)).await? {
        return Err(wrong());
    }
    app.wake_account_events();
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for another address.
///
/// A mail with a link goes there; the account keeps its address until the link is used.
#[utoipa::path(
    post,
    path = "/users/me/email-changes",
    tag = "users",
    security(("access_token" = [])),
    request_body = EmailChange,
    responses(
        (status = 202, description = "A mail is on its way"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The address has an account (`conflict`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts, or enough mails were sent there", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many passwords wait to be hashed", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn ask_for_email(
    State(app): State<App>,
    client: Client,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let change = EmailChange::parse(request::members(&headers, body).await?)?;
    let known = proven(&app, &client, &bearer, change.password).await?;
    let known = known.ok_or_else(|| wrong_password("/password"))?;
    let email_key = request::email_key(&change.email);
    if accounts::known(app.pool(), &email_key).await?.is_some() {
        return Err(taken());
    }
    app.users().attempts.mail_to(&email_key)?;
    let mut data = asked_in(&headers);
    data["email"] = change.email.into();
    events::insert(app.pool(), EMAIL_CHANGE, known.id, &data).await?;
    app.wake_account_events();
    Ok(StatusCode::ACCEPTED)
}

/// The page behind the link that gives an account another address: a button that sends `POST /email-changes`.
#[utoipa::path(
    get,
    path = "/email-changes",
    tag = "users",
    params(LinkParameters),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 422, description = "The token has another form", body = String, content_type = "text/html"),
    )
)]
pub async fn email_page(Parameters(parameters): Parameters<LinkParameters>) -> Response {
    if random::is_token(&parameters.token) {
        page::change_email(&parameters.token)
    } else {
        page::problem(request::bad_link())
    }
}

/// Give an account the address that its link was sent to.
///
/// Its other links are good no more, and a mail tells the address that it had.
#[utoipa::path(
    post,
    path = "/email-changes",
    tag = "users",
    request_body = ConfirmationRequest,
    responses(
        (status = 204, description = "Changed, and confirmed; a form is answered with a page (200)"),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Somebody has registered with the address meanwhile (`conflict`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The token isn't good (any more)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn email(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (members, is_form) = request::members_or_form(&headers, body).await?;
    let changed = async {
        let token = request::link_token(members)?;
        app.users().attempts.by_address(client.address)?;
        match changes::email(app.pool(), &token, &asked_in(&headers)).await? {
            Changed::Done => Ok(()),
            Changed::NoLink => Err(request::bad_link()),
            Changed::Taken => Err(taken()),
        }
    };
    let changed = changed.await;
    app.wake_account_events();
    answer(changed, is_form, "Your account has this address now")
}

/// The account of whoever is logged in and knows its password; none: it is another one. As often as one may try to log in.
async fn proven(app: &App, client: &Client, bearer: &Bearer, password: String) -> Result<Option<Known>, Problem> {
    app.users().attempts.by_address(client.address)?;
    let known = accounts::known_by_id(app.pool(), bearer.user)
        .await?
        .ok_or_else(no_token)?;
    app.users()
        .attempts
        .at_account(&request::email_key(&known.email), client.address)?;
    let hash = Some(known.password_hash.clone());
    let is_right = app.users().hasher.verify(password, hash).await?;
    Ok(is_right.then_some(known))
}

fn taken() -> Problem {
    Problem::conflict("/email", "has an account")
}
