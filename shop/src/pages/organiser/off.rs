//! An event is called off, and its refunds are seen through.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;

use super::input::{Filled, Input, Wrong};
use super::types::{Cancellation, CancellationStatus, Managed, Status};
use super::{Head, managed_of, path_of};
use crate::api::{Ask, Failure};
use crate::limits::SALES_MS;
use crate::pages::fields::{Fields, Form};
use crate::pages::{Frame, Page, go, html_with, named};
use crate::routes::Shop;
use crate::text::segment;
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser/off.html")]
struct Off {
    frame: Frame,
    head: Head,
    look_again: u32,
    standing: Option<Standing>,
    /// It was a draft, or isn't seen to yet.
    is_over: bool,
    reason: Input,
    sure: Input,
}

/// How far its bookings are.
struct Standing {
    title: &'static str,
    tone: &'static str,
    goes_on: bool,
    why: String,
    done: i64,
    total: i64,
    refunded: i64,
    cancelled: i64,
    money: String,
}

async fn page(shop: &Shop, visitor: &Visitor, event: &Managed, fields: &Fields, wrong: &Wrong) -> Page {
    let standing = match event.status {
        Status::Cancelled => standing(shop, visitor, event).await?,
        _ => None,
    };
    let filled = Filled { fields, wrong };
    let view = Off {
        frame: Frame::new(visitor, "organiser"),
        head: Head::of(event, "/off"),
        look_again: SALES_MS,
        is_over: event.status == Status::Cancelled,
        standing,
        reason: filled
            .input("text", "reason", "Why")
            .must()
            .most(200)
            .hint("For your team; what buyers are told is that it is called off."),
        sure: filled
            .input("tick", "sure", "Call it off for good, and pay everybody back")
            .must(),
    };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    html_with(status, &view)
}

async fn standing(shop: &Shop, visitor: &Visitor, event: &Managed) -> Result<Option<Standing>, Failure> {
    let ask = Ask::get(format!("/events/{}/cancellation", segment(&event.event_id)));
    let said: Cancellation = match shop.api.ask(&visitor.caller, ask).await {
        Ok(said) => said,
        // It was dropped as a draft.
        Err(failure) if failure.is("not-found") => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (title, tone, goes_on) = match said.status {
        CancellationStatus::Settling => ("Money is going back", "busy", true),
        CancellationStatus::Finished => ("Everybody has been paid back", "good", false),
    };
    Ok(Some(Standing {
        title,
        tone,
        goes_on,
        why: said.reason,
        done: said.bookings.refunded + said.bookings.cancelled,
        total: said.bookings.total,
        refunded: said.bookings.refunded,
        cancelled: said.bookings.cancelled,
        money: said.refunded_amount.told(&event.currency),
    }))
}

/// Shows the form, or how far it is.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    page(&shop, &visitor, &event, &Fields::default(), &Wrong::default()).await
}

/// Calls it off; once more changes nothing.
pub async fn call(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    let mut wrong = Wrong::default();
    if fields.get("sure").is_none() {
        wrong.say("sure", "must be ticked: this can’t be undone");
    }
    if fields.get("reason").is_none() {
        wrong.say("reason", "is needed");
    }
    if !wrong.is_empty() {
        return page(&shop, &visitor, &event, &fields, &wrong).await;
    }
    let ask = Ask::post(
        format!("/events/{}/cancel", segment(&id)),
        &json!({ "reason": fields.text("reason") }),
    );
    match shop.api.tell(&visitor.caller, ask).await {
        Ok(()) => Ok(go(&format!("{}/off", path_of(&id)))),
        Err(Failure::Refused(refusal)) if refusal.code() == "invalid" => {
            let wrong = Wrong::of(&refusal, |_| Some("reason".to_owned()));
            page(&shop, &visitor, &event, &fields, &wrong).await
        }
        Err(failure) => Err(named("event")(failure)),
    }
}
