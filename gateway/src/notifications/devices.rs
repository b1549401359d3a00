//! `/users/me/devices`: telephones and browsers that take push messages.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::preferences::{self, DeviceRow};
use crate::app::App;
use crate::http::extract::PathId;
use crate::http::{body, text};
use crate::limits::{BODY_BYTES_MAX, DEVICE_TOKEN_CHARS_MAX, DEVICES_MAX, ID_CHARS_MAX};
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::users::accounts::time;
use crate::users::identify::LoggedIn;

/// A device to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// What Firebase Cloud Messaging knows it by. It is not shown again.
    #[schema(max_length = 4096)]
    pub token: String,
    /// What its user calls it.
    #[schema(min_length = 1, max_length = 100, example = "Ada's telephone")]
    pub name: String,
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id here.
    pub device_id: Uuid,
    /// What its user calls it.
    pub name: String,
    /// Since when.
    #[schema(format = "date-time")]
    pub registered_at: String,
}

/// A registered device's id.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// Its id here.
    pub device_id: Uuid,
}

/// One's devices.
#[derive(Debug, Serialize, ToSchema)]
pub struct Devices {
    /// The oldest first.
    pub devices: Vec<Device>,
}

impl From<DeviceRow> for Device {
    fn from(row: DeviceRow) -> Device {
        Device {
            device_id: row.id,
            name: row.name,
            registered_at: time(row.registered_at),
        }
    }
}

/// List one's devices.
#[utoipa::path(
    get,
    path = "/users/me/devices",
    tag = "users",
    security(("access_token" = [])),
    responses(
        (status = 200, description = "The devices", body = Devices),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, LoggedIn(bearer): LoggedIn) -> Result<Json<Devices>, Problem> {
    let rows = preferences::devices(app.pool(), bearer.user.0).await?;
    let devices = rows.into_iter().map(Device::from).collect();
    Ok(Json(Devices { devices }))
}

/// Register a device.
///
/// The same token again is the same device. A token that somebody else registered is theirs no more: whoever holds the device now has it.
#[utoipa::path(
    post,
    path = "/users/me/devices",
    tag = "users",
    security(("access_token" = [])),
    request_body = NewDevice,
    responses(
        (status = 201, description = "Registered", body = Registered),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "One has ten devices already (`conflict`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn register(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let device: NewDevice = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let mut errors = Vec::new();
    for (pointer, value, chars_max) in [
        ("/token", &device.token, DEVICE_TOKEN_CHARS_MAX),
        ("/name", &device.name, ID_CHARS_MAX),
    ] {
        errors.extend(
            text::check(value, chars_max)
                .err()
                .map(|message| FieldError::new(pointer, message)),
        );
    }
    if !device.token.is_ascii() {
        errors.push(FieldError::new("/token", "has letters that no token has"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let (user, id) = (bearer.user.0, Uuid::now_v7());
    let registered =
        preferences::register_device(app.pool(), user, id, &device.token, &device.name, DEVICES_MAX).await?;
    let device_id = registered
        .ok_or_else(|| Problem::conflict("/token", "is one device too many: remove one of the others first"))?;
    Ok((StatusCode::CREATED, Json(Registered { device_id })))
}

/// Remove one of one's devices.
#[utoipa::path(
    delete,
    path = "/users/me/devices/{deviceId}",
    tag = "users",
    params(("deviceId" = String, Path, description = "The device's id")),
    security(("access_token" = [])),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "One has no such device", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("there is no such device of yours");
    let device: Uuid = id.parse().map_err(|_| missing())?;
    if !preferences::remove_device(app.pool(), bearer.user.0, device).await? {
        return Err(missing());
    }
    Ok(StatusCode::NO_CONTENT)
}
