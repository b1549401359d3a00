//! An event as a form: what was typed becomes what the gateway wants, and back. Pure.

use chrono_tz::Tz;
use serde_json::value::RawValue;

use super::input::{Filled, Input, Wrong};
use super::types::{Fee, Managed, Per, Pricing, Sale, Status, Tax, Tier, Venue, Wish};
use super::{clock, places};
use crate::amount::Amount;
use crate::limits::{CHARGES_MAX, ROWS_SPARE, TIERS_MAX};
use crate::pages::fields::Fields;

/// What the rows of a form are for, the fields of each, and how many there may be.
const TIER: Rows = Rows::of("tier", &["name", "price", "places"], TIERS_MAX);
const FEE: Rows = Rows::of("fee", &["name", "amount", "per"], CHARGES_MAX);
const TAX: Rows = Rows::of("tax", &["name", "rate", "included"], CHARGES_MAX);
/// More rows than there are, where somebody asks for them.
const ROWS_MORE: usize = 3;

struct Rows {
    prefix: &'static str,
    parts: &'static [&'static str],
    most: usize,
}

impl Rows {
    const fn of(prefix: &'static str, parts: &'static [&'static str], most: usize) -> Rows {
        Rows { prefix, parts, most }
    }

    fn field(&self, part: &str, index: usize) -> String {
        format!("{}_{part}_{index}", self.prefix)
    }

    /// Rows in which something was typed: what is only chosen, such as `per`, is nothing yet.
    fn filled(&self, fields: &Fields) -> Vec<usize> {
        let texts = &self.parts[..2];
        let is_filled = |index: &usize| texts.iter().any(|part| fields.get(&self.field(part, *index)).is_some());
        let places = |index: &usize| self.prefix == "tier" && fields.get(&self.field("places", *index)).is_some();
        (0..self.most)
            .filter(|index| is_filled(index) || places(index))
            .collect()
    }

    /// How many are shown.
    fn shown(&self, fields: &Fields) -> usize {
        let used = self.filled(fields).last().map_or(0, |last| last + 1);
        let more = match fields.get("more") == Some(self.prefix) {
            true => ROWS_MORE,
            false => ROWS_SPARE,
        };
        (used + more).min(self.most)
    }
}

/// Which rows of the form the entries of a request came from.
#[derive(Debug, Default)]
pub struct Sent {
    tiers: Vec<usize>,
    fees: Vec<usize>,
    taxes: Vec<usize>,
}

impl Sent {
    /// The field that a place of the request came from.
    pub fn field(&self, pointer: &str) -> Option<String> {
        let parts: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
        let row = |rows: &Rows, sent: &[usize], index: &str, part: &str| {
            let index = sent.get(index.parse::<usize>().ok()?)?;
            let part = rows
                .parts
                .iter()
                .find(|known| **known == part)
                .unwrap_or(&rows.parts[0]);
            Some(rows.field(part, *index))
        };
        match parts.as_slice() {
            ["pricing", "tiers", index, part, ..] => row(&TIER, &self.tiers, index, part),
            ["pricing", "fees", index, part, ..] => row(&FEE, &self.fees, index, part),
            ["pricing", "taxes", index, part, ..] => row(&TAX, &self.taxes, index, part),
            ["pricing", "tiers"] => Some(TIER.field("name", 0)),
            ["name"] => Some("name".to_owned()),
            ["venueId"] => Some("venue".to_owned()),
            ["performers", ..] => Some("performers".to_owned()),
            ["startsAt"] => Some("starts_at".to_owned()),
            ["timeZone"] => Some("time_zone".to_owned()),
            ["currency"] => Some("currency".to_owned()),
            ["sale", "startsAt"] => Some("sale_from".to_owned()),
            ["sale", "endsAt"] => Some("sale_to".to_owned()),
            ["seatsPerOrderMax"] => Some("per_order".to_owned()),
            ["seatsPerBuyerMax"] => Some("per_buyer".to_owned()),
            _ => None,
        }
    }
}

/// What the form of an event begins with.
pub fn begin(event: &Managed) -> Fields {
    let zone = event.time_zone.parse::<Tz>().unwrap_or(Tz::UTC);
    let mut values = vec![
        ("name".to_owned(), event.name.clone()),
        ("venue".to_owned(), event.venue_id.clone().unwrap_or_default()),
        ("performers".to_owned(), event.performers.join("\n")),
        ("starts_at".to_owned(), clock::typed(&event.starts_at, zone)),
        ("time_zone".to_owned(), event.time_zone.clone()),
        ("currency".to_owned(), event.currency.to_uppercase()),
        ("version".to_owned(), event.version.to_string()),
    ];
    let mut say = |name: String, value: String| values.push((name, value));
    if let Some(from) = &event.sale.starts_at {
        say("sale_from".to_owned(), clock::typed(from, zone));
    }
    // An end that is the event's beginning is no wish of its own.
    if let Some(to) = event.sale.ends_at.as_ref().filter(|to| !is_same(to, &event.starts_at)) {
        say("sale_to".to_owned(), clock::typed(to, zone));
    }
    if let Some(max) = event.seats_per_order_max {
        say("per_order".to_owned(), max.to_string());
    }
    if let Some(max) = event.seats_per_buyer_max {
        say("per_buyer".to_owned(), max.to_string());
    }
    for (index, tier) in event.pricing.tiers.iter().enumerate() {
        say(TIER.field("name", index), tier.name.clone());
        say(TIER.field("price", index), tier.price.to_string());
        say(TIER.field("places", index), places::told(&tier.places));
    }
    for (index, fee) in event.pricing.fees.iter().enumerate() {
        say(FEE.field("name", index), fee.name.clone());
        say(FEE.field("amount", index), fee.amount.to_string());
        let per = match fee.per {
            Per::Seat => "seat",
            Per::Order => "order",
        };
        say(FEE.field("per", index), per.to_owned());
    }
    for (index, tax) in event.pricing.taxes.iter().enumerate() {
        say(TAX.field("name", index), tax.name.clone());
        say(TAX.field("rate", index), tax.rate.get().to_owned());
        if tax.included {
            say(TAX.field("included", index), "1".to_owned());
        }
    }
    Fields::begin(values)
}

fn is_same(one: &str, other: &str) -> bool {
    let read = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
    read(one).is_some() && read(one) == read(other)
}

/// What was typed, as the gateway wants it; else what is wrong with it. Of an event that was published, what people have bought by stays.
pub fn read(fields: &Fields, venues: &[Venue], kept: Option<&Managed>) -> Result<(Wish, Sent), Wrong> {
    let mut wrong = Wrong::default();
    let published = kept.filter(|event| event.status != Status::Draft);
    if fields.get("name").is_none() {
        wrong.say("name", "is needed");
    }
    let venue = venues.iter().find(|venue| venue.venue_id == fields.text("venue"));
    if venue.is_none() && published.is_none() {
        wrong.say("venue", "must be one of your venues");
    }
    let named = fields.get("time_zone").map(str::to_owned);
    let named = published.map(|event| event.time_zone.clone()).or(named);
    let zone = named.as_deref().or(venue.map(|venue| venue.time_zone.as_str()));
    let zone = zone.map(|name| name.parse::<Tz>());
    if let Some(Err(_)) = zone {
        wrong.say("time_zone", "must be the name of a time zone such as Europe/Berlin");
    }
    // Without a zone, which is mended first, times are only looked at.
    let zone = zone.and_then(Result::ok).unwrap_or(Tz::UTC);
    let mut time = |field: &str| {
        let typed = fields.get(field)?;
        match clock::instant(typed, zone) {
            Ok(at) => Some(at),
            Err(why) => {
                wrong.say(field, why);
                None
            }
        }
    };
    let (starts_at, from, to) = (time("starts_at"), time("sale_from"), time("sale_to"));
    if starts_at.is_none() && published.is_none() && fields.get("starts_at").is_none() {
        wrong.say("starts_at", "is needed");
    }
    let mut number = |field: &str| {
        let typed = fields.get(field)?;
        let number = typed.parse::<u32>().ok();
        if number.is_none() {
            wrong.say(field, "must be a whole number, or nothing");
        }
        number
    };
    let (seats_per_order_max, seats_per_buyer_max) = (number("per_order"), number("per_buyer"));
    let (pricing, sent) = match published {
        Some(event) => (event.pricing.clone(), Sent::default()),
        None => pricing(fields, &mut wrong),
    };
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let lines = fields
        .text("performers")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let wish = Wish {
        name: fields.text("name").to_owned(),
        venue_id: match published {
            Some(event) => event.venue_id.clone().unwrap_or_default(),
            None => fields.text("venue").to_owned(),
        },
        performers: lines.map(str::to_owned).collect(),
        attributes: kept.and_then(|event| event.attributes.clone()),
        starts_at: match published {
            Some(event) => event.starts_at.clone(),
            None => starts_at.unwrap_or_default(),
        },
        time_zone: named,
        currency: match published {
            Some(event) => event.currency.clone(),
            None => fields.text("currency").to_owned(),
        },
        sale: Sale {
            starts_at: from,
            ends_at: to,
        },
        seats_per_order_max,
        seats_per_buyer_max,
        pricing,
        version: fields.get("version").and_then(|version| version.parse().ok()),
    };
    Ok((wish, sent))
}

fn pricing(fields: &Fields, wrong: &mut Wrong) -> (Pricing, Sent) {
    let sent = Sent {
        tiers: TIER.filled(fields),
        fees: FEE.filled(fields),
        taxes: TAX.filled(fields),
    };
    let mut amount = |field: String| {
        // As it is typed where decimals have a comma.
        let typed = fields.text(&field).replace(',', ".");
        let amount = typed.parse::<Amount>();
        if amount.is_err() {
            wrong.say(field, "must be an amount such as 90 or 4.50");
        }
        amount.unwrap_or_default()
    };
    let tier = |index: &usize| Tier {
        name: fields.text(&TIER.field("name", *index)).to_owned(),
        price: amount(TIER.field("price", *index)),
        places: places::read(fields.text(&TIER.field("places", *index))),
    };
    let tiers = sent.tiers.iter().map(tier).collect();
    let fee = |index: &usize| Fee {
        name: fields.text(&FEE.field("name", *index)).to_owned(),
        amount: amount(FEE.field("amount", *index)),
        per: match fields.text(&FEE.field("per", *index)) {
            "order" => Per::Order,
            _seat => Per::Seat,
        },
    };
    let fees = sent.fees.iter().map(fee).collect();
    let mut taxes = Vec::new();
    for index in &sent.taxes {
        let field = TAX.field("rate", *index);
        match percent(fields.text(&field)) {
            Some(rate) => taxes.push(Tax {
                name: fields.text(&TAX.field("name", *index)).to_owned(),
                rate,
                included: fields.get(&TAX.field("included", *index)).is_some(),
            }),
            None => wrong.say(field, "must be per cent such as 7 or 8.875"),
        }
    }
    (Pricing { tiers, fees, taxes }, sent)
}

/// Digits with at most one point between them, as JSON writes numbers.
fn percent(typed: &str) -> Option<Box<RawValue>> {
    let text = typed.trim_end_matches('%').trim().replace(',', ".");
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    RawValue::from_string(text).ok().filter(|_| is_number)
}

/// Rows of fields under one title.
pub struct Group {
    pub title: String,
    pub inputs: Vec<Input>,
}

/// The fields of the form.
pub struct Parts {
    pub what: Vec<Input>,
    pub sale: Vec<Input>,
    pub tiers: Vec<Group>,
    pub fees: Vec<Group>,
    pub taxes: Vec<Group>,
}

/// The form with what was typed. Of an event that was published, only what can still be changed.
pub fn show(fields: &Fields, wrong: &Wrong, venues: &[Venue], published: bool) -> Parts {
    let filled = Filled { fields, wrong };
    let choices = venues.iter().map(|venue| {
        let seats = crate::text::count(venue.seats, "seat");
        (
            venue.venue_id.clone(),
            format!("{}, {} ({seats})", venue.name, venue.city),
        )
    });
    let choices = [(String::new(), "Choose a venue".to_owned())]
        .into_iter()
        .chain(choices)
        .collect();
    let mut what = vec![
        filled.input("text", "name", "Name").must().most(200),
        filled
            .input("area", "performers", "Who is on stage")
            .hint("One in each line."),
    ];
    let sale = vec![
        filled
            .input("datetime-local", "sale_from", "Sale begins")
            .hint("Empty: as soon as it is published."),
        filled
            .input("datetime-local", "sale_to", "Sale ends")
            .hint("Empty: when the event begins."),
        filled
            .input("number", "per_order", "Seats of an order, at most")
            .hint("Empty: 10."),
        filled
            .input("number", "per_buyer", "Seats of a buyer, at most")
            .hint("Empty: as many as they like."),
    ];
    if published {
        return Parts {
            what,
            sale,
            tiers: Vec::new(),
            fees: Vec::new(),
            taxes: Vec::new(),
        };
    }
    what.extend([
        filled.input("select", "venue", "Venue").must().choices(choices),
        filled
            .input("datetime-local", "starts_at", "Begins")
            .must()
            .hint("By the clock of the place."),
        filled
            .input("text", "time_zone", "Time zone")
            .hint("Such as Europe/Berlin. Empty: the venue’s.")
            .most(60),
        filled
            .input("text", "currency", "Currency")
            .must()
            .hint("Three letters, such as EUR.")
            .most(3),
    ]);
    let groups = |rows: &Rows, title: &str, inputs: &dyn Fn(usize) -> Vec<Input>| {
        let group = |index: usize| Group {
            title: format!("{title} {}", index + 1),
            inputs: inputs(index),
        };
        (0..rows.shown(fields)).map(group).collect::<Vec<_>>()
    };
    let tier = |index: usize| {
        vec![
            filled.input("text", TIER.field("name", index), "Name").most(100),
            filled
                .input("text", TIER.field("price", index), "Price of a seat")
                .most(12),
            filled
                .input("area", TIER.field("places", index), "Which seats")
                .hint("A section in each line, or rows of it: “Floor: A, B”. Empty: all the rest."),
        ]
    };
    let per = || {
        vec![
            ("seat".to_owned(), "each seat".to_owned()),
            ("order".to_owned(), "the order".to_owned()),
        ]
    };
    let fee = |index: usize| {
        vec![
            filled.input("text", FEE.field("name", index), "Name").most(100),
            filled.input("text", FEE.field("amount", index), "Amount").most(12),
            filled.input("select", FEE.field("per", index), "For").choices(per()),
        ]
    };
    let tax = |index: usize| {
        vec![
            filled.input("text", TAX.field("name", index), "Name").most(100),
            filled.input("text", TAX.field("rate", index), "Per cent").most(12),
            filled.input("tick", TAX.field("included", index), "Prices contain it"),
        ]
    };
    Parts {
        what,
        sale,
        tiers: groups(&TIER, "Price", &tier),
        fees: groups(&FEE, "Fee", &fee),
        taxes: groups(&TAX, "Tax", &tax),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"eventId": "evt_1", "status": "draft", "version": 3, "name": "Tour", "venueId": "v1", "venue": "Arena", "city": "Berlin",
        "performers": ["Ada", "The Engines"], "attributes": {"age": 16.50}, "startsAt": "2031-06-12T18:00:00.000Z", "timeZone": "Europe/Berlin",
        "currency": "eur", "sale": {"startsAt": "2031-01-01T09:00:00Z", "endsAt": "2031-06-12T18:00:00Z"}, "seatsPerOrderMax": 6,
        "pricing": {"tiers": [{"name": "Front", "price": 120.50, "places": [{"section": "Floor", "rows": ["A"]}]}, {"name": "Rest", "price": 90}],
        "fees": [{"name": "Service", "amount": 4.50, "per": "order"}], "taxes": [{"name": "VAT", "rate": 7.125, "included": true}]},
        "public": "/events/evt_1"}"#;

    fn event() -> Managed {
        serde_json::from_str(EVENT).expect("it is an event")
    }

    fn venues() -> Vec<Venue> {
        let venue =
            r#"[{"venueId": "v1", "name": "Arena", "city": "Berlin", "timeZone": "Europe/Berlin", "seats": 40}]"#;
        serde_json::from_str(venue).expect("it is a venue")
    }

    #[test]
    fn an_event_that_is_not_changed_is_sent_as_it_was() {
        let event = event();
        let (wish, _) = read(&begin(&event), &venues(), Some(&event)).expect("nothing is wrong");
        let sent = serde_json::to_string(&wish).expect("it is plain data");
        assert_eq!(
            sent,
            r#"{"name":"Tour","venueId":"v1","performers":["Ada","The Engines"],"attributes":{"age": 16.50},"startsAt":"2031-06-12T18:00:00Z","timeZone":"Europe/Berlin","currency":"EUR","sale":{"startsAt":"2031-01-01T09:00:00Z"},"seatsPerOrderMax":6,"pricing":{"tiers":[{"name":"Front","price":120.50,"places":[{"section":"Floor","rows":["A"]}]},{"name":"Rest","price":90.00}],"fees":[{"name":"Service","amount":4.50,"per":"order"}],"taxes":[{"name":"VAT","rate":7.125,"included":true}]},"version":3}"#
        );
    }

    #[test]
    fn a_published_event_keeps_what_people_bought_by() {
        let event = Managed {
            status: Status::Published,
            ..event()
        };
        let typed = [
            ("name", "Other"),
            ("currency", "USD"),
            ("tier_name_0", "Cheap"),
            ("tier_price_0", "1"),
            ("version", "3"),
        ];
        let typed = typed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (wish, _) = read(&Fields::begin(typed.to_vec()), &[], Some(&event)).expect("nothing is wrong");
        assert_eq!((wish.name.as_str(), wish.currency.as_str()), ("Other", "eur"));
        assert_eq!(
            (wish.pricing.tiers.len(), wish.starts_at.as_str()),
            (2, "2031-06-12T18:00:00.000Z")
        );
    }

    #[test]
    fn mistakes_are_named_where_they_were_made() {
        let typed = [
            ("starts_at", "soon"),
            ("per_order", "many"),
            ("tier_name_1", "Front"),
            ("tier_price_1", "12.345"),
            ("tax_name_0", "VAT"),
            ("tax_rate_0", "1e3"),
        ];
        let typed = typed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = Fields::begin(typed.to_vec());
        let wrong = read(&fields, &venues(), None).expect_err("much is wrong");
        for field in ["name", "venue", "starts_at", "per_order", "tier_price_1", "tax_rate_0"] {
            assert!(!wrong.at(field).is_empty(), "{field}");
        }
        // Nothing that was typed is lost.
        let parts = show(&fields, &wrong, &venues(), false);
        assert_eq!(parts.tiers[1].inputs[1].value, "12.345");
        assert_eq!(parts.tiers.len(), 3);
    }

    #[test]
    fn the_gateway_s_places_are_the_form_s() {
        let typed = [("tier_name_2", "Front"), ("tax_rate_1", "7"), ("fee_per_0", "seat")];
        let typed = typed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = Fields::begin(typed.to_vec());
        let (_, sent) = pricing(&fields, &mut Wrong::default());
        assert_eq!(
            sent.field("/pricing/tiers/0/places/0/section").as_deref(),
            Some("tier_places_2")
        );
        assert_eq!(sent.field("/pricing/taxes/0/rate").as_deref(), Some("tax_rate_1"));
        assert_eq!(
            (sent.field("/pricing/fees/0/name"), sent.field("/attributes")),
            (None, None)
        );
        assert_eq!(sent.field("/sale/startsAt").as_deref(), Some("sale_from"));
    }
}
