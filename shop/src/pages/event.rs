//! An event: its sections, its seats to choose from, and how those change.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::at::At;
use super::glances::Glance;
use super::home::status_words;
use super::{Frame, Headline, Page, event_of, go, html, named, passed_on, svg};
use crate::amount::Amount;
use crate::api::Ask;
use crate::limits::{MAP_SEATS_MAX, SEAT_LIST_BYTES_MAX, SEATS_AT_ONCE_MAX, SEATS_PER_BOOKING_MAX};
use crate::map;
use crate::routes::Shop;
use crate::text::{When, checkout_path, count, event_path, query, seat_label, segment};
use crate::trouble::Trouble;
use crate::types::{Best, Event, Seat, SeatList, SeatStatus, Section};
use crate::visitor::Visitor;

/// Which moment a list of seats shows.
const SEATS_VERSION: &str = "seats-version";
/// The markup around a seat in the list, about.
const SEAT_BYTES: usize = 90;

#[derive(Template)]
#[template(path = "event.html")]
struct EventView {
    frame: Frame,
    head: Headline,
    performers: String,
    sold_by: &'static str,
    on_sale: bool,
    notice: String,
    from: String,
    each: String,
    currency: String,
    fees: bool,
    counts: Vec<usize>,
    limit: usize,
    sections: Vec<SectionRow>,
    chosen: Option<Chosen>,
    taken: bool,
}

struct SectionRow {
    name: String,
    href: String,
    price: String,
    left: String,
    here: bool,
}

/// The seats that one can choose from.
struct Chosen {
    title: String,
    map: String,
    picture: String,
    live: String,
    groups: Vec<Group>,
    rest: Vec<(String, String)>,
    all_gone: bool,
}

/// Seats of a row that cost the same.
struct Group {
    title: String,
    price: String,
    amount: Amount,
    seats: Vec<(String, String)>,
}

/// Shows it.
pub async fn show(at: At) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let event = event_of(&shop, &visitor, &id).await?;
    let seats = count_of(&event, None);
    let on_sale = event.status == "on_sale";
    let section = fields.get("section");
    let shown = on_sale && seats > 0 && (section.is_some() || seats <= SEATS_AT_ONCE_MAX);
    let chosen = match shown {
        true => Some(chosen(&shop, &visitor, &event, section, fields.get("row")).await?),
        false => None,
    };
    let limit = event
        .seats_per_order_max
        .unwrap_or(SEATS_PER_BOOKING_MAX)
        .min(SEATS_PER_BOOKING_MAX);
    let glance = Glance::of(&event);
    html(&EventView {
        frame: Frame::new(&visitor, "events"),
        head: Headline::of(&event),
        performers: event.performers.join(", "),
        sold_by: status_words(&event.status),
        on_sale,
        notice: notice(&event, glance),
        from: glance.from.map(|from| from.told(&event.currency)).unwrap_or_default(),
        currency: event.currency.to_uppercase(),
        each: event
            .seats_per_buyer_max
            .map(|max| format!("Each buyer may have {}.", count(max, "seat")))
            .unwrap_or_default(),
        fees: !event.fees.is_empty(),
        counts: (1..=limit).collect(),
        limit,
        sections: event.sections.iter().map(|it| row(&event, it, section)).collect(),
        chosen,
        taken: fields.get("taken").is_some(),
    })
}

/// What is to be known before one chooses.
fn notice(event: &Event, glance: Glance) -> String {
    match event.status.as_str() {
        "on_sale" if glance.available == 0 => {
            "All seats are sold or held just now. Some come back when others don't pay for theirs: look again in a few minutes.".to_owned()
        }
        "on_sale" => String::new(),
        "upcoming" => match &event.sale_starts_at {
            Some(at) => {
                let when = When::of(at);
                format!("The sale begins on {} at {} (UTC).", when.day, when.time)
            }
            None => "The sale has not begun yet.".to_owned(),
        },
        "postponed" => match &event.postponed_from {
            Some(_) => "This event is postponed. Tickets that were bought stay good for its new date.".to_owned(),
            None => "This event is postponed. It is sold again once it has a new date.".to_owned(),
        },
        "cancelled" => "This event is called off. Everybody who has tickets gets the money back, without doing anything.".to_owned(),
        _ => "The sale is closed.".to_owned(),
    }
}

fn row(event: &Event, section: &Section, here: Option<&str>) -> SectionRow {
    let (from, to) = (
        section.price_min.told(&event.currency),
        section.price_max.told(&event.currency),
    );
    SectionRow {
        name: section.section.clone(),
        href: format!(
            "{}?{}#seats",
            event_path(&event.event_id),
            query([("section", section.section.as_str())])
        ),
        price: if from == to { from } else { format!("{from} – {to}") },
        left: match section.available {
            0 => "sold out".to_owned(),
            available => format!("{} left", count(available, "seat")),
        },
        here: here == Some(section.section.as_str()),
    }
}

async fn seats_of(
    shop: &Shop,
    visitor: &Visitor,
    id: &str,
    section: Option<&str>,
) -> Result<(HeaderMap, SeatList), Trouble> {
    let filter = query(section.map(|section| ("section", section)));
    let ask = Ask::get(format!("/events/{}/seats?{filter}", segment(id)));
    shop.api.ask_with(&visitor.caller, ask).await.map_err(named("event"))
}

/// How many seats there are; in this section, if there is one.
fn count_of(event: &Event, section: Option<&str>) -> usize {
    let sections = event.sections.iter();
    let wanted = sections.filter(|it| section.is_none_or(|name| it.section == name));
    wanted.map(|section| section.seats).sum()
}

