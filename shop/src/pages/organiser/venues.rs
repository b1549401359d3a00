//! A venue, and its seats from a file.

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use multer::{Constraints, Multipart, SizeLimit};
use serde_json::{Map, Value, json};

use super::input::{Filled, Input, Wrong};
use super::types::Venue;
use crate::api::{Ask, Failure};
use crate::limits::{SEATS_FORM_BYTES_MAX, SEATS_FORM_LIMIT, SEATS_SHOWN_BYTES_MAX};
use crate::pages::fields::{Fields, Form, Query};
use crate::pages::{Frame, Page, go, html, html_with, named};
use crate::routes::Shop;
use crate::text::{count, query, segment};
use crate::trouble::Trouble;
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser/venue_new.html")]
struct NewVenue {
    frame: Frame,
    top: Vec<String>,
    inputs: Vec<Input>,
}

#[derive(Template)]
#[template(path = "organiser/venue.html")]
struct VenueView {
    frame: Frame,
    name: String,
    place: String,
    seats: String,
    has_seats: bool,
    done: bool,
    wrong: Vec<String>,
    text: String,
    too_large: bool,
    path: String,
    event: String,
}

fn form_of(visitor: &Visitor, fields: &Fields, wrong: &Wrong) -> Page {
    let filled = Filled { fields, wrong };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let inputs = vec![
        filled.input("text", "name", "Name").must().most(200),
        filled.input("text", "city", "City").must().most(200),
        filled
            .input("text", "time_zone", "Time zone")
            .must()
            .hint("Such as Europe/Berlin.")
            .most(60),
        filled
            .input("text", "stage_x", "Stage, x")
            .hint("In the unit of your seats’ coordinates. Empty: 0."),
        filled
            .input("text", "stage_y", "Stage, y")
            .hint("Seats near it are the best ones."),
    ];
    let page = NewVenue {
        frame: Frame::new(visitor, "organiser"),
        top: wrong.all_at(""),
        inputs,
    };
    html_with(status, &page)
}

/// The form of a new one.
pub async fn form(Extension(visitor): Extension<Visitor>) -> Page {
    form_of(&visitor, &Fields::default(), &Wrong::default())
}

