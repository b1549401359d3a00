//! How sales go, and what is out of the ordinary.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use chrono::Utc;

use super::{Answer, Query};
use crate::app::Mission;
use crate::reports::{self, Asked, Format};

/// How sales go
///
/// Of all events together: figures by step and in all, the way to a ticket, popular events, how the platform was. At most 1,500 steps.
#[utoipa::path(get, path = "/analytics", tag = "reports",
    params(
        ("from" = Option<String>, Query, description = "The first moment, or day, down to the beginning of its step; left out: a day before `to`"),
        ("to" = Option<String>, Query, description = "Until before this moment, up to the end of its step; left out: now"),
        ("step" = Option<String>, Query, description = "`minute`, `hour` (which it is when left out) or `day`, in UTC"),
        ("format" = Option<String>, Query, description = "`json` (which it is when left out) or `csv`: the steps as a table")),
    responses(
    (status = 200, description = "The report", body = ref("#/components/schemas/Report")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn analytics(State(mission): State<Mission>, Query(asked): Query<Asked>) -> Answer {
    let report = reports::of(&mission, asked.range(Utc::now())?).await?;
    Ok(match asked.format {
        Format::Json => Json(report).into_response(),
        Format::Csv => {
            let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8");
            ([kind], analytics::report::csv(&report)).into_response()
        }
    })
}

/// Alerts
///
/// How each rule stands, how many workers are wanted, and the alerts of the last 90 days.
#[utoipa::path(get, path = "/alerts", tag = "reports", responses(
    (status = 200, description = "What is out of the ordinary", body = ref("#/components/schemas/Alerts")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn alerts(State(mission): State<Mission>) -> Answer {
    Ok(Json(reports::alerts(&mission).await?).into_response())
}
