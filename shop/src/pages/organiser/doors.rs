//! Passes for an event's doors.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;

use super::input::{Filled, Input, Wrong};
use super::types::{MadePass, Managed};
use super::{Head, managed_of};
use crate::api::{Ask, Failure};
use crate::pages::fields::{Fields, Form};
use crate::pages::{Frame, Page, html_with, named};
use crate::routes::Shop;
use crate::text::segment;
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser/doors.html")]
struct Doors {
    frame: Frame,
    head: Head,
    top: Vec<String>,
    event_id: String,
    made: Option<MadePass>,
    door: Input,
    hours: Input,
}

fn page(visitor: &Visitor, event: &Managed, made: Option<MadePass>, fields: &Fields, wrong: &Wrong) -> Page {
    let filled = Filled { fields, wrong };
    let mut hours = filled
        .input("number", "hours", "Good for how many hours")
        .must()
        .hint("From now on, up to 168.");
    if hours.value.is_empty() && wrong.is_empty() {
        hours.value = "12".to_owned();
    }
    let view = Doors {
        frame: Frame::new(visitor, "organiser"),
        head: Head::of(event, "/doors"),
        top: wrong.all_at(""),
        event_id: event.event_id.clone(),
        made,
        door: filled
            .input("text", "door", "Name of the door")
            .must()
            .most(200)
            .hint("It is told where a ticket was used before: North."),
        hours,
    };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    html_with(status, &view)
}

/// Shows the form.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    page(&visitor, &event, None, &Fields::default(), &Wrong::default())
}

/// Makes a pass, which is shown this once.
pub async fn make(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    let Ok(hours) = fields.text("hours").parse::<i32>() else {
        let mut wrong = Wrong::default();
        wrong.say("hours", "must be a whole number");
        return page(&visitor, &event, None, &fields, &wrong);
    };
    let wish = json!({ "door": fields.text("door"), "hours": hours });
    let ask = Ask::post(format!("/organiser/events/{}/door-passes", segment(&id)), &wish);
    match shop.api.ask::<MadePass>(&visitor.caller, ask).await {
        Ok(made) => page(&visitor, &event, Some(made), &Fields::default(), &Wrong::default()),
        Err(Failure::Refused(refusal)) if refusal.code() == "invalid" => {
            let field = |pointer: &str| Some(pointer.trim_start_matches('/').to_owned());
            page(&visitor, &event, None, &fields, &Wrong::of(&refusal, field))
        }
        Err(failure) => Err(named("event")(failure)),
    }
}
