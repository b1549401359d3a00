//! The seat activities' inputs, outputs and failure codes, as definitions see them.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// At least one of the seats is held by or sold to somebody else. Permanent.
pub const SEAT_UNAVAILABLE: &str = "seat_unavailable";
/// There is no such event. Permanent.
pub const UNKNOWN_EVENT: &str = "unknown_event";
/// At least one of the seats does not exist. Permanent.
pub const UNKNOWN_SEAT: &str = "unknown_seat";
/// The event is not on sale. Permanent.
pub const EVENT_CLOSED: &str = "event_closed";
/// The buyer would have more seats of the event than it allows each of them. Permanent.
pub const SEAT_LIMIT: &str = "seat_limit";
/// The booking's hold was given up, for good: a late task may not bring it back. Permanent.
pub const HOLD_RELEASED: &str = "hold_released";
/// The hold had expired, and at least one of its seats belongs to another booking now, or its buyer has as many others as
/// the event allows. Permanent.
pub const SEATS_LOST: &str = "seats_lost";
/// The booking never held the seats that it wants confirmed. Permanent.
pub const NOT_RESERVED: &str = "not_reserved";

/// What `seats.reserve` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReserveInput {
    /// Who claims.
    pub booking_id: Uuid,
    /// The event.
    pub event_id: String,
    /// The buyer; must be given where the event limits the seats of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// All or none of these.
    pub seat_ids: Vec<String>,
    /// How long they are held.
    pub hold_seconds: u32,
    /// What is paid beside the seats' prices: fees and taxes, in minor units.
    #[serde(default)]
    pub charges_cents: i64,
}

/// What `seats.reserve` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// When the hold began, RFC 3339, on the database's clock.
    pub reserved_at: String,
    /// When it ends, likewise.
    pub expires_at: String,
    /// The sum of the seats' prices and the charges, in minor units.
    pub total_cents: i64,
}

/// The details of `seat_unavailable`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unavailable {
    /// The seats that were asked for.
    pub requested: Vec<String>,
    /// Up to [`super::ALTERNATIVES_MAX`] seats that were free a moment ago, those of the same section first.
    pub available: Vec<String>,
}

/// The details of `seat_limit`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverLimit {
    /// The seats that were asked for.
    pub requested: Vec<String>,
    /// Seats that the event allows each buyer.
    pub max: i64,
    /// Those that the buyer has already, held or sold.
    pub has: i64,
}

/// Why seats are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReleaseReason {
    /// The hold's time was up.
    Expired,
    /// The payment failed.
    PaymentFailed,
    /// Somebody, or some other failure, ended the booking.
    Cancelled,
}

impl ReleaseReason {
    /// Every reason.
    pub const ALL: [ReleaseReason; 3] = [
        ReleaseReason::Expired,
        ReleaseReason::PaymentFailed,
        ReleaseReason::Cancelled,
    ];

    /// As in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ReleaseReason::Expired => "EXPIRED",
            ReleaseReason::PaymentFailed => "PAYMENT_FAILED",
            ReleaseReason::Cancelled => "CANCELLED",
        }
    }
}

/// What `seats.release` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseInput {
    /// Whose hold.
    pub booking_id: Uuid,
    /// The event.
    pub event_id: String,
    /// The booking's seats. What is released is what the booking holds, even if this says otherwise.
    #[serde(default)]
    pub seat_ids: Vec<String>,
    /// Why.
    pub reason: ReleaseReason,
}

/// What `seats.release` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The seats that the booking had, now or at the first release; empty if it never had any.
    pub released: Vec<String>,
}

/// What `seats.confirm` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmInput {
    /// Who bought.
    pub booking_id: Uuid,
    /// The event.
    pub event_id: String,
    /// The booking's seats.
    pub seat_ids: Vec<String>,
}

/// What `seats.confirm` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    /// Unique within the event.
    pub confirmation_number: String,
    /// When the seats were sold, RFC 3339, on the database's clock.
    pub sold_at: String,
}

/// RFC 3339 with milliseconds, as everywhere in the APIs.
pub(super) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
