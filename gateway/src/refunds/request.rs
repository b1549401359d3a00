//! A wish to give tickets back.

use serde::Serialize;
use utoipa::ToSchema;

use crate::bookings::request::seat_ids;
use crate::http::body;
use crate::problem::Problem;

/// The body of `POST /bookings/{bookingId}/refund`; it may be left out. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefundRequest {
    /// The seats to give back, each once; left out: all that the booking has.
    #[schema(required = false, max_items = 10, min_items = 1, example = json!(["A16"]))]
    pub seat_ids: Vec<String>,
}

impl RefundRequest {
    /// Reads the body.
    pub fn parse(bytes: &[u8]) -> Result<RefundRequest, Problem> {
        if bytes.is_empty() {
            return Ok(RefundRequest::default());
        }
        let mut members = body::parse_object(bytes)?;
        let mut errors = Vec::new();
        let seats = members.take("seatIds", &mut errors);
        let seat_ids = seats.and_then(|seats| seat_ids(&seats, "/seatIds", &mut errors));
        members.finish(&["seatIds"], &mut errors);
        if errors.is_empty() {
            Ok(RefundRequest {
                seat_ids: seat_ids.unwrap_or_default(),
            })
        } else {
            Err(Problem::invalid(errors))
        }
    }
}
