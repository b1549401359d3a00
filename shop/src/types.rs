//! What the gateway's answers say, as far as pages show it.

use serde::Deserialize;
use serde_json::Value;

use crate::amount::Amount;

/// An event; its sections only where it was asked for alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub event_id: String,
    pub name: String,
    pub venue: String,
    pub city: String,
    pub date: String,
    pub currency: String,
    pub status: String,
    #[serde(default)]
    pub performers: Vec<String>,
    pub sale_starts_at: Option<String>,
    pub postponed_from: Option<String>,
    #[serde(default)]
    pub fees: Vec<Value>,
    pub seats_per_order_max: Option<usize>,
    pub seats_per_buyer_max: Option<usize>,
    #[serde(default)]
    pub sections: Vec<Section>,
}

/// What is to be had in a section.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    pub section: String,
    pub seats: usize,
    pub available: usize,
    /// None: the gateway is of before it told them apart; pages may be newer for a while.
    pub held: Option<usize>,
    pub sold: Option<usize>,
    pub price_min: Amount,
    pub price_max: Amount,
}

impl Section {
    /// Seats that are sold; where that isn't told, those that can't be had.
    pub fn sold(&self) -> usize {
        self.sold.unwrap_or(self.seats.saturating_sub(self.available))
    }

    /// Seats that somebody holds, or the house keeps.
    pub fn held(&self) -> usize {
        self.held.unwrap_or_default()
    }
}

/// A page of events.
#[derive(Debug, Deserialize)]
pub struct EventPage {
    pub events: Vec<Event>,
    pub next: Option<String>,
}

/// The seats of an event, or of a section.
#[derive(Debug, Deserialize)]
pub struct SeatList {
    pub seats: Vec<Seat>,
}

/// A seat.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    pub seat_id: String,
    pub section: String,
    pub row: String,
    pub price: Amount,
    pub status: SeatStatus,
    pub x: Option<f32>,
    pub y: Option<f32>,
    #[serde(default)]
    pub marks: Vec<String>,
}

/// Whether a seat can be had.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SeatStatus {
    Available,
    Held,
    Sold,
}

/// What seats cost together.
#[derive(Debug, Deserialize)]
pub struct Quote {
    pub seats: Amount,
    pub fees: Vec<Line>,
    pub taxes: Vec<Line>,
    pub total: Amount,
}

/// A fee or a tax.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub name: String,
    pub amount: Amount,
    #[serde(default)]
    pub included: bool,
}

/// The best seats.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Best {
    pub seat_ids: Vec<String>,
}

/// A booking.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Booking {
    pub booking_id: String,
    #[serde(default)]
    pub guest: bool,
    pub status: BookingStatus,
    pub event_id: String,
    pub seat_ids: Vec<String>,
    pub total_amount: Amount,
    pub confirmation_number: Option<String>,
    pub hold_expires_at: Option<String>,
    pub server_time: Option<String>,
    pub reason: Option<String>,
    pub next_action: Option<NextAction>,
    pub payment_failure: Option<PaymentFailure>,
    #[serde(default)]
    pub refunds: Vec<Refund>,
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    pub links: BookingLinks,
}

/// Where a booking stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BookingStatus {
    Initiated,
    Reserved,
    Paying,
    Confirmed,
    Cancelled,
    Rejected,
    Expired,
}

/// What the buyer has to do. Its client secret is for the payment provider's own library: it is not read here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextAction {
    pub payment_id: String,
}

/// Why a payment failed.
#[derive(Clone, Debug, Deserialize)]
pub struct PaymentFailure {
    pub message: String,
}

/// What was given back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    pub status: RefundStatus,
    pub seat_ids: Vec<String>,
}

/// Where a refund stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Returning,
    Refunding,
    Refunded,
}

/// Something that happened to a booking.
#[derive(Clone, Debug, Deserialize)]
pub struct HistoryEntry {
    pub event: String,
    #[serde(default)]
    pub data: Value,
}

/// What can be done with a booking.
#[derive(Clone, Debug, Deserialize)]
pub struct BookingLinks {
    pub cancel: Option<String>,
    pub extend: Option<String>,
}

/// One's bookings.
#[derive(Debug, Deserialize)]
pub struct BookingPage {
    pub bookings: Vec<BookingSummary>,
    pub next: Option<String>,
}

/// A booking in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookingSummary {
    pub booking_id: String,
    pub event_id: String,
    pub standing: Standing,
    pub created_at: String,
}

/// How far a booking of a list is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    UnderWay,
    Confirmed,
    Ended,
}

/// A booking's tickets.
#[derive(Debug, Deserialize)]
pub struct Tickets {
    pub tickets: Vec<Ticket>,
}

/// A ticket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    pub seat_id: String,
    pub section: String,
    pub row: String,
    pub code: String,
    pub admitted_at: Option<String>,
}

/// A session's tokens.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    pub access_token: String,
    pub expires_in: u64,
    pub refresh_token: String,
    pub user_id: String,
}

/// A place in a line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub token: String,
    pub opens_at: String,
    pub ahead: Option<i64>,
    pub wait_seconds: Option<u64>,
    pub admitted: bool,
    pub over: bool,
}

/// What became of a scan at a door.
#[derive(Debug, Deserialize)]
pub struct CheckIns {
    pub results: Vec<CheckIn>,
}

/// What a door shall do.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckIn {
    pub verdict: Verdict,
    pub message: String,
    pub seat_id: Option<String>,
    pub section: Option<String>,
    pub row: Option<String>,
    pub admitted_at: Option<String>,
    pub door: Option<String>,
}

/// What a door shall do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Admitted,
    AlreadyAdmitted,
    Void,
    OtherEvent,
    Forged,
}

/// How far a door is.
#[derive(Debug, Deserialize)]
pub struct DoorProgress {
    pub name: String,
    pub sold: i64,
    pub admitted: i64,
}
