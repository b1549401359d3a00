//! `/v1/schedules`: sagas started by the clock.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::{self, NamePath, Params};
use super::problem::{ApiError, ProblemDetails};
use super::{Items, Ops, SINGLE_BODY_BYTES_MAX};
use crate::client::ScheduleSpec;
use crate::schedules::unknown;

/// Firings shown when nobody says how many.
const FIRINGS_DEFAULT: u32 = 50;

/// A range of due times to make up for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillBody {
    /// From this instant, RFC 3339.
    pub from: String,
    /// To before this instant, RFC 3339.
    pub to: String,
}

/// Every schedule.
#[utoipa::path(get, path = "/v1/schedules", tag = "schedules",
    responses(
        (status = 200, description = "By name", body = ref("#/components/schemas/ScheduleList")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn list(State(ops): State<Ops>) -> Result<Response, ApiError> {
    Ok(axum::Json(Items {
        items: ops.client.schedules().await?,
    })
    .into_response())
}

/// Create a schedule.
///
/// The expression has the fields `minute hour day-of-month month day-of-week`, or seconds before and, at will, a year behind.
/// Days of the week are written by name. A local time that daylight saving leaves out is passed over; one that it
/// repeats fires once, unless the hour is `*`, which means every hour that passes.
#[utoipa::path(post, path = "/v1/schedules", tag = "schedules",
    request_body(content = ref("#/components/schemas/ScheduleSpec"), content_type = "application/json"),
    responses(
        (status = 201, description = "Created", body = ref("#/components/schemas/Schedule")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn create(State(ops): State<Ops>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let spec: ScheduleSpec = extract::json(&headers, &body)?;
    let schedule = ops.client.create_schedule(spec).await?;
    let location = format!("/v1/schedules/{}", schedule.name);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(schedule),
    )
        .into_response())
}

/// One schedule.
#[utoipa::path(get, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "The schedule", body = ref("#/components/schemas/Schedule")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn get(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    let found = ops.client.schedule(&name).await?.ok_or_else(|| unknown(&name))?;
    Ok(axum::Json(found).into_response())
}

/// Delete a schedule and its history. Sagas it began go on.
#[utoipa::path(delete, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn delete(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<StatusCode, ApiError> {
    ops.client.delete_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stop a schedule's firings.
#[utoipa::path(post, path = "/v1/schedules/{name}/pause", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "Paused", body = ref("#/components/schemas/Schedule")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn pause(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    Ok(axum::Json(ops.client.pause_schedule(&name, true).await?).into_response())
}

/// Let a schedule fire again, from its next due time on.
#[utoipa::path(post, path = "/v1/schedules/{name}/resume", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "Resumed", body = ref("#/components/schemas/Schedule")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn resume(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    Ok(axum::Json(ops.client.pause_schedule(&name, false).await?).into_response())
}

/// Fire a schedule now, beside its plan.
#[utoipa::path(post, path = "/v1/schedules/{name}/run", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "What came of it", body = ref("#/components/schemas/Firing")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn run(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    Ok(axum::Json(ops.client.run_schedule(&name).await?).into_response())
}

/// Fire a schedule for each of its past due times in a range that has not fired.
#[utoipa::path(post, path = "/v1/schedules/{name}/backfill", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    request_body(content = ref("#/components/schemas/BackfillBody"), content_type = "application/json"),
    responses(
        (status = 200, description = "The firings that are new", body = ref("#/components/schemas/FiringList")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn backfill(
    State(ops): State<Ops>,
    NamePath(name): NamePath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let range: BackfillBody = extract::json(&headers, &body)?;
    let from = extract::instant(&range.from).map_err(|message| ProblemDetails::malformed("/from", message))?;
    let to = extract::instant(&range.to).map_err(|message| ProblemDetails::malformed("/to", message))?;
    let items = ops.client.backfill_schedule(&name, from, to).await?;
    Ok(axum::Json(Items { items }).into_response())
}

/// A schedule's latest firings, newest first.
#[utoipa::path(get, path = "/v1/schedules/{name}/firings", tag = "schedules",
    params(
        ("name" = String, Path, description = "The schedule's name"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 if left out")),
    responses(
        (status = 200, description = "Firings", body = ref("#/components/schemas/FiringList")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn firings(
    State(ops): State<Ops>,
    NamePath(name): NamePath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let limit = params.number("limit")?.unwrap_or(FIRINGS_DEFAULT);
    params.end(&["limit"])?;
    Ok(axum::Json(Items {
        items: ops.client.firings(&name, limit).await?,
    })
    .into_response())
}
