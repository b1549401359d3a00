//! A booking as the buyer sees it: the saga's state in the shop's words.

use chrono::Utc;
use orchestrator::client::{JournalItem, SagaDetail};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use workflows::ids::Timestamp;
use workflows::state::Status;
use workflows::tickets::booking::{EXPIRED, HOLD, PAYMENT_FAILED};
use workflows::{SagaView, StepView};

use crate::http::text::path_segment;
use crate::money::Cents;
use crate::refunds::Given;
use crate::refunds::payment::{self, NextAction, PaymentFailure};
use crate::refunds::view::Refund;
use crate::users::accounts::time;
use crate::users::id::is_reserved;

/// The steps of the booking workflow that a buyer's status depends on.
const RESERVE: &str = "reserve";
const PAY: &str = "pay";
const CONFIRM: &str = "confirm";
/// The reason of a booking that has given back all of its seats.
const REFUNDED: &str = "REFUNDED";

/// Where a booking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BookingStatus {
    /// Accepted; its seats are being claimed.
    Initiated,
    /// Its seats are held.
    Reserved,
    /// The payment is under way.
    Paying,
    /// Paid, and the seats are sold to it.
    Confirmed,
    /// Ended by the buyer, an operator or a failed payment.
    Cancelled,
    /// Its seats were not to be had.
    Rejected,
    /// Not paid in time.
    Expired,
}

impl BookingStatus {
    /// Whether it will stay so: an operator's refund of a confirmed booking aside.
    pub fn is_decided(self) -> bool {
        match self {
            BookingStatus::Initiated | BookingStatus::Reserved | BookingStatus::Paying => false,
            BookingStatus::Confirmed | BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => {
                true
            }
        }
    }

    /// The status that a saga's state means.
    pub fn of(view: &SagaView) -> BookingStatus {
        match view.status {
            Status::Completed => BookingStatus::Confirmed,
            Status::Rejected => BookingStatus::Rejected,
            Status::Cancelled => BookingStatus::Cancelled,
            // Undoing has begun: how it ends is settled, it only takes time.
            Status::Compensating | Status::Compensated => ended(view),
            Status::Running | Status::Waiting | Status::Failed | Status::Paused => under_way(view),
        }
    }
}

fn ended(view: &SagaView) -> BookingStatus {
    if view.reason.as_deref() == Some(EXPIRED) {
        BookingStatus::Expired
    } else if view.failed_step.as_deref() == Some(RESERVE) {
        BookingStatus::Rejected
    } else {
        BookingStatus::Cancelled
    }
}

/// By the furthest step. What an operator has to look into is, for the buyer, still under way.
fn under_way(view: &SagaView) -> BookingStatus {
    // A reason is there only once undoing has begun: then an operator has to finish that, or has paused it.
    if view.reason.is_some() {
        ended(view)
    } else if is_present(view, CONFIRM) {
        BookingStatus::Confirmed
    } else if step(view, PAY).is_some() {
        BookingStatus::Paying
    } else if is_present(view, RESERVE) {
        BookingStatus::Reserved
    } else {
        BookingStatus::Initiated
    }
}

/// Whether the buyer was given more time.
pub fn is_extended(view: &SagaView) -> bool {
    view.extended.iter().any(|scope| scope == HOLD)
}

fn step<'a>(view: &'a SagaView, name: &str) -> Option<&'a StepView> {
    view.steps.iter().find(|step| step.name == name)
}

fn is_present(view: &SagaView, name: &str) -> bool {
    step(view, name).is_some_and(|step| step.standing == "present")
}

