//! An event as organisers describe it, and the states it goes through: pure.

use chrono::{DateTime, Utc};
use iso_currency::Currency;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::pricing::Pricing;
use super::store::events::Row;
use super::venues::wrong_time_zone;
use crate::http::text::{self, echo};
use crate::limits::{ATTRIBUTES_BYTES_MAX, NAME_CHARS_MAX, PERFORMERS_MAX, SEATS_PER_BOOKING_MAX};
use crate::problem::{FieldError, Kind, Problem};

/// An event as its organiser wants it. Unknown fields are refused.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventRequest {
    /// Its name.
    #[schema(max_length = 200, example = "The Eras Tour")]
    pub name: String,
    /// One of the organisation's venues.
    pub venue_id: Uuid,
    /// Who is on stage.
    #[serde(default)]
    #[schema(max_items = 100, example = json!(["Taylor Swift"]))]
    pub performers: Vec<String>,
    /// Whatever else is to be known of it: an object, of at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: Option<Value>,
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// By its IANA name; left out, the venue's.
    #[serde(default)]
    #[schema(example = "America/New_York")]
    pub time_zone: Option<String>,
    /// ISO 4217, one with two decimals.
    #[schema(example = "usd")]
    pub currency: String,
    /// When it is sold.
    #[serde(default)]
    pub sale: Sale,
    /// Seats of one booking, at most; left out, 10.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10)]
    pub seats_per_order_max: Option<i32>,
    /// Seats that each buyer may have, held and sold together; left out, as many as they like.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub seats_per_buyer_max: Option<i32>,
    /// What seats cost, and what is added.
    #[serde(default)]
    pub pricing: Pricing,
    /// The version that this was made from: if it isn't the event's any more, nothing is changed.
    #[serde(default)]
    pub version: Option<i64>,
}

/// When an event is sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sale {
    /// From then on; left out, as soon as it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Until then; left out, until it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
}

/// What an organiser has decided about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nobody sees it yet.
    Draft,
    /// It is shown, and sold within its window.
    Published,
    /// It takes place later; nothing is sold until it is published again.
    Postponed,
    /// It takes place, but is sold no more.
    Closed,
    /// It does not take place.
    Cancelled,
}

impl Decision {
    /// As the database has it.
    pub fn of(status: &str) -> Result<Decision, sqlx::Error> {
        match status {
            "draft" => Ok(Decision::Draft),
            "on_sale" => Ok(Decision::Published),
            "postponed" => Ok(Decision::Postponed),
            "closed" => Ok(Decision::Closed),
            "cancelled" => Ok(Decision::Cancelled),
            other => Err(crate::store::events::unexpected(format!("event status {other:?}"))),
        }
    }

    /// See above.
    pub fn stored(self) -> &'static str {
        match self {
            Decision::Draft => "draft",
            Decision::Published => "on_sale",
            Decision::Postponed => "postponed",
            Decision::Closed => "closed",
            Decision::Cancelled => "cancelled",
        }
    }

    /// In errors.
    pub fn word(self) -> &'static str {
        match self {
            Decision::Published => "published",
            other => other.stored(),
        }
    }

    /// Whether one can be followed by the other; else why not.
    pub fn may_become(self, next: Decision) -> Result<(), &'static str> {
        use Decision::{Cancelled, Closed, Draft, Postponed, Published};

        match (self, next) {
            (Cancelled, Cancelled) => Ok(()),
            (Cancelled, _) => Err("a cancelled event stays cancelled; make another one"),
            (_, Draft) => Err("an event that was published can't be a draft again; close it"),
            (Draft, Postponed | Closed) => Err("a draft is not sold yet: publish it, or change its date"),
            // Its seats may be sold: they have to be paid back, and their buyers told.
            (Published | Postponed | Closed, Cancelled) => {
                Err("call it off by POST /events/{eventId}/cancel, which refunds its bookings")
            }
            (Draft, Published | Cancelled)
            | (Published, Postponed | Closed)
            | (Postponed, Published)
            | (Closed, Published | Postponed) => Ok(()),
            (Postponed, Closed) => Err("a postponed event isn't sold: publish it with its new date first"),
            (Published, Published) | (Postponed, Postponed) | (Closed, Closed) => Ok(()),
        }
    }
}