/// Makes one.
pub async fn make(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    let mut wrong = Wrong::default();
    let mut coordinate = |field: &str| {
        let typed = fields.text(field).replace(',', ".");
        let number = if typed.is_empty() {
            Some(0.0)
        } else {
            typed.parse::<f64>().ok()
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            wrong.say(field, "must be a number");
        }
        number.unwrap_or_default()
    };
    let stage = json!({ "x": coordinate("stage_x"), "y": coordinate("stage_y") });
    if !wrong.is_empty() {
        return form_of(&visitor, &fields, &wrong);
    }
    let mut venue = Map::new();
    for (name, field) in [("name", "name"), ("city", "city"), ("timeZone", "time_zone")] {
        venue.insert(name.to_owned(), Value::from(fields.text(field)));
    }
    venue.insert("stage".to_owned(), stage);
    let ask = Ask::post("/organiser/venues", &venue);
    match shop.api.ask::<Venue>(&visitor.caller, ask).await {
        Ok(venue) => Ok(go(&format!("/shop/organiser/venues/{}", segment(&venue.venue_id)))),
        Err(Failure::Refused(refusal)) if refusal.code() == "invalid" => {
            let field = |pointer: &str| match pointer {
                "/name" => Some("name".to_owned()),
                "/city" => Some("city".to_owned()),
                "/timeZone" => Some("time_zone".to_owned()),
                "/stage/x" => Some("stage_x".to_owned()),
                "/stage/y" => Some("stage_y".to_owned()),
                _ => None,
            };
            form_of(&visitor, &fields, &Wrong::of(&refusal, field))
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn venue_of(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Venue, Trouble> {
    let ask = Ask::get(format!("/organiser/venues/{}", segment(id)));
    shop.api.ask(&visitor.caller, ask).await.map_err(named("venue"))
}

fn view(visitor: &Visitor, venue: &Venue) -> VenueView {
    VenueView {
        frame: Frame::new(visitor, "organiser"),
        name: venue.name.clone(),
        place: format!("{} · {}", venue.city, venue.time_zone),
        seats: count(venue.seats, "seat"),
        has_seats: venue.seats > 0,
        done: false,
        wrong: Vec::new(),
        text: String::new(),
        too_large: false,
        path: format!("/shop/organiser/venues/{}", segment(&venue.venue_id)),
        event: format!(
            "/shop/organiser/events/new?{}",
            query([("venue", venue.venue_id.as_str())])
        ),
    }
}

/// Shows one.
pub async fn show(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(fields): Query,
) -> Page {
    let venue = venue_of(&shop, &visitor, &id).await?;
    html(&VenueView {
        done: fields.get("done").is_some(),
        ..view(&visitor, &venue)
    })
}

/// Gives it its seats: from a file, or as they were pasted.
pub async fn fill(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    request: Request,
) -> Page {
    // Who may not, sends nothing that would take room.
    let venue = venue_of(&shop, &visitor, &id).await?;
    let Ok(_room) = shop.seat_files.try_acquire() else {
        return Err(Trouble::Away);
    };
    let read = tokio::time::timeout(SEATS_FORM_LIMIT, seats_in(request));
    let seats = read.await.unwrap_or_else(|_| {
        Err(Trouble::Invalid(
            "the file took too long to arrive: send it again".to_owned(),
        ))
    })?;
    let mut view = view(&visitor, &venue);
    if seats.is_empty() {
        view.wrong.push("Choose a file, or paste its lines.".to_owned());
        return html_with(StatusCode::UNPROCESSABLE_ENTITY, &view);
    }
    let is_json = seats.trim_ascii_start().first() == Some(&b'{');
    let kind = if is_json {
        "application/json"
    } else {
        "text/csv; charset=utf-8"
    };
    let path = format!("/organiser/venues/{}/seats", segment(&id));
    match shop
        .api
        .ask::<Venue>(&visitor.caller, Ask::put_file(path, kind, seats.clone()))
        .await
    {
        Ok(_filled) => Ok(go(&format!("{}?done=1", view.path))),
        Err(Failure::Refused(refusal)) if matches!(refusal.code(), "invalid" | "malformed" | "too-large") => {
            view.wrong = match refusal.errors.is_empty() {
                true => vec![refusal.detail],
                false => refusal.errors.iter().map(|error| error.told()).collect(),
            };
            // Mended here, where it fits on the page.
            let text = std::str::from_utf8(&seats)
                .ok()
                .filter(|text| text.len() <= SEATS_SHOWN_BYTES_MAX);
            view.too_large = text.is_none();
            view.text = text.unwrap_or_default().to_owned();
            html_with(StatusCode::UNPROCESSABLE_ENTITY, &view)
        }
        Err(failure) => Err(named("venue")(failure)),
    }
}

/// The file of a form, or else the text of it.
async fn seats_in(request: Request) -> Result<Bytes, Trouble> {
    let odd = || Trouble::Invalid("the form did not arrive as a whole, or its file is larger than 16 MiB".to_owned());
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| odd())?;
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(SEATS_FORM_BYTES_MAX));
    let mut parts = Multipart::with_constraints(request.into_body().into_data_stream(), boundary, limits);
    let (mut file, mut text) = (Bytes::new(), Bytes::new());
    while let Some(part) = parts.next_field().await.map_err(|_| odd())? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|_| odd())?;
        match name.as_str() {
            "file" => file = bytes,
            "text" => text = bytes,
            _other => {}
        }
    }
    let is_blank = |bytes: &Bytes| bytes.trim_ascii().is_empty();
    Ok(match (is_blank(&file), is_blank(&text)) {
        (false, _) => file,
        (true, false) => text,
        (true, true) => Bytes::new(),
    })
}
