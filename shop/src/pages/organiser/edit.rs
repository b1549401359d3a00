//! An event is made, and changed.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::event_form::{self, Group, Sent};
use super::input::{Input, Wrong};
use super::types::{Managed, Status, Venue};
use super::{Head, managed_of, path_of, venues_of};
use crate::api::{Ask, Failure};
use crate::pages::fields::{Fields, Form, Query};
use crate::pages::{Frame, Page, go, html_with, named};
use crate::routes::Shop;
use crate::text::segment;
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser/edit.html")]
struct Edit {
    frame: Frame,
    head: Option<Head>,
    action: String,
    version: String,
    wrong: bool,
    top: Vec<String>,
    no_venue: bool,
    /// Prices and the date can't be changed any more.
    published: bool,
    what: Vec<Input>,
    sale: Vec<Input>,
    tiers: Vec<Group>,
    fees: Vec<Group>,
    taxes: Vec<Group>,
}

fn page(visitor: &Visitor, event: Option<&Managed>, venues: &[Venue], fields: &Fields, wrong: &Wrong) -> Page {
    let published = event.is_some_and(|event| event.status != Status::Draft);
    let parts = event_form::show(fields, wrong, venues, published);
    let view = Edit {
        frame: Frame::new(visitor, "organiser"),
        head: event.map(|event| Head::of(event, "/edit")),
        action: match event {
            Some(event) => format!("{}/edit", path_of(&event.event_id)),
            None => "/shop/organiser/events/new".to_owned(),
        },
        version: fields.text("version").to_owned(),
        wrong: !wrong.is_empty(),
        top: wrong.all_at(""),
        no_venue: venues.is_empty() && !published,
        published,
        what: parts.what,
        sale: parts.sale,
        tiers: parts.tiers,
        fees: parts.fees,
        taxes: parts.taxes,
    };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    html_with(status, &view)
}

/// The form of a new one.
pub async fn begin(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    let venues = venues_of(&shop, &visitor).await?;
    page(&visitor, None, &venues, &fields, &Wrong::default())
}

/// Makes one: a draft, which nobody sees.
pub async fn make(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    save(&shop, &visitor, None, &fields).await
}

/// The form of one that is there.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    let venues = venues_of(&shop, &visitor).await?;
    page(
        &visitor,
        Some(&event),
        &venues,
        &event_form::begin(&event),
        &Wrong::default(),
    )
}

/// Changes it.
pub async fn change(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    save(&shop, &visitor, Some(&event), &fields).await
}

async fn save(shop: &Shop, visitor: &Visitor, event: Option<&Managed>, fields: &Fields) -> Page {
    let venues = venues_of(shop, visitor).await?;
    // More rows are asked for: nothing is saved, and nothing is wrong yet.
    if fields.get("more").is_some() {
        return page(visitor, event, &venues, fields, &Wrong::default());
    }
    let (wish, sent) = match event_form::read(fields, &venues, event) {
        Ok(read) => read,
        Err(wrong) => return page(visitor, event, &venues, fields, &wrong),
    };
    let ask = match event {
        Some(event) => Ask::put(format!("/organiser/events/{}", segment(&event.event_id)), &wish),
        None => Ask::post("/organiser/events", &wish),
    };
    match shop.api.ask::<Managed>(&visitor.caller, ask).await {
        Ok(saved) => Ok(go(&path_of(&saved.event_id))),
        Err(Failure::Refused(refusal))
            if matches!(refusal.code(), "invalid" | "malformed" | "refused" | "too-large") =>
        {
            let wrong = Wrong::of(&refusal, |pointer| known(&sent, pointer));
            page(visitor, event, &venues, fields, &wrong)
        }
        Err(failure) => Err(named("event")(failure)),
    }
}

fn known(sent: &Sent, pointer: &str) -> Option<String> {
    sent.field(pointer)
}
