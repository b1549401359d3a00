//! What the gateway tells organisers, and is told by them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::amount::Amount;

/// An organiser's events.
#[derive(Debug, Deserialize)]
pub struct ManagedPage {
    pub events: Vec<Managed>,
    pub next: Option<String>,
}

/// An organiser's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Managed {
    pub event_id: String,
    pub status: Status,
    pub version: i64,
    pub name: String,
    pub venue_id: Option<String>,
    pub venue: String,
    pub city: String,
    #[serde(default)]
    pub performers: Vec<String>,
    /// What this site has no fields for: it goes back as it came.
    pub attributes: Option<Box<RawValue>>,
    pub starts_at: String,
    pub postponed_from: Option<String>,
    pub time_zone: String,
    pub currency: String,
    #[serde(default)]
    pub sale: Sale,
    pub seats_per_order_max: Option<u32>,
    pub seats_per_buyer_max: Option<u32>,
    #[serde(default)]
    pub pricing: Pricing,
}

/// What an organiser has decided about an event.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Draft,
    Published,
    Postponed,
    Closed,
    Cancelled,
}

impl Status {
    /// In a word, and how that looks.
    pub fn told(self) -> (&'static str, &'static str) {
        match self {
            Status::Draft => ("Draft", "plain"),
            Status::Published => ("Published", "good"),
            Status::Postponed => ("Postponed", "wait"),
            Status::Closed => ("Sale closed", "wait"),
            Status::Cancelled => ("Called off", "bad"),
        }
    }
}

/// When an event is sold.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sale {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
}

/// What seats cost, and what is added.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Pricing {
    #[serde(default)]
    pub tiers: Vec<Tier>,
    #[serde(default)]
    pub fees: Vec<Fee>,
    #[serde(default)]
    pub taxes: Vec<Tax>,
}

/// Seats that cost the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tier {
    pub name: String,
    pub price: Amount,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

/// A section, or some rows of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Place {
    pub section: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
}

/// What is added.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Fee {
    pub name: String,
    pub amount: Amount,
    pub per: Per,
}

/// How often a fee is due.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Seat,
    Order,
}

/// What the state wants.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tax {
    pub name: String,
    /// Per cent, as it is written.
    pub rate: Box<RawValue>,
    #[serde(default)]
    pub included: bool,
}

/// An event as its organiser wants it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    pub name: String,
    pub venue_id: String,
    pub performers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Box<RawValue>>,
    pub starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    pub currency: String,
    pub sale: Sale,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seats_per_order_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seats_per_buyer_max: Option<u32>,
    pub pricing: Pricing,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// An organisation's venues.
#[derive(Debug, Deserialize)]
pub struct VenuePage {
    pub venues: Vec<Venue>,
    pub next: Option<String>,
}

/// A venue.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Venue {
    pub venue_id: String,
    pub name: String,
    pub city: String,
    pub time_zone: String,
    pub seats: usize,
}

/// Seats that the house keeps, or lets go.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HouseSeats {
    pub seat_ids: Vec<String>,
}

/// A door's pass.
#[derive(Debug, Deserialize)]
pub struct MadePass {
    pub door: String,
    pub hours: i32,
    pub pass: String,
}

/// How far the bookings of an event that was called off are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    pub status: CancellationStatus,
    pub reason: String,
    pub bookings: CancelledBookings,
    pub refunded_amount: Amount,
}

/// Whether all of it is done.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CancellationStatus {
    Settling,
    Finished,
}

/// Bookings of an event that was called off.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelledBookings {
    pub total: i64,
    pub refunded: i64,
    pub cancelled: i64,
}

/// How an event sells.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub total: Figures,
    pub points: Vec<Point>,
}

/// What happened.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub initiated: i64,
    pub confirmed: i64,
    pub revenue: Amount,
    pub refunded: Amount,
}

/// What happened in a minute.
#[derive(Debug, Deserialize)]
pub struct Point {
    pub since: String,
    pub confirmed: i64,
}
