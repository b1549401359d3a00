//! `/users`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::identify::{LoggedIn, no_token};
use super::request::{self, ProfileChange, Registration};
use super::store::accounts::{self, NewAccount, Profile};
use super::{UserId, outbox};
use crate::app::App;
use crate::http::client::Client;
use crate::problem::{Problem, ProblemDetails};

/// A user, as only they see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Their id: `usr_` and 32 hexadecimal digits. Bookings carry it.
    #[schema(example = "usr_0198c0ffee0070008000000000000001")]
    pub user_id: String,
    /// Their address.
    #[schema(format = "email")]
    pub email: String,
    /// Whether they have shown to read its mail.
    pub email_confirmed: bool,
    /// Their name.
    pub name: String,
    /// Their number, in E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// When they registered.
    #[schema(format = "date-time")]
    pub created_at: String,
}

impl User {
    fn of(user: UserId, profile: Profile) -> User {
        User {
            user_id: user.to_string(),
            email: profile.email,
            email_confirmed: profile.email_confirmed_at.is_some(),
            name: profile.name,
            phone: profile.phone,
            created_at: time(profile.created_at),
        }
    }
}

/// An instant as the API writes it.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Register.
///
/// A mail with a link to confirm the address follows; one can log in without having done so. Whoever registers learns whether the
/// address has an account: nothing else tells.
#[utoipa::path(
    post,
    path = "/users",
    tag = "users",
    request_body = Registration,
    responses(
        (status = 201, description = "Registered: `POST /sessions` logs in", body = User),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The address has an account (`conflict`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body has more than 64 KiB", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many passwords wait to be hashed", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn register(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let registration = Registration::parse(request::members(&headers, body).await?)?;
    app.users().attempts.by_address(client.address)?;
    let hash = app.users().hasher.hash(registration.password).await?;
    let user = UserId::random();
    let account = NewAccount {
        user,
        email: &registration.email,
        email_key: &request::email_key(&registration.email),
        password_hash: &hash,
        name: &registration.name,
        phone: registration.phone.as_deref(),
        data: outbox::asked_in(&headers),
    };
    if !accounts::insert(app.pool(), &account).await? {
        return Err(Problem::conflict(
            "/email",
            "has an account: log in, or POST /password-resets",
        ));
    }
    app.wake_account_events();
    metrics::counter!("sagaline_gateway_registrations_total").increment(1);
    let profile = accounts::profile(app.pool(), user).await?.ok_or_else(no_token)?;
    let location = HeaderValue::from_static("/users/me");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(User::of(user, profile)),
    )
        .into_response())
}

/// Show one's own profile.
#[utoipa::path(
    get,
    path = "/users/me",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 200, description = "The profile", body = User),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, LoggedIn(bearer): LoggedIn) -> Result<Json<User>, Problem> {
    let profile = accounts::profile(app.pool(), bearer.user).await?;
    Ok(Json(User::of(bearer.user, profile.ok_or_else(no_token)?)))
}

/// Change one's own profile.
#[utoipa::path(
    patch,
    path = "/users/me",
    tag = "users",
    security(("access_token" = [])),
    request_body = ProfileChange,
    responses(
        (status = 200, description = "The profile as it is now", body = User),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<User>, Problem> {
    let change = ProfileChange::parse(request::members(&headers, body).await?)?;
    let phone = change.phone.as_ref().map(Option::as_deref);
    let profile = accounts::change(app.pool(), bearer.user, change.name.as_deref(), phone).await?;
    Ok(Json(User::of(bearer.user, profile.ok_or_else(no_token)?)))
}

/// Who registered with this address.
pub async fn by_address(pool: &PgPool, email: &str) -> Result<Option<UserId>, sqlx::Error> {
    let known = accounts::known(pool, &request::email_key(email)).await?;
    Ok(known.map(|known| UserId(known.id)))
}
