//! One's orders: a user's, as the gateway knows them; a guest's, as this browser does; and looking one up.

use std::collections::HashMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use futures::future::join_all;
use serde_json::json;

use super::fields::{Form, Query};
use super::{Frame, Headline, Page, event_of, go, html_with};
use crate::api::Ask;
use crate::routes::Shop;
use crate::text::{When, order_path, query};
use crate::trouble::Trouble;
use crate::types::{Booking, BookingPage, BookingStatus, Event, Standing};
use crate::visitor::{Visitor, with_cookies};

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersView {
    frame: Frame,
    orders: Vec<OrderRow>,
    more: String,
    problem: String,
    number: String,
    email: String,
}

struct OrderRow {
    head: Headline,
    href: String,
    standing: &'static str,
    tone: &'static str,
    made: String,
}

/// What is shown of an order in the list.
struct Known {
    id: String,
    event_id: String,
    standing: Standing,
    made: String,
}

/// Shows them.
pub async fn list(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    page(
        &shop,
        &visitor,
        StatusCode::OK,
        fields.get("cursor"),
        Searched::default(),
    )
    .await
}

/// What was looked for in vain.
#[derive(Default)]
struct Searched {
    problem: String,
    number: String,
    email: String,
}

async fn page(shop: &Shop, visitor: &Visitor, status: StatusCode, cursor: Option<&str>, searched: Searched) -> Page {
    let (known, next) = match visitor.is_logged_in() {
        true => of_user(shop, visitor, cursor).await?,
        false => (of_guest(shop, visitor).await?, None),
    };
    let events = events(shop, visitor, &known).await?;
    let row = |known: &Known| {
        let event = events.get(&known.event_id)?;
        let (standing, tone) = match known.standing {
            Standing::UnderWay => ("Under way", "busy"),
            Standing::Confirmed => ("Confirmed", "good"),
            Standing::Ended => ("Ended", "wait"),
        };
        Some(OrderRow {
            head: Headline::of(event),
            href: order_path(&known.id),
            standing,
            tone,
            made: known.made.clone(),
        })
    };
    let view = OrdersView {
        frame: Frame::new(visitor, "orders"),
        orders: known.iter().filter_map(row).collect(),
        more: next
            .map(|next| format!("/shop/orders?{}", query([("cursor", next.as_str())])))
            .unwrap_or_default(),
        problem: searched.problem,
        number: searched.number,
        email: searched.email,
    };
    html_with(status, &view)
}

async fn of_user(
    shop: &Shop,
    visitor: &Visitor,
    cursor: Option<&str>,
) -> Result<(Vec<Known>, Option<String>), Trouble> {
    let ask = Ask::get(format!("/bookings?{}", query(cursor.map(|cursor| ("cursor", cursor)))));
    let page: BookingPage = shop.api.ask(&visitor.caller, ask).await?;
    let known = page.bookings.into_iter().map(|booking| Known {
        id: booking.booking_id,
        event_id: booking.event_id,
        standing: booking.standing,
        made: When::of(&booking.created_at).day,
    });
    Ok((known.collect(), page.next))
}

/// Those that this browser remembers, all at once: they are few.
async fn of_guest(shop: &Shop, visitor: &Visitor) -> Result<Vec<Known>, Trouble> {
    let asked = visitor.orders().iter().map(|id| {
        let ask = Ask::get(format!("/bookings/{id}"));
        shop.api.ask::<Booking>(&visitor.caller, ask)
    });
    let mut known = Vec::new();
    for booking in join_all(asked).await {
        match booking {
            Ok(booking) => known.push(Known {
                standing: match booking.status {
                    BookingStatus::Initiated | BookingStatus::Reserved | BookingStatus::Paying => Standing::UnderWay,
                    BookingStatus::Confirmed => Standing::Confirmed,
                    BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => Standing::Ended,
                },
                id: booking.booking_id,
                event_id: booking.event_id,
                made: String::new(),
            }),
            // Removed since.
            Err(failure) if failure.is("not-found") => (),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(known)
}

/// Each event that is spoken of, asked for once.
async fn events(shop: &Shop, visitor: &Visitor, known: &[Known]) -> Result<HashMap<String, Event>, Trouble> {
    let mut ids: Vec<&str> = known.iter().map(|known| known.event_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let asked = ids.into_iter().map(|id| event_of(shop, visitor, id));
    let mut events = HashMap::new();
    for event in join_all(asked).await {
        match event {
            Ok(event) => {
                events.insert(event.event_id.clone(), event);
            }
            // Removed since. Any other trouble must not look as if there were no orders.
            Err(Trouble::NotFound(_)) => (),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(events)
}

/// Finds a guest's order by its number and its address; from then on this browser knows it.
pub async fn look_up(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    let wish = json!({ "confirmationNumber": fields.text("number"), "email": fields.text("email") });
    match shop
        .api
        .ask::<Booking>(&visitor.caller, Ask::post("/orders/lookup", &wish))
        .await
    {
        Ok(booking) => {
            let cookies = visitor.remember(&shop.options, Some(&booking.booking_id));
            Ok(with_cookies(cookies, go(&order_path(&booking.booking_id))))
        }
        Err(failure) if failure.is("not-found") || failure.is("invalid") => {
            let searched = Searched {
                problem: "No order made without a login has this number and this address. Both are in the confirmation’s mail.".to_owned(),
                number: fields.text("number").to_owned(),
                email: fields.text("email").to_owned(),
            };
            page(&shop, &visitor, StatusCode::NOT_FOUND, None, searched).await
        }
        Err(failure) => Err(failure.into()),
    }
}
