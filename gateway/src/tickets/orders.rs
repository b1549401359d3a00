//! `/orders/lookup`: guests find their order by its number and their address.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use workflows::ids::SagaId;

use super::store;
use crate::app::App;
use crate::bookings::routes::with_money;
use crate::bookings::view::Booking;
use crate::http::client::Client;
use crate::limits::{EMAIL_CHARS_MAX, HISTORY_MAX, ORDER_NUMBER_CHARS_MAX};
use crate::problem::{Problem, ProblemDetails};
use crate::users::id::is_reserved;
use crate::users::request;

const FIELDS: [&str; 2] = ["confirmationNumber", "email"];

/// What a guest knows of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLookup {
    /// As in the mail.
    #[schema(example = "SL-ZC028-63VGV")]
    pub confirmation_number: String,
    /// The address that the mail went to.
    #[schema(format = "email", example = "fan@example.com")]
    pub email: String,
}

/// Find an order by its confirmation number and the address that it was confirmed to.
///
/// For guests: orders of registered users are shown to them alone, once they are logged in. A wrong number and a wrong address
/// are answered alike.
#[utoipa::path(
    post,
    path = "/orders/lookup",
    tag = "bookings",
    request_body = OrderLookup,
    responses(
        (status = 200, description = "The booking", body = Booking),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "No guest's order has this number and this address", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The body is not valid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn look_up(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Booking>, Problem> {
    let mut members = request::members(&headers, body).await?;
    let mut errors = Vec::new();
    let number = members.required_text("confirmationNumber", ORDER_NUMBER_CHARS_MAX, &mut errors);
    let email = members.required_text("email", EMAIL_CHARS_MAX, &mut errors);
    members.finish(&FIELDS, &mut errors);
    let (Some(number), Some(email), true) = (number, email, errors.is_empty()) else {
        return Err(Problem::invalid(errors));
    };
    app.users().attempts.by_address(client.address)?;
    app.users()
        .attempts
        .at_account(&request::email_key(&email), client.address)?;

    let number = number.trim().to_ascii_uppercase();
    for booking in store::bookings_of_number(app.pool(), &number).await? {
        let Some(saga) = app.engine().get(SagaId(booking)).await? else {
            continue;
        };
        let input = &saga.view.input;
        let is_guest = input["userId"].as_str().is_some_and(|user| !is_reserved(user));
        let is_theirs = input["email"]
            .as_str()
            .is_some_and(|known| request::email_key(known) == request::email_key(&email));
        if saga.workflow == app.options().workflow && is_guest && is_theirs {
            let journal = app.engine().journal(saga.id, 0, HISTORY_MAX).await?;
            let booking = Booking::current(&saga, &journal).filter(|booking| booking.confirmation_number.is_some());
            if let Some(booking) = booking {
                return Ok(Json(with_money(&app, booking, &saga).await?));
            }
        }
    }
    Err(Problem::not_found("no guest's order has this number and this address"))
}
