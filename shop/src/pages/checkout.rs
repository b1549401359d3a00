//! The checkout: what the seats cost, how to pay, and the order itself, once however often it is sent.

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::at::At;
use super::fields::{Fields, Form};
use super::{Frame, Headline, Page, event_of, go, html_with, named};
use crate::amount::Amount;
use crate::api::{Ask, Failure, Refusal};
use crate::cards::{self, CARDS, Card};
use crate::limits::SEATS_PER_BOOKING_MAX;
use crate::options::{Guests, Payments};
use crate::routes::Shop;
use crate::text::{checkout_path, count, event_path, order_path, query, segment};
use crate::trouble::Trouble;
use crate::types::{Booking, Event, Place, Quote};
use crate::visitor::{Visitor, with_cookies};

/// Asks again while the same form, sent a moment earlier, is still being worked on.
const IN_FLIGHT_TRIES_MAX: u32 = 5;
/// Less often than the gateway answers one buyer.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(1);

#[derive(Template)]
#[template(path = "checkout.html")]
struct Checkout {
    frame: Frame,
    head: Headline,
    action: String,
    order: String,
    seats: Vec<String>,
    how_many: String,
    lines: Vec<(String, String)>,
    total: String,
    amount: Amount,
    cards: &'static [Card],
    chosen: String,
    email: Option<String>,
    languages: Vec<Choice>,
    log_in: String,
    notice: String,
    may_pay: bool,
}

/// A language that mails may be written in.
struct Choice {
    tag: &'static str,
    name: &'static str,
    is_chosen: bool,
}

/// What the gateway writes to guests in; the first is what holds where nothing is said.
const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("de", "Deutsch")];

#[derive(Template)]
#[template(path = "gone.html")]
struct Gone {
    frame: Frame,
    head: Headline,
    title: &'static str,
    message: String,
    gone: Vec<String>,
    offered: Vec<String>,
    action: String,
}

/// What `POST /bookings` wants to know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wish<'a> {
    user_id: &'a str,
    event_id: &'a str,
    seat_ids: &'a [String],
    total_amount: Amount,
    payment_method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'static str>,
}

/// Shows it. The order's key is in the address: reloading, or coming back, is the same order.
pub async fn show(at: At) -> Page {
    let At {
        shop,
        visitor,
        id,
        fields,
    } = at;
    let seats = fields.all("seat", SEATS_PER_BOOKING_MAX);
    if seats.is_empty() {
        return Ok(go(&event_path(&id)));
    }
    let path = checkout_path(&id, &seats);
    if fields.text("order").parse::<Uuid>().is_err() {
        return Ok(go(&format!("{path}&order={}", Uuid::new_v4())));
    }
    if shop.options.guests == Guests::LogIn && !visitor.is_logged_in() {
        return Ok(go(&format!("/shop/login?{}", query([("next", path.as_str())]))));
    }
    if let Turn::Waits = turn(&shop, &visitor, &id).await? {
        return Ok(wait(&shop, &visitor, &id));
    }
    page(&shop, &visitor, &id, &seats, &fields, "").await
}

/// Whether somebody may book.
enum Turn {
    /// There is no waiting room.
    Free,
    /// By this token.
    Comes(String),
    /// Not yet.
    Waits,
}