/// A wish to change an event's state.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionRequest {
    /// What it is to be.
    pub status: Decision,
    /// Its new date: with `postponed`, or with `published` after that.
    #[serde(default)]
    pub starts_at: Option<DateTime<Utc>>,
}

impl EventRequest {
    /// The row that it means, at a venue of this name, city and time zone.
    pub fn row(&self, id: String, (venue, city, time_zone): (&str, &str, &str)) -> Result<Row, Problem> {
        let mut errors = self.pricing.check();
        let mut say = |pointer: String, message: String| errors.push(FieldError::new(pointer, message));
        if let Err(message) = text::check(&self.name, NAME_CHARS_MAX) {
            say("/name".to_owned(), message);
        }
        if self.performers.len() > PERFORMERS_MAX {
            say(
                "/performers".to_owned(),
                format!("must have at most {PERFORMERS_MAX} entries"),
            );
        }
        for (index, performer) in self.performers.iter().take(PERFORMERS_MAX).enumerate() {
            if let Err(message) = text::check(performer, NAME_CHARS_MAX) {
                say(format!("/performers/{index}"), message);
            }
        }
        let attributes = self.attributes.clone().unwrap_or_else(|| serde_json::json!({}));
        if !attributes.is_object() {
            say("/attributes".to_owned(), "must be an object".to_owned());
        }
        let written = attributes.to_string();
        if written.len() > ATTRIBUTES_BYTES_MAX {
            let message = format!("must have at most {ATTRIBUTES_BYTES_MAX} bytes, not {}", written.len());
            say("/attributes".to_owned(), message);
        }
        // Postgres keeps no NUL, and JSON writes it so.
        if has_nul(&attributes) {
            say(
                "/attributes".to_owned(),
                "must not contain the character U+0000".to_owned(),
            );
        }
        if let Err(message) = currency(&self.currency) {
            say("/currency".to_owned(), message);
        }
        let range = 1..=SEATS_PER_BOOKING_MAX as i32;
        if self.seats_per_order_max.is_some_and(|max| !range.contains(&max)) {
            say(
                "/seatsPerOrderMax".to_owned(),
                format!("must be 1 to {SEATS_PER_BOOKING_MAX}"),
            );
        }
        if self.seats_per_buyer_max.is_some_and(|max| max < 1) {
            say("/seatsPerBuyerMax".to_owned(), "must be 1 or more".to_owned());
        }
        for (index, tier) in self.pricing.tiers.iter().enumerate() {
            if tier.price.get() == 0 {
                let message = "must be more than nothing: there are no free seats here";
                say(format!("/pricing/tiers/{index}/price"), message.to_owned());
            }
        }
        for (pointer, at) in [
            ("/startsAt", Some(self.starts_at)),
            ("/sale/startsAt", self.sale.starts_at),
            ("/sale/endsAt", self.sale.ends_at),
        ] {
            if at.is_some_and(|at| !is_plausible(at)) {
                say(pointer.to_owned(), "must be between the years 2000 and 2200".to_owned());
            }
        }
        let sale_ends_at = self.sale.ends_at.unwrap_or(self.starts_at);
        if self.sale.starts_at.is_some_and(|starts_at| starts_at >= sale_ends_at) {
            let message = match self.sale.ends_at {
                Some(_) => "must be before the sale's end",
                None => "must be before the event begins, which ends the sale",
            };
            say("/sale/startsAt".to_owned(), message.to_owned());
        }
        if let Some(time_zone) = &self.time_zone {
            errors.extend(wrong_time_zone(time_zone));
        }
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        Ok(Row {
            id,
            venue_id: Some(self.venue_id),
            name: self.name.clone(),
            venue: venue.to_owned(),
            city: city.to_owned(),
            performers: self.performers.clone(),
            attributes,
            starts_at: self.starts_at,
            time_zone: self.time_zone.clone().unwrap_or_else(|| time_zone.to_owned()),
            currency: self.currency.to_ascii_lowercase(),
            status: Decision::Draft.stored().to_owned(),
            sale_starts_at: self.sale.starts_at,
            sale_ends_at: Some(sale_ends_at),
            seats_per_order_max: self.seats_per_order_max,
            seats_per_buyer_max: self.seats_per_buyer_max,
            pricing: serde_json::to_string(&self.pricing).expect("pricing is plain data"),
            postponed_from: None,
            version: 1,
            read_at: DateTime::UNIX_EPOCH,
        })
    }
}

