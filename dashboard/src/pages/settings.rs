//! One's own tokens and password; for admins, everybody's tokens, and the users.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;

use super::text::ago;
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::operators::{self, Change};
use crate::store::users::{self, Origin, User};
use crate::tokens::{self, TokenRow};

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    frame: Frame,
    /// Those that one's tokens can have.
    roles: Vec<&'static str>,
    /// Those that users can have.
    all_roles: [&'static str; 4],
    /// A new token, or a link, this once.
    shown: Shown,
    tokens: Vec<Row>,
    users: Vec<User>,
    admin: bool,
    /// They may have one; who comes by the identity provider has none here.
    password: bool,
}

/// What is shown once.
#[derive(Default)]
struct Shown {
    what: &'static str,
    text: String,
}

struct Row {
    token: TokenRow,
    standing: &'static str,
    expires: String,
    used: String,
}

/// Shows them.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    page(&mission, &operator, Shown::default()).await
}

async fn page(mission: &Mission, operator: &Operator, shown: Shown) -> Page {
    let admin = operator.role == Role::Admin;
    let whose = Some(operator.name.as_str()).filter(|_| !admin);
    let found = tokens::list(&mission.pool, whose).await?;
    let users = if admin {
        users::all(&mission.pool).await?
    } else {
        Vec::new()
    };
    let oneself = users::one(&mission.pool, &operator.name).await?;
    let now = mission.engine.now();
    let row = |token: TokenRow| Row {
        standing: match token.revoked_at {
            Some(_) => "revoked",
            None if token.expires_at.timestamp_millis() <= now.0 => "expired",
            None => "good",
        },
        expires: ago(token.expires_at.into(), now),
        used: token
            .used_at
            .map_or_else(|| "never".to_owned(), |at| ago(at.into(), now)),
        token,
    };
    html(&Settings {
        frame: Frame::new(operator, "settings"),
        all_roles: Role::ALL.map(Role::as_str),
        roles: Role::ALL
            .into_iter()
            .filter(|role| *role <= operator.role)
            .map(Role::as_str)
            .collect(),
        shown,
        tokens: found.into_iter().map(row).collect(),
        users,
        admin,
        password: oneself.is_some_and(|user| user.origin == Origin::Here),
    })
}

/// A new token.
#[derive(Deserialize)]
pub struct New {
    name: String,
    role: String,
    days: u32,
}

/// Makes one for whoever asks, for no more than they may themselves.
pub async fn add(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Form(New { name, role, days }): Form<New>,
) -> Page {
    let role: Role = role.parse().map_err(PageError::Invalid)?;
    operator.must_be(role)?;
    let life = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let token = tokens::add(&mission.pool, &operator.name, &operator.name, name.trim(), role, life).await?;
    let shown = Shown {
        what: "The new token",
        text: token,
    };
    page(&mission, &operator, shown).await
}

/// Which token.
#[derive(Deserialize)]
pub struct Which {
    id: i64,
}

/// Ends one: one's own, or for admins anybody's.
pub async fn revoke(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Form(Which { id }): Form<Which>,
) -> Page {
    let whose = Some(operator.name.as_str()).filter(|_| operator.role != Role::Admin);
    tokens::revoke(&mission.pool, &operator.name, id, whose).await?;
    Ok(Redirect::to("/settings").into_response())
}

/// A new user.
#[derive(Deserialize)]
pub struct NewUser {
    name: String,
    role: String,
}

/// Adds a user, who comes by a link that is shown once. For admins.
pub async fn add_user(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    Form(NewUser { name, role }): Form<NewUser>,
) -> Page {
    operator.must_be(Role::Admin)?;
    let role: Role = role.parse().map_err(PageError::Invalid)?;
    let link = operators::invite(&mission.pool, &operator.name, name.trim(), role).await?;
    page(&mission, &operator, invitation(&headers, &link)).await
}

fn invitation(headers: &HeaderMap, link: &str) -> Shown {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        Some(_) | None => "http",
    };
    let host = text(header::HOST.as_str()).unwrap_or_default();
    Shown {
        what: "A link that lets its user in once, within a day",
        text: format!("{scheme}://{host}{link}"),
    }
}

/// What is done to a user.
#[derive(Deserialize)]
pub struct UserDeed {
    name: String,
    word: String,
    #[serde(default)]
    role: String,
}

/// Changes a user's role, lets them in no more, or again, or makes a new link for them. For admins.
pub async fn change_user(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    Form(UserDeed { name, word, role }): Form<UserDeed>,
) -> Page {
    operator.must_be(Role::Admin)?;
    let change = match word.as_str() {
        "role" => Change::Role(role.parse().map_err(PageError::Invalid)?),
        "disable" => Change::Disabled(true),
        "enable" => Change::Disabled(false),
        "link" => {
            let link = operators::invite_again(&mission.pool, &operator.name, &name).await?;
            return page(&mission, &operator, invitation(&headers, &link)).await;
        }
        other => {
            return Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be done to a user"
            )));
        }
    };
    operators::change(&mission.pool, &operator.name, &name, change).await?;
    Ok(Redirect::to("/settings").into_response())
}

/// A new password of one's own.
#[derive(Deserialize)]
pub struct NewPassword {
    #[serde(default)]
    current: String,
    new: String,
}

/// Sets one's own password, which ends one's sessions: one logs in by it.
pub async fn set_password(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Form(NewPassword { current, new }): Form<NewPassword>,
) -> Page {
    // Counted like a login, so that somebody else's open page is no place to guess at.
    let candidate = users::begin_login(&mission.pool, &operator.name).await?;
    let candidate = candidate.ok_or(PageError::Busy)?;
    if candidate.hash.is_some() && !mission.hasher.verify(current, candidate.hash).await? {
        return Err(PageError::Invalid("that is not your present password".to_owned()));
    }
    operators::set_password(&mission.pool, &operator.name, &operator.name, &new).await?;
    Ok(Redirect::to("/login").into_response())
}
