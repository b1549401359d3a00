//! One's own tokens; for admins, everybody's, and the users.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;

use super::text::ago;
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::store::users::{self, User};
use crate::tokens::{self, TokenRow};

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    frame: Frame,
    roles: Vec<&'static str>,
    /// A new token, this once.
    shown: String,
    tokens: Vec<Row>,
    users: Vec<User>,
    admin: bool,
}

struct Row {
    token: TokenRow,
    standing: &'static str,
    expires: String,
    used: String,
}

/// Shows them.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    page(&mission, &operator, String::new()).await
}

async fn page(mission: &Mission, operator: &Operator, shown: String) -> Page {
    let admin = operator.role == Role::Admin;
    let whose = Some(operator.name.as_str()).filter(|_| !admin);
    let found = tokens::list(&mission.pool, whose).await?;
    let users = if admin {
        users::all(&mission.pool).await?
    } else {
        Vec::new()
    };
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
        roles: Role::ALL
            .into_iter()
            .filter(|role| *role <= operator.role)
            .map(Role::as_str)
            .collect(),
        shown,
        tokens: found.into_iter().map(row).collect(),
        users,
        admin,
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
    page(&mission, &operator, token).await
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
