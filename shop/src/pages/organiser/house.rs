//! Seats that the house keeps, and lets go.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, json};

use super::input::{Filled, Input, Wrong};
use super::types::{HouseSeats, Managed};
use super::{Head, managed_of, path_of};
use crate::api::{Ask, Failure};
use crate::pages::fields::{Fields, Form, Query};
use crate::pages::{Frame, Page, event_of, go, html_with, named};
use crate::routes::Shop;
use crate::text::{count, query, segment};
use crate::visitor::Visitor;

/// Taken seats that are named where they can't be kept.
const TAKEN_NAMED: usize = 20;

#[derive(Template)]
#[template(path = "organiser/house.html")]
struct House {
    frame: Frame,
    head: Head,
    top: Vec<String>,
    done: String,
    seats: Input,
    section: Input,
    rows: Input,
}

async fn page(shop: &Shop, visitor: &Visitor, event: &Managed, fields: &Fields, wrong: &Wrong) -> Page {
    let public = event_of(shop, visitor, &event.event_id).await?;
    let filled = Filled { fields, wrong };
    let any = [(String::new(), "None: the seats above".to_owned())];
    let sections = public.sections.iter().map(|section| {
        let text = format!("{} ({} free)", section.section, section.available);
        (section.section.clone(), text)
    });
    let done = fields.get("done").and_then(|done| done.parse::<usize>().ok());
    let view = House {
        frame: Frame::new(visitor, "organiser"),
        head: Head::of(event, "/house"),
        top: wrong.all_at(""),
        done: match (done, fields.text("deed")) {
            (Some(number), "release") => format!("{} let go: buyers can have them now.", count(number, "seat")),
            (Some(number), _keep) => format!("{} kept for the house.", count(number, "seat")),
            (None, _) => String::new(),
        },
        seats: filled
            .input("area", "seats", "Seats, by name")
            .hint("With blanks, commas or new lines between them: Floor-A-1 Floor-A-2."),
        section: filled
            .input("select", "section", "Or a section")
            .choices(any.into_iter().chain(sections).collect()),
        rows: filled
            .input("text", "rows", "Only these rows of it")
            .hint("With commas between them. Empty: all of it."),
    };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    html_with(status, &view)
}

/// Shows the form, and what became of the last one.
pub async fn show(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(fields): Query,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    page(&shop, &visitor, &event, &fields, &Wrong::default()).await
}

fn parted(text: &str, at: impl Fn(char) -> bool) -> Vec<String> {
    let parts = text.split(at).map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// Keeps seats, or lets them go.
pub async fn act(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    let mut wish = Map::new();
    // A seat's name may have a blank in it, so lines and commas come first.
    let has_lines = fields.text("seats").contains(['\n', ',', ';']);
    let seats = parted(fields.text("seats"), |char| match has_lines {
        true => matches!(char, '\n' | ',' | ';'),
        false => char.is_whitespace(),
    });
    if !seats.is_empty() {
        wish.insert("seatIds".to_owned(), json!(seats));
    }
    if let Some(section) = fields.get("section") {
        wish.insert("section".to_owned(), json!(section));
    }
    let rows = parted(fields.text("rows"), |char| char == ',');
    if !rows.is_empty() {
        wish.insert("rows".to_owned(), json!(rows));
    }
    let deed = match fields.text("deed") {
        "release" => "release",
        _keep => "keep",
    };
    let path = format!("/organiser/events/{}/house-seats", segment(&id));
    let path = if deed == "release" {
        format!("{path}/release")
    } else {
        path
    };
    match shop
        .api
        .ask::<HouseSeats>(&visitor.caller, Ask::post(path, &wish))
        .await
    {
        Ok(done) => {
            let number = done.seat_ids.len().to_string();
            let said = query([("deed", deed), ("done", number.as_str())]);
            Ok(go(&format!("{}/house?{said}", path_of(&id))))
        }
        Err(Failure::Refused(refusal)) if refusal.code() == "seats-unavailable" => {
            let mut wrong = Wrong::default();
            let named = refusal
                .unavailable_seats
                .iter()
                .take(TAKEN_NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let more = refusal.unavailable_seats.len().saturating_sub(TAKEN_NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            wrong.say("", format!("Nothing was kept: somebody has {named}{more}."));
            page(&shop, &visitor, &event, &fields, &wrong).await
        }
        Err(Failure::Refused(refusal)) if matches!(refusal.code(), "invalid" | "malformed" | "refused") => {
            let field = |pointer: &str| match pointer.split('/').nth(1) {
                Some("seatIds") => Some("seats".to_owned()),
                Some("section") => Some("section".to_owned()),
                Some("rows") => Some("rows".to_owned()),
                _ => None,
            };
            let mut wrong = Wrong::of(&refusal, field);
            if seats.is_empty() == fields.get("section").is_none() {
                wrong = Wrong::default();
                wrong.say("", "Name seats, or choose a section: one of both.");
            }
            page(&shop, &visitor, &event, &fields, &wrong).await
        }
        Err(failure) => Err(named("event")(failure)),
    }
}