/// A booking.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Booking {
    /// The booking's id.
    #[schema(format = "uuid")]
    pub booking_id: String,
    /// The saga that carries it out; the same id.
    #[schema(format = "uuid")]
    pub saga_id: String,
    /// Where it stands.
    pub status: BookingStatus,
    /// The event.
    pub event_id: String,
    /// Its seats.
    pub seat_ids: Vec<String>,
    /// Nobody's who is registered: whoever knows its id may see it.
    pub guest: bool,
    /// What it costs, with two decimals.
    #[schema(value_type = f64, multiple_of = 0.01, example = json!(700.00))]
    pub total_amount: Cents,
    /// What of it is what, where fees or taxes are added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Breakdown>,
    /// What the buyer shows at the door, once confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation_number: Option<String>,
    /// Until when the seats are held, while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub hold_expires_at: Option<String>,
    /// What the server's clock says, beside it: a countdown shows the difference, for the buyer's own clock may be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub server_time: Option<String>,
    /// Why it was cancelled, rejected or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "EXPIRED")]
    pub reason: Option<String>,
    /// What the buyer has to do for the payment to go on, while it is `paying`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_action: Option<NextAction>,
    /// Why the payment failed, once the booking has ended because of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_failure: Option<PaymentFailure>,
    /// What was given back since it was confirmed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<Refund>,
    /// What happened, in order.
    pub history: Vec<HistoryEntry>,
    /// Where to go from here.
    pub links: Links,
}

/// What a booking costs, item by item, as it was when it was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookingBreakdown)]
pub struct Breakdown {
    /// The seats' prices.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub seats: Cents,
    /// What is added to them.
    pub fees: Vec<Item>,
    /// Taxes on both.
    pub taxes: Vec<Item>,
}

/// A fee or a tax of a booking.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// How much.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub amount: Cents,
    /// A tax's per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Whether prices and fees contain this tax.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub included: bool,
}

impl Breakdown {
    /// From a saga's input; none: nothing is added.
    fn of(input: &Value) -> Option<Breakdown> {
        let order = input.get("breakdown")?;
        let item = |item: &Value| {
            Some(Item {
                name: item.get("name")?.as_str()?.to_owned(),
                amount: Cents::new(item.get("cents")?.as_i64()?)?,
                rate: item.get("rate").and_then(Value::as_str).map(str::to_owned),
                included: item.get("included").and_then(Value::as_bool).unwrap_or_default(),
            })
        };
        let items = |name: &str| {
            order
                .get(name)?
                .as_array()?
                .iter()
                .map(item)
                .collect::<Option<Vec<_>>>()
        };
        Some(Breakdown {
            seats: Cents::new(order.get("seatsCents")?.as_i64()?)?,
            fees: items("fees")?,
            taxes: items("taxes")?,
        })
    }
}

/// Something that happened to a booking.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The entry of the saga's journal that it belongs to.
    pub seq: u64,
    /// When, on the database's clock.
    #[schema(format = "date-time")]
    pub at: String,
    /// What, by the name it is published under.
    #[schema(example = "seat.reserved")]
    pub event: String,
    /// What more is known of it.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// Where to go from a booking.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Links {
    /// The booking itself.
    #[serde(rename = "self")]
    pub this: String,
    /// Its event.
    pub event: String,
    /// The event's seats.
    pub seats: String,
    /// Where to `POST` to cancel it; left out when that is not possible any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Where to `POST` for more time, once, while its seats are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<String>,
}

/// The path of a booking.
pub fn path_of(booking_id: &str) -> String {
    format!("/bookings/{booking_id}")
}

impl Booking {
    /// The booking as it was when it was accepted, whatever has become of it since: the answer to the request that
    /// began it, and, byte for byte, to every repetition of that request.
    pub fn accepted(saga: &SagaDetail) -> Option<Booking> {
        let initiated = HistoryEntry {
            seq: 1,
            // Part of the saga's state, so that it is the same however often it is read.
            at: saga.view.started_at.to_rfc3339(),
            event: "booking.initiated".to_owned(),
            data: Value::Null,
        };
        Booking::from_input(saga, BookingStatus::Initiated, vec![initiated])
    }