/// Where an event has a waiting room, this is one's place in it: asking again changes nothing.
async fn turn(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Turn, Trouble> {
    match place(shop, visitor, id).await? {
        None => Ok(Turn::Free),
        Some(place) if place.admitted => Ok(Turn::Comes(place.token)),
        Some(_) => Ok(Turn::Waits),
    }
}

/// A visitor's place in an event's line; none: it has no waiting room.
pub async fn place(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Option<Place>, Trouble> {
    let ask = Ask::post(
        format!("/events/{}/queue", segment(id)),
        &json!({ "userId": visitor.user_id() }),
    );
    match shop.api.ask(&visitor.caller, ask).await {
        Ok(place) => Ok(Some(place)),
        Err(failure) if failure.is("not-found") => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn wait(shop: &Shop, visitor: &Visitor, id: &str) -> Response {
    let queue = go(&format!("{}/queue", event_path(id)));
    with_cookies(visitor.remember(&shop.options, None), queue)
}

async fn page(shop: &Shop, visitor: &Visitor, id: &str, seats: &[String], fields: &Fields, notice: &str) -> Page {
    let event = event_of(shop, visitor, id).await?;
    let ask = Ask::post(format!("/events/{}/quote", segment(id)), &json!({ "seatIds": seats }));
    let quote: Quote = shop.api.ask(&visitor.caller, ask).await.map_err(named("event"))?;
    let status = match notice.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let told = |amount: Amount| amount.told(&event.currency);
    let order = fields.text("order");
    let next = format!("{}&order={order}", checkout_path(id, seats));
    let card = fields.get("card").unwrap_or(CARDS[0].method);
    let view = Checkout {
        frame: Frame::new(visitor, "events"),
        head: Headline::of(&event),
        action: format!("{}/checkout", event_path(id)),
        order: order.to_owned(),
        how_many: count(seats.len(), "seat"),
        lines: lines(&quote, &event),
        total: told(quote.total),
        amount: quote.total,
        cards: offered(card, notice),
        chosen: card.to_owned(),
        email: (!visitor.is_logged_in()).then(|| fields.text("email").to_owned()),
        languages: languages(fields.text("language"), &visitor.caller.headers),
        log_in: format!("/shop/login?{}", query([("next", next.as_str())])),
        notice: notice.to_owned(),
        may_pay: matches!(shop.options.payments, Payments::TestCards { bank_url: _ }),
        seats: seats.to_vec(),
    };
    let page = html_with(status, &view)?;
    Ok(with_cookies(visitor.remember(&shop.options, None), page))
}

/// The languages, with the one that was chosen before, or else the one that the browser names first of them.
fn languages(chosen: &str, headers: &HeaderMap) -> Vec<Choice> {
    let accepted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok());
    let ranges = accepted.unwrap_or_default().split([',', ';', '-']).map(str::trim);
    let known = |tag: &str| LANGUAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(tag));
    let of_browser = || ranges.clone().find_map(known);
    let chosen = known(chosen).or_else(of_browser).unwrap_or(&LANGUAGES[0]).0;
    let choice = |&(tag, name): &(&'static str, &'static str)| Choice {
        tag,
        name,
        is_chosen: tag == chosen,
    };
    LANGUAGES.iter().map(choice).collect()
}

/// All cards; once an order was sent that may have arrived, its card alone.
fn offered(chosen: &str, notice: &str) -> &'static [Card] {
    let at = CARDS.iter().position(|card| card.method == chosen);
    match at.filter(|_| !notice.is_empty()) {
        Some(at) => &CARDS[at..=at],
        None => &CARDS,
    }
}

fn lines(quote: &Quote, event: &Event) -> Vec<(String, String)> {
    let told = |amount: Amount| amount.told(&event.currency);
    if quote.fees.is_empty() && quote.taxes.is_empty() {
        return Vec::new();
    }
    let fees = quote.fees.iter().map(|fee| (fee.name.clone(), told(fee.amount)));
    let taxes = quote.taxes.iter().map(|tax| {
        let name = if tax.included {
            format!("{} (included)", tax.name)
        } else {
            tax.name.clone()
        };
        (name, told(tax.amount))
    });
    [("Seats".to_owned(), told(quote.seats))]
        .into_iter()
        .chain(fees)
        .chain(taxes)
        .collect()
}

/// Orders the seats.
pub async fn book(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let seats = fields.all("seat", SEATS_PER_BOOKING_MAX);
    let (card, email) = (fields.text("card"), fields.get("email"));
    let order: Uuid = fields.text("order").parse().map_err(|_| stale())?;
    let total: Amount = fields.text("total").parse().map_err(|()| stale())?;
    if seats.is_empty() || !cards::is_offered(card) || shop.options.payments == Payments::Elsewhere {
        return Err(stale());
    }
    if email.is_none() && !visitor.is_logged_in() {
        return Err(Trouble::Invalid(
            "an e-mail address is needed: the confirmation goes there".to_owned(),
        ));
    }
    let token = match turn(&shop, &visitor, &id).await? {
        Turn::Free => None,
        Turn::Comes(token) => Some(token),
        Turn::Waits => return Ok(wait(&shop, &visitor, &id)),
    };
    let wish = Wish {
        user_id: visitor.user_id(),
        event_id: &id,
        seat_ids: &seats,
        total_amount: total,
        payment_method: card,
        email: email.filter(|_| !visitor.is_logged_in()),
        // Users have said so for good, or their browser does.
        language: LANGUAGES
            .iter()
            .find(|(tag, _)| !visitor.is_logged_in() && fields.text("language") == *tag)
            .map(|(tag, _)| *tag),
    };
    match send(&shop, &visitor, &wish, order, token.as_deref()).await {
        Ok(booking) => {
            let cookies = visitor.remember(&shop.options, Some(&booking.booking_id));
            Ok(with_cookies(cookies, go(&order_path(&booking.booking_id))))
        }
        Err(failure) if failure.is("too-many-requests") => {
            let notice =
                "That was a little fast. Send it again in a moment: it is the same order, and is charged once.";
            page(&shop, &visitor, &id, &seats, &fields, notice).await
        }
        Err(Failure::Refused(refusal)) => refused(&shop, &visitor, &id, &seats, *refusal).await,
        Err(Failure::Away(_)) => {
            // It may have arrived all the same: another card would be another order.
            let notice = "We can’t tell yet whether your order has arrived: very many people are ordering. Send it again just as it is: it is the same \
                          order, and is charged once.";
            page(&shop, &visitor, &id, &seats, &fields, notice).await
        }
        Err(failure) => Err(failure.into()),
    }
}

fn stale() -> Trouble {
    Trouble::Invalid("the form is not complete: go back to the seats, and choose them again".to_owned())
}

/// Sends the order under the form's key and its card: the same form is one order; another card, once the first was declined, is another.
async fn send(
    shop: &Shop,
    visitor: &Visitor,
    wish: &Wish<'_>,
    order: Uuid,
    token: Option<&str>,
) -> Result<Booking, Failure> {
    let key = format!("shop-{order}-{}", wish.payment_method);
    let mut tries = 0;
    loop {
        let mut ask = Ask::post("/bookings", wish).header(HeaderName::from_static("idempotency-key"), &key);
        if let Some(token) = token {
            ask = ask.header(HeaderName::from_static("queue-token"), token);
        }
        match shop.api.ask(&visitor.caller, ask).await {
            Err(failure) if failure.is("idempotency-key-in-flight") && tries < IN_FLIGHT_TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(IN_FLIGHT_WAIT).await;
            }
            answer => return answer,
        }
    }
}

