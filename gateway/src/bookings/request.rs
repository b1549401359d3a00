//! A wish to book: read from JSON, checked by itself, then against the event and its seats.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::events::pricing::Breakdown;
use crate::http::body::{self, Members};
use crate::http::language::Language;
use crate::http::text::{echo, is_email};
use crate::limits::{EMAIL_CHARS_MAX, ID_CHARS_MAX, PAYMENT_METHOD_CHARS_MAX, SEATS_PER_BOOKING_MAX};
use crate::money::Cents;
use crate::problem::{FieldError, Problem};
use crate::store::events::Quote;
use crate::users::id::is_reserved;
use crate::users::identify::Buyer;

/// The label by which a user's bookings are found.
pub const USER_TAG: &str = "userId";
/// The fields of a request, as errors name them.
const FIELDS: [&str; 7] = [
    "userId",
    "eventId",
    "seatIds",
    "totalAmount",
    "paymentMethod",
    "email",
    "language",
];

/// The body of `POST /bookings`. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BookingRequest {
    /// Who books. With an access token it is the token's user, whatever is said here; without one it is required, and can't be a
    /// registered user's id.
    #[schema(max_length = 100, min_length = 1, required = false, example = "user_42")]
    pub user_id: String,
    /// The event.
    #[schema(max_length = 100, min_length = 1, example = "taylor_swift_nyc_2024")]
    pub event_id: String,
    /// The seats, each once: all of them are booked or none.
    #[schema(max_items = 10, min_items = 1, example = json!(["A15", "A16"]))]
    pub seat_ids: Vec<String>,
    /// The sum of the seats' prices, with fees and taxes where the event has some: a number with at most two decimals, read exactly.
    #[schema(value_type = f64, minimum = 0, multiple_of = 0.01, example = json!(700.00))]
    pub total_amount: Cents,
    /// A payment method of the payment provider.
    #[schema(max_length = 255, required = false, example = "pm_card_visa")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// Where the confirmation goes.
    #[schema(max_length = 254, required = false, format = "email", example = "fan@example.com")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The language of what is written about this booking; left out: what `Accept-Language` likes best, else English. Users who have said
    /// how they want to be written to are written to in that language.
    // English is what holds where nothing is said, so it is never kept.
    #[schema(required = false, example = "de")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

impl BookingRequest {
    /// Reads the body; every mistake that shows without the database is named at once.
    pub fn parse(
        bytes: &[u8],
        buyer: &Buyer,
        anonymous: bool,
        accepted: Option<Language>,
    ) -> Result<BookingRequest, Problem> {
        let mut members = body::parse_object(bytes)?;
        let mut errors = Vec::new();
        let errors_of = &mut errors;
        let user_id = user_id(&mut members, buyer, anonymous, errors_of)?;
        let event_id = required_text(&mut members, "eventId", errors_of);
        let seat_ids =
            required(&mut members, "seatIds", errors_of).and_then(|(raw, pointer)| seat_ids(&raw, &pointer, errors_of));
        let total_amount = total_amount(&mut members, errors_of);
        let payment_method = optional_text(&mut members, "paymentMethod", PAYMENT_METHOD_CHARS_MAX, errors_of);
        let email = email(&mut members, errors_of);
        let language = members.take("language", errors_of);
        let language = language.and_then(|raw| Language::read(&raw, "/language", errors_of));
        members.finish(&FIELDS, errors_of);
        match (user_id, event_id, seat_ids, total_amount) {
            (Some(user_id), Some(event_id), Some(seat_ids), Some(total_amount)) if errors.is_empty() => {
                Ok(BookingRequest {
                    user_id,
                    event_id,
                    seat_ids,
                    total_amount,
                    payment_method,
                    email: email.or_else(|| buyer.email()),
                    language: language.or(accepted).filter(|language| *language != Language::En),
                })
            }
            _ => Err(Problem::invalid(errors)),
        }
    }

    /// Checks the wish against the event and its seats' prices.
    pub fn check(&self, quote: Option<&Quote>) -> Result<(), Problem> {
        let Some(quote) = quote else {
            let message = format!(
                "names no event: there is no {}; GET /events lists them",
                echo(&self.event_id)
            );
            return Err(Problem::invalid(vec![FieldError::new("/eventId", message)]));
        };
        if quote.status != "on_sale" {
            let why = match quote.status.as_str() {
                "upcoming" => ", not yet",
                "postponed" => " until it has a new date",
                "cancelled" => ": it is cancelled",
                _ => "",
            };
            let message = format!("names an event that is not on sale{why}: {}", echo(&self.event_id));
            return Err(Problem::invalid(vec![FieldError::new("/eventId", message)]));
        }
        let unknown = self
            .seat_ids
            .iter()
            .enumerate()
            .filter(|(_, seat)| !quote.prices.contains_key(seat.as_str()));
        let errors: Vec<_> = unknown
            .map(|(index, seat)| {
                let message = format!("names no seat of this event: there is no {}", echo(seat));
                FieldError::new(format!("/seatIds/{index}"), message)
            })
            .collect();
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        if let Some(max) = quote.order_max
            && i64::try_from(self.seat_ids.len()).is_ok_and(|wanted| wanted > max)
        {
            let message = format!("must have at most {max} seats: the event allows no more in one booking");
            return Err(Problem::invalid(vec![FieldError::new("/seatIds", message)]));
        }
        let sum = self.breakdown(quote).map(|order| order.total);
        if sum != Some(self.total_amount) {
            let right = sum.map_or_else(|| "the sum".to_owned(), |sum| sum.to_string());
            let what = if quote.pricing.is_plain() {
                "the sum of the seats' prices"
            } else {
                "the seats' prices with fees and taxes (POST /events/{eventId}/quote)"
            };
            let message = format!("must be {right}, {what}, not {}", self.total_amount);
            return Err(Problem::invalid(vec![FieldError::new("/totalAmount", message)]));
        }
        Ok(())
    }