    /// The booking as it stands; none if the saga's input is not a booking's.
    pub fn current(saga: &SagaDetail, journal: &[JournalItem]) -> Option<Booking> {
        let view = &saga.view;
        let status = BookingStatus::of(view);
        let output = |step_name: &str, field: &str| {
            let value = step(view, step_name)?.output.get(field)?;
            value.as_str().map(str::to_owned)
        };
        let booking = Booking::from_input(saga, status, history(journal))?;
        let is_held = matches!(status, BookingStatus::Reserved | BookingStatus::Paying);
        let links = Links {
            extend: (is_held && !is_extended(view)).then(|| format!("{}/extend", path_of(&booking.booking_id))),
            ..booking.links
        };
        Some(Booking {
            links,
            server_time: is_held.then(|| time(Utc::now())),
            confirmation_number: match status {
                BookingStatus::Confirmed => output(CONFIRM, "confirmationNumber"),
                _ => None,
            },
            hold_expires_at: match status {
                // Once it was moved, the scope's deadline is what counts.
                BookingStatus::Reserved | BookingStatus::Paying => step(view, HOLD)
                    .filter(|_| is_extended(view))
                    .and_then(|hold| hold.until)
                    .map(|until| until.to_rfc3339())
                    .or_else(|| output(RESERVE, "expiresAt")),
                _ => None,
            },
            reason: match status {
                BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => view.reason.clone(),
                _ => None,
            },
            payment_failure: view
                .error
                .as_ref()
                .filter(|_| view.reason.as_deref() == Some(PAYMENT_FAILED))
                .map(|error| payment::visible(&error.code)),
            ..booking
        })
    }

    fn from_input(saga: &SagaDetail, status: BookingStatus, history: Vec<HistoryEntry>) -> Option<Booking> {
        let input = &saga.view.input;
        let event_id = input.get("eventId")?.as_str()?.to_owned();
        let seats = input.get("seatIds")?.as_array()?.iter();
        let seat_ids = seats
            .map(|seat| seat.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()?;
        let total_amount = Cents::new(input.get("totalCents")?.as_i64()?)?;
        let booking_id = saga.id.to_string();
        let path = path_of(&booking_id);
        let event_path = format!("/events/{}", path_segment(&event_id));
        Some(Booking {
            links: Links {
                cancel: (!status.is_decided()).then(|| format!("{path}/cancel")),
                extend: None,
                this: path,
                seats: format!("{event_path}/seats"),
                event: event_path,
            },
            saga_id: booking_id.clone(),
            booking_id,
            guest: input["userId"].as_str().is_some_and(|user| !is_reserved(user)),
            status,
            event_id,
            seat_ids,
            total_amount,
            breakdown: Breakdown::of(input),
            confirmation_number: None,
            hold_expires_at: None,
            server_time: None,
            reason: None,
            next_action: None,
            payment_failure: None,
            refunds: Vec::new(),
            history,
        })
    }

    /// With what it has given back; without any seat left it is cancelled.
    pub fn with_refunds(self, given: &[Given]) -> Booking {
        let refunds = given.iter().map(Refund::of_row).collect();
        if given.iter().all(|given| given.seats_left > 0) {
            return Booking { refunds, ..self };
        }
        Booking {
            status: BookingStatus::Cancelled,
            reason: Some(REFUNDED.to_owned()),
            confirmation_number: None,
            refunds,
            ..self
        }
    }
}

/// The published facts, in order; and commands, which are published only by what they lead to.
fn history(journal: &[JournalItem]) -> Vec<HistoryEntry> {
    let entry = |seq: u64, at: Timestamp, event: String, data: Value| HistoryEntry {
        seq,
        at: at.to_rfc3339(),
        event,
        data,
    };
    let mut entries = Vec::new();
    for item in journal {
        if let Some(command) = item.event.get("command").and_then(Value::as_str) {
            let reason = item.event.get("reason").cloned().unwrap_or_default();
            entries.push(entry(
                item.seq,
                item.at,
                format!("command.{command}"),
                serde_json::json!({"reason": reason}),
            ));
        }
        for fact in &item.facts {
            let data = payment::redacted(&fact.topic, &fact.data);
            entries.push(entry(item.seq, fact.at, fact.topic.clone(), data));
        }
    }
    entries
}