/// What of a published event can't be changed any more, because people have bought by it.
pub fn frozen(before: &Row, after: &Row) -> Vec<FieldError> {
    // As both are written by us, they are equal if they say the same.
    let pricing = |row: &Row| serde_json::from_str::<Pricing>(&row.pricing).ok();
    let fields = [
        ("/venueId", before.venue_id == after.venue_id),
        ("/currency", before.currency == after.currency),
        ("/startsAt", before.starts_at == after.starts_at),
        ("/pricing", pricing(before) == pricing(after)),
    ];
    let changed = fields.into_iter().filter(|(_, is_same)| !is_same);
    changed
        .map(|(pointer, _)| {
            let message = match pointer {
                "/startsAt" => "can only be changed by postponing the event",
                _ => "can't be changed any more: the event has been published",
            };
            FieldError::new(pointer, message)
        })
        .collect()
}

/// Gives an event the state that its organiser wants; what needs more than the row is the caller's.
pub fn decide(row: &mut Row, wish: DecisionRequest) -> Result<(), Problem> {
    let now = Decision::of(&row.status)?;
    let refused = |why: &str| {
        let detail = format!(
            "the event is {} and can't become {}: {why}",
            now.word(),
            wish.status.word()
        );
        Problem::new(Kind::Refused, detail)
    };
    now.may_become(wish.status).map_err(refused)?;
    let takes_a_date =
        wish.status == Decision::Postponed || now == Decision::Postponed && wish.status == Decision::Published;
    match wish.starts_at {
        Some(_) if !takes_a_date => {
            let message = "comes with `postponed`, or with `published` after that; a draft's date is changed by PUT";
            return Err(Problem::invalid(vec![FieldError::new("/startsAt", message)]));
        }
        Some(starts_at) if !is_plausible(starts_at) => {
            let message = "must be between the years 2000 and 2200";
            return Err(Problem::invalid(vec![FieldError::new("/startsAt", message)]));
        }
        Some(starts_at) => {
            row.postponed_from.get_or_insert(row.starts_at);
            // A sale that went on until the beginning still does.
            if row.sale_ends_at == Some(row.starts_at) {
                row.sale_ends_at = Some(starts_at);
            }
            if row
                .sale_starts_at
                .zip(row.sale_ends_at)
                .is_some_and(|(from, to)| from >= to)
            {
                let message = "must be after the sale begins";
                return Err(Problem::invalid(vec![FieldError::new("/startsAt", message)]));
            }
            row.starts_at = starts_at;
        }
        None if now == Decision::Postponed && wish.status == Decision::Published && row.postponed_from.is_none() => {
            return Err(refused("it has no new date yet; say `startsAt`"));
        }
        None => (),
    }
    row.status = wish.status.stored().to_owned();
    Ok(())
}

fn currency(code: &str) -> Result<(), String> {
    let known = Currency::from_code(&code.to_ascii_uppercase());
    match known.and_then(|currency| currency.exponent()) {
        Some(2) => Ok(()),
        Some(_) | None if known.is_some() => Err(format!(
            "must be a currency with two decimals, which {} is not",
            echo(code)
        )),
        _ => Err(format!(
            "must be the ISO 4217 code of a currency such as usd, not {}",
            echo(code)
        )),
    }
}

