//! `/sessions`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::UserId;
use super::accounts::time;
use super::identify::LoggedIn;
use super::random::Refresh;
use super::request::{self, Credentials, RefreshRequest};
use super::store::accounts;
use super::store::sessions::{self, Device, Listed, Live};
use super::token::Bearer;
use crate::app::App;
use crate::http::client::Client;
use crate::http::extract::PathId;
use crate::limits::ACCESS_TOKEN_LIFE;
use crate::problem::{Kind, Problem, ProblemDetails};

/// A session's tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// For `Authorization: Bearer …`.
    pub access_token: String,
    /// `Bearer`
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Seconds for which the access token is good.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// For the next tokens, once. Using one a second time ends the session.
    pub refresh_token: String,
    /// The session.
    pub session_id: Uuid,
    /// Until when the refresh token is good.
    #[schema(format = "date-time")]
    pub session_expires_at: String,
    /// Who is logged in.
    pub user_id: String,
}

impl Tokens {
    fn of(app: &App, live: Live, refresh: &Refresh) -> Tokens {
        let bearer = Bearer {
            user: UserId(live.account_id),
            session: live.id,
            email: live.email,
        };
        Tokens {
            access_token: app.users().tokens.issue(&bearer, ACCESS_TOKEN_LIFE),
            token_type: "Bearer",
            expires_in: ACCESS_TOKEN_LIFE.as_secs(),
            refresh_token: refresh.text(),
            session_id: live.id,
            session_expires_at: time(live.expires_at),
            user_id: bearer.user.to_string(),
        }
    }
}

/// A user's sessions.
#[derive(Serialize, ToSchema)]
pub struct Sessions {
    /// The ones that were used last first.
    pub sessions: Vec<Session>,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub session_id: Uuid,
    /// Whether it is the one that asks.
    pub current: bool,
    /// What the device called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Where it logged in from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it logged in.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it was refreshed last.
    #[schema(format = "date-time")]
    pub refreshed_at: String,
    /// When it ends, unless it is used before.
    #[schema(format = "date-time")]
    pub expires_at: String,
}

impl Session {
    fn of(listed: Listed, current: Uuid) -> Session {
        Session {
            session_id: listed.id,
            current: listed.id == current,
            user_agent: listed.user_agent,
            address: listed.address,
            created_at: time(listed.created_at),
            refreshed_at: time(listed.refreshed_at),
            expires_at: time(listed.expires_at),
        }
    }
}

/// Log in.
///
/// An address without an account and a wrong password are answered alike, after the same time.
#[utoipa::path(
    post,
    path = "/sessions",
    tag = "users",
    request_body = Credentials,
    responses(
        (status = 201, description = "Logged in", body = Tokens),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Nobody has this address and this password (`wrong-credentials`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address, or at this account", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many passwords wait to be hashed", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn log_in(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let credentials = Credentials::parse(request::members(&headers, body).await?)?;
    let email_key = request::email_key(&credentials.email);
    app.users().attempts.by_address(client.address)?;
    app.users().attempts.at_account(&email_key, client.address)?;
    let known = accounts::known(app.pool(), &email_key).await?;
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let is_right = app.users().hasher.verify(credentials.password, hash).await?;
    let known = known.filter(|_| is_right).ok_or_else(wrong_credentials)?;
    let refresh = Refresh::first();
    let device = Device {
        user_agent: client.user_agent,
        address: client.address.map(|address| address.to_string()),
    };
    let live = sessions::begin(app.pool(), known.id, &known.password_hash, &refresh, &device).await?;
    let live = live.ok_or_else(wrong_credentials)?;
    app.wake_account_events();
    metrics::counter!("sagaline_gateway_logins_total").increment(1);
    let tokens = Tokens::of(&app, live, &refresh);
    Ok((StatusCode::CREATED, Json(tokens)).into_response())
}

fn wrong_credentials() -> Problem {
    metrics::counter!("sagaline_gateway_logins_failed_total").increment(1);
    let detail =
        "nobody has this e-mail address and this password; POST /password-resets helps who has forgotten theirs";
    Problem::new(Kind::WrongCredentials, detail)
}

/// Get the next tokens of a session.
///
/// Each refresh token is good once. One that is used again was copied by somebody: the session is ended, for both of them.
#[utoipa::path(
    post,
    path = "/sessions/refresh",
    tag = "users",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The next tokens", body = Tokens),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "The token isn't good (any more): log in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn refresh(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Tokens>, Problem> {
    let used = request::refresh_token(request::members(&headers, body).await?)?;
    app.users().attempts.by_address(client.address)?;
    let used = used.ok_or_else(no_session)?;
    let next = used.next();
    if let Some(live) = sessions::rotate(app.pool(), &used, &next).await? {
        return Ok(Json(Tokens::of(&app, live, &next)));
    }
    if let Some(session) = sessions::end_reused(app.pool(), &used).await? {
        tracing::warn!(%session, "a refresh token was used twice; the session is ended");
        metrics::counter!("sagaline_gateway_refresh_tokens_reused_total").increment(1);
        app.wake_account_events();
    }
    Err(no_session())
}

fn no_session() -> Problem {
    let detail =
        "the refresh token is not good: its session has ended, it was used before, or there never was one; log in";
    Problem::new(Kind::NoToken, detail)
}

/// Log out.
#[utoipa::path(
    delete,
    path = "/sessions/current",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn log_out(State(app): State<App>, LoggedIn(bearer): LoggedIn) -> Result<StatusCode, Problem> {
    // Ended meanwhile by somebody else: then it is ended.
    sessions::end(app.pool(), bearer.session, bearer.user, "logged_out").await?;
    app.wake_account_events();
    Ok(StatusCode::NO_CONTENT)
}

/// List one's sessions.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 200, description = "At most 50", body = Sessions),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, LoggedIn(bearer): LoggedIn) -> Result<Json<Sessions>, Problem> {
    let listed = sessions::list(app.pool(), bearer.user).await?;
    let sessions = listed
        .into_iter()
        .map(|listed| Session::of(listed, bearer.session))
        .collect();
    Ok(Json(Sessions { sessions }))
}

/// End one of one's sessions.
#[utoipa::path(
    delete,
    path = "/sessions/{sessionId}",
    tag = "users",
    params(("sessionId" = String, Path, description = "The session's id")),
    security(("access_token" = [])),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "One has no such session", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn end(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("there is no such session of yours");
    let session: Uuid = id.parse().map_err(|_| missing())?;
    if !sessions::end(app.pool(), session, bearer.user, "revoked").await? {
        return Err(missing());
    }
    app.wake_account_events();
    Ok(StatusCode::NO_CONTENT)
}