async fn chosen(
    shop: &Shop,
    visitor: &Visitor,
    event: &Event,
    section: Option<&str>,
    row: Option<&str>,
) -> Result<Chosen, Trouble> {
    let (headers, list) = seats_of(shop, visitor, &event.event_id, section).await?;
    let version = headers
        .get(SEATS_VERSION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let path = event_path(&event.event_id);
    let filter = query(section.map(|section| ("section", section)));
    let (groups, rest) = groups(&list.seats, &event.currency, row);
    let rest = rest.into_iter().map(|row| {
        let pairs = section
            .map(|section| ("section", section))
            .into_iter()
            .chain([("row", row.as_str())]);
        let href = format!("{path}?{}#seats", query(pairs));
        (row.clone(), href)
    });
    Ok(Chosen {
        title: section.map_or_else(|| "All seats".to_owned(), |section| format!("Section {section}")),
        map: match list.seats.len() <= MAP_SEATS_MAX {
            true => format!("{path}/map?{filter}"),
            false => String::new(),
        },
        picture: format!("{path}/picture?{filter}"),
        live: format!("{path}/live?{}", query([("after", version)])),
        all_gone: groups.is_empty(),
        rest: rest.collect(),
        groups,
    })
}

/// The free seats by row and price, as far as a page has room; and the rows that are left for other pages.
fn groups(seats: &[Seat], currency: &str, only: Option<&str>) -> (Vec<Group>, Vec<String>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut rest: Vec<String> = Vec::new();
    let mut bytes = 0;
    let free = seats.iter().filter(|seat| seat.status == SeatStatus::Available);
    for seat in free.filter(|seat| only.is_none_or(|row| seat.row == row)) {
        bytes += SEAT_BYTES + 2 * seat.seat_id.len();
        if bytes > SEAT_LIST_BYTES_MAX {
            if !rest.contains(&seat.row) {
                rest.push(seat.row.clone());
            }
            continue;
        }
        let title = format!("{}, row {}", seat.section, seat.row);
        let entry = (seat.seat_id.clone(), label(seat));
        match groups
            .last_mut()
            .filter(|last| last.title == title && last.amount == seat.price)
        {
            Some(group) => group.seats.push(entry),
            None => groups.push(Group {
                title,
                price: seat.price.told(currency),
                amount: seat.price,
                seats: vec![entry],
            }),
        }
    }
    (groups, rest)
}

fn label(seat: &Seat) -> String {
    let number = seat_label(&seat.seat_id);
    match seat.marks.is_empty() {
        true => number.to_owned(),
        false => format!("{number} ({})", seat.marks.join(", ").replace('_', " ")),
    }
}

/// Finds the best seats, and goes to their checkout.
pub async fn best(at: At) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let mut wish = Map::new();
    let number: usize = fields.text("count").parse().unwrap_or(2);
    wish.insert("count".to_owned(), json!(number));
    if let Some(max) = fields.get("max") {
        let max: Amount = max
            .parse()
            .map_err(|()| Trouble::Invalid("the highest price is a number such as 120 or 99.50".to_owned()))?;
        wish.insert("maxPrice".to_owned(), serde_json::to_value(max).unwrap_or(Value::Null));
    }
    if fields.get("accessible").is_some() {
        wish.insert("accessible".to_owned(), json!(true));
    }
    if let Some(section) = fields.get("section") {
        wish.insert("section".to_owned(), json!(section));
    }
    let ask = Ask::post(format!("/events/{}/best-available", segment(&id)), &wish);
    match shop.api.ask::<Best>(&visitor.caller, ask).await {
        Ok(best) => Ok(go(&checkout_path(&id, &best.seat_ids))),
        Err(failure) if failure.is("seats-unavailable") => Ok(go(&format!("{}?taken=1", event_path(&id)))),
        Err(failure) => Err(named("event")(failure)),
    }
}

/// The seats as a picture that a script makes one to choose from.
pub async fn map(at: At) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let event = event_of(&shop, &visitor, &id).await?;
    let section = fields.get("section");
    // Before they are asked for: a stadium's list takes megabytes to read.
    if count_of(&event, section) > MAP_SEATS_MAX {
        return Err(Trouble::NotFound("map of so many seats"));
    }
    let (headers, list) = seats_of(&shop, &visitor, &id, section).await?;
    let mut response = svg(map::draw(&list.seats, &event.currency));
    if let Some(version) = headers.get(SEATS_VERSION) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(SEATS_VERSION), version.clone());
    }
    Ok(response)
}

/// The seats as a picture to look at.
pub async fn picture(at: At) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let filter = query(fields.get("section").map(|section| ("section", section)));
    let ask = Ask::get(format!("/events/{}/seats.svg?{filter}", segment(&id)));
    let answer = shop.api.open(&visitor.caller, ask).await.map_err(named("event"))?;
    Ok(passed_on(answer))
}

/// How the seats change.
pub async fn live(at: At, headers: HeaderMap) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let after = query(fields.get("after").map(|after| ("after", after)));
    let mut ask = Ask::get(format!("/events/{}/seats/live?{after}", segment(&id)));
    if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        ask = ask.header(HeaderName::from_static("last-event-id"), last);
    }
    let answer = shop.api.open(&visitor.caller, ask).await.map_err(named("event"))?;
    Ok(stream(answer))
}

/// A stream of events, passed on.
pub fn stream(answer: Response) -> Response {
    let mut response = passed_on(answer);
    let fresh = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    response
}