/// Within what everything that reads it can show.
fn is_plausible(at: DateTime<Utc>) -> bool {
    use chrono::Datelike as _;

    (2000..=2200).contains(&at.year())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn request(change: impl FnOnce(&mut Value)) -> Result<Row, Vec<String>> {
        let mut body =
            json!({"name": "N", "venueId": Uuid::nil(), "startsAt": "2027-06-12T19:00:00-04:00", "currency": "USD"});
        change(&mut body);
        let request: EventRequest = serde_json::from_value(body).unwrap();
        let row = request.row("e".to_owned(), ("Garden", "New York", "America/New_York"));
        row.map_err(|problem| problem.errors().iter().map(|error| error.pointer.clone()).collect())
    }

    #[test]
    fn an_event_is_read() {
        let row = request(|_| ()).unwrap();
        assert_eq!((row.currency.as_str(), row.status.as_str()), ("usd", "draft"));
        assert_eq!(row.sale_ends_at, Some(row.starts_at));
        assert_eq!(row.time_zone, "America/New_York");
    }

    #[test]
    fn every_mistake_is_named() {
        let wrong = request(|body| {
            body["name"] = json!(" ");
            body["currency"] = json!("zzz");
            body["timeZone"] = json!("Mars/Olympus");
            body["attributes"] = json!({"a": ["\0"]});
            body["seatsPerOrderMax"] = json!(11);
            body["seatsPerBuyerMax"] = json!(0);
            body["sale"] = json!({"startsAt": "2027-06-01T00:00:00Z", "endsAt": "2027-05-01T00:00:00Z"});
        });
        assert_eq!(
            wrong.unwrap_err(),
            [
                "/name",
                "/attributes",
                "/currency",
                "/seatsPerOrderMax",
                "/seatsPerBuyerMax",
                "/sale/startsAt",
                "/timeZone"
            ]
        );
        for code in ["jpy", "kwd", "", "us", "$$$", "usdd"] {
            assert_eq!(
                request(|body| body["currency"] = json!(code)).unwrap_err(),
                ["/currency"],
                "{code}"
            );
        }
        assert_eq!(
            request(|body| body["startsAt"] = json!("9999-01-01T00:00:00Z")).unwrap_err(),
            ["/startsAt"]
        );
    }

    fn published() -> Row {
        let mut row = request(|_| ()).unwrap();
        row.status = "on_sale".to_owned();
        row
    }

    fn wish(status: Decision, starts_at: Option<&str>) -> DecisionRequest {
        DecisionRequest {
            status,
            starts_at: starts_at.map(|at| at.parse().unwrap()),
        }
    }

    #[test]
    fn a_postponed_event_is_sold_again_with_its_new_date() {
        let mut row = published();
        let first = row.starts_at;
        decide(&mut row, wish(Decision::Postponed, None)).unwrap();
        let refused = decide(&mut row, wish(Decision::Published, None)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Refused);
        decide(&mut row, wish(Decision::Published, Some("2027-09-12T19:00:00Z"))).unwrap();
        assert_eq!((row.status.as_str(), row.postponed_from), ("on_sale", Some(first)));
        assert_eq!(row.sale_ends_at, Some(row.starts_at));
    }

    #[test]
    fn states_follow_each_other_as_they_should() {
        use Decision::{Cancelled, Closed, Draft, Postponed, Published};
        let all = [Draft, Published, Postponed, Closed, Cancelled];
        let allowed: Vec<(Decision, Decision)> = all
            .into_iter()
            .flat_map(|from| all.map(|to| (from, to)))
            .filter(|(from, to)| from != to && from.may_become(*to).is_ok())
            .collect();
        assert_eq!(
            allowed,
            [
                (Draft, Published),
                (Draft, Cancelled),
                (Published, Postponed),
                (Published, Closed),
                (Postponed, Published),
                (Closed, Published),
                (Closed, Postponed),
            ]
        );
        for decision in all {
            assert_eq!(Decision::of(decision.stored()).unwrap(), decision);
        }
        let mut row = published();
        assert!(decide(&mut row, wish(Closed, Some("2027-09-12T19:00:00Z"))).is_err());
    }

    #[test]
    fn what_people_have_bought_by_stays() {
        let before = published();
        let mut after = before.clone();
        after.name = "Another".to_owned();
        after.sale_ends_at = None;
        assert!(frozen(&before, &after).is_empty());
        after.currency = "eur".to_owned();
        after.pricing = r#"{"tiers": [{"name": "A", "price": 1}]}"#.to_owned();
        let pointers: Vec<String> = frozen(&before, &after).into_iter().map(|error| error.pointer).collect();
        assert_eq!(pointers, ["/currency", "/pricing"]);
    }
}