    /// What the seats cost; those that don't exist cost nothing.
    fn breakdown(&self, quote: &Quote) -> Option<Breakdown> {
        quote.pricing.breakdown(quote.prices.values().copied())
    }

    /// The saga's input.
    pub fn saga_input(&self, quote: &Quote, payment_method: &str) -> Value {
        let mut input = json!({
            "userId": self.user_id,
            "eventId": self.event_id,
            "seatIds": self.seat_ids,
            "totalCents": self.total_amount.get(),
            "currency": quote.currency,
            "paymentMethod": payment_method,
            "email": self.email,
            "event": {"name": quote.name, "venue": quote.venue, "date": quote.date},
        });
        if let Some(language) = self.language {
            input["language"] = json!(language);
        }
        // Where nothing is added to prices the input is what it always was.
        if !quote.pricing.is_plain()
            && let Some(order) = self.breakdown(quote)
        {
            input["chargesCents"] = json!(order.total.get() - order.seats.get());
            input["breakdown"] = json!(cents_of(&order));
        }
        input
    }

    /// Labels by which operators find the saga.
    pub fn saga_tags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(USER_TAG.to_owned(), self.user_id.clone())])
    }

    /// The same for the same wish, however its JSON was written.
    pub fn hash(&self) -> String {
        let canonical = serde_json::to_vec(self).expect("a request is plain data");
        hex::encode(Sha256::digest(canonical))
    }
}

/// An order's items in minor units, as sagas have money.
fn cents_of(order: &Breakdown) -> Value {
    let fees = order
        .fees
        .iter()
        .map(|fee| json!({"name": fee.name, "cents": fee.amount.get()}));
    let taxes = order.taxes.iter().map(|tax| {
        json!({"name": tax.name, "rate": tax.rate.to_string(), "cents": tax.amount.get(), "included": tax.included})
    });
    json!({
        "seatsCents": order.seats.get(),
        "fees": fees.collect::<Vec<_>>(),
        "taxes": taxes.collect::<Vec<_>>(),
    })
}

/// Whose booking, or whose place in a line, it is to be.
pub fn user_id(
    members: &mut Members,
    buyer: &Buyer,
    anonymous: bool,
    errors: &mut Vec<FieldError>,
) -> Result<Option<String>, Problem> {
    if let Some(user_id) = buyer.user_id(anonymous)? {
        members.take("userId", errors);
        return Ok(Some(user_id));
    }
    let claimed = required_text(members, "userId", errors);
    let Some(reserved) = claimed.as_deref().filter(|claimed| is_reserved(claimed)) else {
        return Ok(claimed);
    };
    let message = format!("belongs to somebody registered; log in to act as {}", echo(reserved));
    errors.push(FieldError::new("/userId", message));
    Ok(None)
}

fn required(members: &mut Members, name: &str, errors: &mut Vec<FieldError>) -> Option<(Box<RawValue>, String)> {
    let pointer = format!("/{name}");
    match members.take(name, errors) {
        Some(raw) => Some((raw, pointer)),
        None => {
            errors.push(FieldError::new(pointer, "is required"));
            None
        }
    }
}

fn required_text(members: &mut Members, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
    let (raw, pointer) = required(members, name, errors)?;
    body::text_at(&raw, &pointer, ID_CHARS_MAX, errors)
}

fn optional_text(members: &mut Members, name: &str, chars_max: usize, errors: &mut Vec<FieldError>) -> Option<String> {
    let raw = members.take(name, errors)?;
    body::text_at(&raw, &format!("/{name}"), chars_max, errors)
}

/// A list of seats, each once.
pub fn seat_ids(raw: &RawValue, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Vec<String>> {
    let items: Vec<Box<RawValue>> = body::decode(raw, pointer, "must be a list of seat ids", errors)?;
    if !(1..=SEATS_PER_BOOKING_MAX).contains(&items.len()) {
        let message = format!("must have 1 to {SEATS_PER_BOOKING_MAX} seats, not {}", items.len());
        errors.push(FieldError::new(pointer, message));
        return None;
    }
    let mut seen = HashSet::new();
    let mut seats = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("/seatIds/{index}");
        let Some(seat) = body::text_at(item, &pointer, ID_CHARS_MAX, errors) else {
            continue;
        };
        if !seen.insert(seat.clone()) {
            errors.push(FieldError::new(pointer, format!("repeats the seat {}", echo(&seat))));
        }
        seats.push(seat);
    }
    Some(seats)
}

fn total_amount(members: &mut Members, errors: &mut Vec<FieldError>) -> Option<Cents> {
    let (raw, pointer) = required(members, "totalAmount", errors)?;
    match Cents::parse(raw.get()) {
        Ok(cents) => Some(cents),
        Err(error) => {
            errors.push(FieldError::new(pointer, error.to_string()));
            None
        }
    }
}

fn email(members: &mut Members, errors: &mut Vec<FieldError>) -> Option<String> {
    let email = optional_text(members, "email", EMAIL_CHARS_MAX, errors)?;
    if !is_email(&email) {
        errors.push(FieldError::new(
            "/email",
            "must be an e-mail address such as fan@example.com",
        ));
        return None;
    }
    Some(email)
}
