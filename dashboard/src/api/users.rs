//! Users. For admins.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use workflows::ids::Timestamp;

use super::{Answer, Body, Items, Path};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::operators::{self, Change, User};

/// A user.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserItem {
    /// The name.
    name: String,
    /// `viewer`, `operator`, `approver` or `admin`.
    role: &'static str,
    /// They are let in no more.
    disabled: bool,
    /// Since when there is this user, RFC 3339.
    created_at: String,
}

/// A user, and how they come in.
#[derive(Serialize, JsonSchema)]
pub struct Invited {
    /// The name.
    name: String,
    /// The path of a link that lets them in once, within a day. Nothing shows it again.
    link: String,
}

fn item(user: User) -> UserItem {
    UserItem {
        name: user.name,
        role: user.role.as_str(),
        disabled: user.disabled,
        created_at: Timestamp::from(user.created_at).to_rfc3339(),
    }
}

/// The users
///
/// For admins.
#[utoipa::path(get, path = "/users", tag = "users", responses(
    (status = 200, description = "By name", body = ref("#/components/schemas/Users")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn users(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Answer {
    operator.must_be(Role::Admin)?;
    let found = operators::list(&mission.pool).await?;
    Ok(Json(Items::all(found.into_iter().map(item).collect())).into_response())
}

/// A new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Lower-case letters, digits, `.`, `_`, `@` and `-`.
    name: String,
    /// `viewer`, `operator`, `approver` or `admin`.
    role: String,
}

/// Adds a user, who comes by a link
///
/// For admins.
#[utoipa::path(post, path = "/users", tag = "users",
    request_body(content = ref("#/components/schemas/NewUser"), content_type = "application/json"),
    responses(
    (status = 201, description = "Added", body = ref("#/components/schemas/Invited")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn add(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Body(NewUser { name, role }): Body<NewUser>,
) -> Answer {
    operator.must_be(Role::Admin)?;
    let role: Role = role.parse().map_err(PageError::Invalid)?;
    let link = operators::invite(&mission.pool, &operator.name, &name, role).await?;
    let location = HeaderValue::from_str(&format!("/api/users/{name}")).map_err(PageError::internal)?;
    let body = Json(Invited { name, link });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// What is to change of a user: one thing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserWish {
    /// They may do this from now on.
    role: Option<String>,
    /// They are let in no more (their sessions, links and tokens end at once), or again.
    disabled: Option<bool>,
}

/// Changes a user's role, lets them in no more, or again
///
/// One admin always stays. For admins.
#[utoipa::path(post, path = "/users/{name}", tag = "users",
    params(("name" = String, Path, description = "The user")),
    request_body(content = ref("#/components/schemas/UserWish"), content_type = "application/json"),
    responses(
    (status = 200, description = "As they are now", body = ref("#/components/schemas/UserItem")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn change(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Body(wish): Body<UserWish>,
) -> Answer {
    operator.must_be(Role::Admin)?;
    let change = match (wish.role, wish.disabled) {
        (Some(role), None) => Change::Role(role.parse().map_err(PageError::Invalid)?),
        (None, Some(disabled)) => Change::Disabled(disabled),
        (None, None) | (Some(_), Some(_)) => {
            let message = "say one thing that is to change: `role` or `disabled`";
            return Err(PageError::Invalid(message.to_owned()).into());
        }
    };
    operators::change(&mission.pool, &operator.name, &name, change).await?;
    let now = operators::one(&mission.pool, &name).await?;
    let now = now.ok_or_else(|| PageError::NotFound(format!("the user {name}")))?;
    Ok(Json(item(now)).into_response())
}

/// Makes a link that lets a user in once, within a day
///
/// They have lost their password, or never had one. For admins.
#[utoipa::path(post, path = "/users/{name}/link", tag = "users",
    params(("name" = String, Path, description = "The user")),
    responses(
    (status = 201, description = "Made", body = ref("#/components/schemas/Invited")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn link(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Answer {
    operator.must_be(Role::Admin)?;
    let link = operators::invite_again(&mission.pool, &operator.name, &name).await?;
    Ok((StatusCode::CREATED, Json(Invited { name, link })).into_response())
}