async fn refused(shop: &Shop, visitor: &Visitor, id: &str, seats: &[String], refusal: Refusal) -> Page {
    let (title, message) = match refusal.code() {
        "not-admitted" => return Ok(wait(shop, visitor, id)),
        "seats-unavailable" => (
            "These seats are gone",
            "Somebody was a moment faster, or an order of yours holds them already: “My orders” tells.".to_owned(),
        ),
        "seat-limit" => (
            "That would be too many seats",
            "This event allows each buyer a few seats only, and you have as many already. Nothing was charged.".to_owned(),
        ),
        "idempotency-key-reused" => (
            "This order was sent before",
            "The page that you came from belongs to an order of yours: “My orders” has it. For another one, choose the seats again.".to_owned(),
        ),
        "invalid" => ("Something has changed", format!("Nothing was ordered: {}.", refusal.told())),
        _ => return Err(Failure::Refused(Box::new(refusal)).into()),
    };
    let event = event_of(shop, visitor, id).await?;
    let gone = seats.iter().filter(|seat| refusal.unavailable_seats.contains(seat));
    let page = Gone {
        frame: Frame::new(visitor, "events"),
        head: Headline::of(&event),
        title,
        message,
        gone: gone.cloned().collect(),
        offered: refusal.available_seats,
        action: format!("{}/checkout", event_path(id)),
    };
    html_with(StatusCode::CONFLICT, &page)
}
