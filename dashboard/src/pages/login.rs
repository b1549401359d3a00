//! Coming in and going out.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Page, html};
use crate::access::session::{self, Token};
use crate::app::Mission;
use crate::error::PageError;
use crate::store::{audit, sessions, users};

/// The form, and why it is shown again.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// Who tried.
    pub name: String,
    /// Why it didn't work; empty: nobody has tried.
    pub problem: String,
    /// There is an identity provider.
    pub sign_on: bool,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    token: String,
}

/// A name and a password.
#[derive(Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
}

/// A one-time link's.
#[derive(Deserialize)]
pub struct LinkToken {
    token: String,
}

/// The form.
pub async fn show(State(mission): State<Mission>) -> Page {
    html(&LoginPage {
        name: String::new(),
        problem: String::new(),
        sign_on: mission.sign_on.is_some(),
    })
}

/// Lets in who knows a password. Who doesn't is told the same whatever was wrong.
pub async fn login(State(mission): State<Mission>, headers: HeaderMap, Form(form): Form<Credentials>) -> Page {
    let candidate = users::begin_login(&mission.pool, &form.name).await?;
    let (id, hash) = match candidate {
        Some(candidate) => (Some(candidate.id), candidate.hash),
        None => (None, None),
    };
    let right = mission.hasher.verify(form.password, hash.clone()).await?;
    let cookie = match id {
        Some(id) if right => {
            users::login_succeeded(&mission.pool, id).await?;
            begin(&mission, &headers, id, &form.name, hash.as_deref(), "login").await?
        }
        Some(_) | None => None,
    };
    match cookie {
        Some(cookie) => Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()),
        None => {
            if id.is_some() {
                audit::done(&mission.pool, &form.name, "failed login", json!({})).await?;
            }
            let page = LoginPage {
                name: form.name,
                problem:
                    "That didn't work: the name or the password is wrong, or it is too soon after a failed attempt."
                        .to_owned(),
                sign_on: mission.sign_on.is_some(),
            };
            Ok((StatusCode::UNAUTHORIZED, Html(page.render()?)).into_response())
        }
    }
}

/// Asks for a click before the link is used up: programs that look at links ahead don't click.
pub async fn link(Query(LinkToken { token }): Query<LinkToken>) -> Page {
    html(&LinkPage { token })
}

/// Uses a one-time link.
pub async fn use_link(State(mission): State<Mission>, headers: HeaderMap, Form(form): Form<LinkToken>) -> Page {
    let user = sessions::take_link(&mission.pool, &session::digest(&form.token)).await?;
    let (id, name) = user.ok_or_else(|| PageError::Invalid("this link was used already, or is too old".to_owned()))?;
    let cookie = begin(&mission, &headers, id, &name, None, "login by link").await?;
    let cookie = cookie.ok_or_else(|| PageError::Invalid("this user is disabled".to_owned()))?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// A new session under a new token, whatever the browser had before; gives its cookie. None: the user has been disabled, or has another
/// password by now than the one of this hash.
pub async fn begin(
    mission: &Mission,
    headers: &HeaderMap,
    id: i64,
    name: &str,
    password_hash: Option<&str>,
    action: &str,
) -> Result<Option<HeaderValue>, PageError> {
    if let Some(old) = session::token(headers) {
        sessions::delete(&mission.pool, &session::digest(old)).await?;
    }
    let token = Token::random();
    let mut transaction = mission.pool.begin().await?;
    if !sessions::insert(&mut *transaction, id, password_hash, &token.digest).await? {
        return Ok(None);
    }
    audit::done(&mut *transaction, name, action, json!({})).await?;
    transaction.commit().await?;
    Ok(Some(session::cookie(&token.text, headers)))
}

/// Ends the session.
pub async fn logout(State(mission): State<Mission>, headers: HeaderMap) -> Result<Response, PageError> {
    if let Some(token) = session::token(&headers) {
        sessions::delete(&mission.pool, &session::digest(token)).await?;
    }
    Ok(([(header::SET_COOKIE, session::no_cookie())], Redirect::to("/login")).into_response())
}
