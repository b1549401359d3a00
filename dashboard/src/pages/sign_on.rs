//! Coming in by the identity provider.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::Page;
use super::login::{LoginPage, begin};
use crate::access::session;
use crate::access::sign_on::{Attempt, Person, Provider, SignOnError};
use crate::app::Mission;
use crate::error::PageError;
use crate::operators::{self, Came};
use crate::store::audit;

/// Goes to the overview by itself. Not by a redirect: to the browser that would be one more step of the provider's page, for which it keeps
/// cookies for our own pages back.
#[derive(Template)]
#[template(path = "entered.html")]
struct Entered {
    name: String,
}

/// What the provider's page sends browsers back with.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    state: String,
    code: String,
    error: String,
    iss: Option<String>,
}

fn provider(mission: &Mission) -> Result<&Provider, PageError> {
    let provider = mission.sign_on.as_ref();
    provider.ok_or_else(|| PageError::NotFound("an identity provider".to_owned()))
}

/// Sends the browser to the provider.
pub async fn start(State(mission): State<Mission>, headers: HeaderMap) -> Page {
    let attempt = Attempt::random();
    match provider(&mission)?.door(&attempt).await {
        Ok(door) => {
            let cookie = session::sign_on_cookie(attempt.key(), &headers);
            Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&door)).into_response())
        }
        Err(error) => not_let_in(error),
    }
}

/// Lets in whom the provider knows and a role is meant for.
pub async fn back(State(mission): State<Mission>, headers: HeaderMap, Query(answer): Query<Answer>) -> Page {
    let provider = provider(&mission)?;
    let page = match person(provider, &headers, answer).await {
        Ok(person) => enter(&mission, &headers, &person).await?,
        Err(error) => not_let_in(error)?,
    };
    // Good or not, it was for this once.
    Ok(with_cookie(page, session::no_sign_on_cookie()))
}

async fn person(provider: &Provider, headers: &HeaderMap, answer: Answer) -> Result<Person, SignOnError> {
    let attempt = session::sign_on_key(headers).map(|key| Attempt::of(key.to_owned()));
    let attempt = attempt.ok_or(SignOnError::Refused(
        "This login was not begun in this browser, or too long ago. Try again.",
    ))?;
    if !answer.error.is_empty() {
        // Anybody can write such an address: its words aren't shown.
        return Err(SignOnError::Refused("The identity provider did not let you in."));
    }
    provider
        .person(&attempt, &answer.state, answer.iss.as_deref(), answer.code)
        .await
}

async fn enter(mission: &Mission, headers: &HeaderMap, person: &Person) -> Page {
    let refused = match operators::came(&mission.pool, person).await? {
        Came::In(id, name) => {
            let cookie = begin(mission, headers, id, &name, None, "login by identity provider").await?;
            let cookie = cookie.ok_or_else(|| PageError::Invalid("this user is disabled".to_owned()))?;
            let page = Html(Entered { name }.render()?).into_response();
            return Ok(with_cookie(page, cookie));
        }
        Came::NoRole => "The identity provider knows you, but no role here is meant for you: ask an admin.",
        Came::Disabled => "You are let in no more: ask an admin.",
        Came::NameTaken => "Your name is another user's here: ask an admin.",
    };
    let details = json!({"issuer": person.issuer, "subject": person.subject, "why": refused});
    audit::done(&mission.pool, &person.name, "failed login", details).await?;
    not_let_in(SignOnError::Refused(refused))
}

fn with_cookie(mut page: Response, cookie: HeaderValue) -> Response {
    page.headers_mut().append(header::SET_COOKIE, cookie);
    page
}

/// The login's page, with why.
fn not_let_in(error: SignOnError) -> Page {
    let status = match &error {
        SignOnError::Refused(_) => StatusCode::FORBIDDEN,
        SignOnError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let page = LoginPage {
        name: String::new(),
        problem: error.to_string(),
        sign_on: true,
    };
    Ok((status, Html(page.render()?)).into_response())
}
