//! At the door: a pass, a code, a verdict.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use serde_json::json;
use uuid::Uuid;

use super::fields::Form;
use super::{Frame, Page, go, html, named};
use crate::api::{Ask, Failure};
use crate::limits::{COOKIE_BYTES_MAX, DOOR_SECONDS};
use crate::routes::Shop;
use crate::text::{When, seat_label, segment};
use crate::trouble::Trouble;
use crate::types::{CheckIn, CheckIns, DoorProgress, Verdict};
use crate::visitor::{Visitor, cookie, with_cookies};

/// `event:pass`, the event's id in hexadecimal digits.
const DOOR: &str = "sagaline_door";

#[derive(Template)]
#[template(path = "door.html")]
struct DoorView {
    frame: Frame,
    progress: Option<DoorProgress>,
    scan: Uuid,
    verdict: Option<Told>,
}

struct Told {
    tone: &'static str,
    title: &'static str,
    place: String,
    message: String,
    /// The code, where letting in by it can be taken back.
    undo: String,
}

/// Whose door this browser is at.
struct Door {
    event: String,
    pass: String,
}

impl Door {
    fn of(headers: &HeaderMap) -> Option<Door> {
        let value = web::cookie(headers, DOOR).filter(|value| value.len() <= COOKIE_BYTES_MAX)?;
        let (event, pass) = value.split_once(':')?;
        Some(Door {
            event: String::from_utf8(hex::decode(event).ok()?).ok()?,
            pass: pass.to_owned(),
        })
    }

    fn cookie(&self, shop: &Shop) -> HeaderValue {
        let value = format!("{}:{}", hex::encode(&self.event), self.pass);
        cookie(&shop.options, DOOR, &value, DOOR_SECONDS)
    }
}

/// Shows it.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, headers: HeaderMap) -> Page {
    match page(&shop, &visitor, Door::of(&headers), None).await {
        // A pass whose time is over is none: another one can be entered.
        Err(Trouble::Forbidden(_)) => {
            let page = page(&shop, &visitor, None, None).await?;
            Ok(with_cookies(vec![cookie(&shop.options, DOOR, "", 0)], page))
        }
        shown => shown,
    }
}

async fn page(shop: &Shop, visitor: &Visitor, door: Option<Door>, verdict: Option<Told>) -> Page {
    let progress = match &door {
        Some(door) => Some(progress(shop, visitor, door).await?),
        None => None,
    };
    html(&DoorView {
        frame: Frame::new(visitor, "door"),
        progress,
        scan: Uuid::new_v4(),
        verdict,
    })
}

async fn progress(shop: &Shop, visitor: &Visitor, door: &Door) -> Result<DoorProgress, Trouble> {
    let ask = Ask::get(format!("/events/{}/check-ins", segment(&door.event)));
    let said = shop.api.ask(&visitor.caller.with(&door.pass), ask).await;
    said.map_err(no_pass)
}

/// It is the door's pass that isn't good, not the login of whoever stands there.
fn no_pass(failure: Failure) -> Trouble {
    match failure.is("no-token") {
        true => Trouble::Forbidden(
            "this pass is not good for this event, or its time is over: ask for another one, and enter it at the door’s page"
                .to_owned(),
        ),
        false => named("event")(failure),
    }
}

/// Takes a pass, if it is good.
pub async fn come(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    if fields.get("leave").is_some() {
        return Ok(with_cookies(vec![cookie(&shop.options, DOOR, "", 0)], go("/shop/door")));
    }
    let door = Door {
        event: fields.text("event").to_owned(),
        pass: fields.text("pass").to_owned(),
    };
    progress(&shop, &visitor, &door).await?;
    Ok(with_cookies(vec![door.cookie(&shop)], go("/shop/door")))
}

/// Checks a ticket.
pub async fn check(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Form(fields): Form,
) -> Page {
    let door = Door::of(&headers).ok_or_else(|| Trouble::Forbidden("this browser has no door's pass".to_owned()))?;
    let scan: Uuid = fields
        .text("scan")
        .parse()
        .map_err(|_| Trouble::Invalid("the form is not complete: open the page again".to_owned()))?;
    // Sent again, it is the same scan, and is answered alike.
    let scans = json!({ "scans": [{ "code": fields.text("code"), "scanId": scan }] });
    let ask = Ask::post(format!("/events/{}/check-ins", segment(&door.event)), &scans);
    let said: Result<CheckIns, Failure> = shop.api.ask(&visitor.caller.with(&door.pass), ask).await;
    let said = said.map_err(no_pass)?;
    let told = said.results.first().map(|result| {
        let (tone, title) = match result.verdict {
            Verdict::Admitted => ("good", "Let them in"),
            Verdict::AlreadyAdmitted => ("bad", "Somebody came by this ticket already"),
            Verdict::Void => ("bad", "This ticket was given back"),
            Verdict::OtherEvent => ("bad", "A ticket for something else"),
            Verdict::Forged => ("bad", "Not a ticket of ours"),
        };
        let place = result.seat_id.as_deref().map(|seat| {
            let (section, row) = (
                result.section.as_deref().unwrap_or("–"),
                result.row.as_deref().unwrap_or("–"),
            );
            format!("{section} · Row {row} · Seat {}", seat_label(seat))
        });
        let is_inside = matches!(result.verdict, Verdict::Admitted | Verdict::AlreadyAdmitted);
        Told {
            tone,
            title,
            place: place.unwrap_or_default(),
            message: match result.verdict {
                Verdict::Admitted => String::new(),
                Verdict::AlreadyAdmitted => before(result),
                Verdict::Void | Verdict::OtherEvent | Verdict::Forged => result.message.clone(),
            },
            undo: if is_inside {
                fields.text("code").to_owned()
            } else {
                String::new()
            },
        }
    });
    page(&shop, &visitor, Some(door), told).await
}

/// Where and when somebody was let in by a ticket that is shown again.
fn before(result: &CheckIn) -> String {
    let at = result.admitted_at.as_deref().map(When::of);
    let when = at
        .map(|at| format!(", on {} at {} (UTC)", at.day, at.time))
        .unwrap_or_default();
    match &result.door {
        Some(door) => format!("At the door “{door}”{when}. Whoever stands here now: don’t let them in, and ask."),
        None => result.message.clone(),
    }
}

/// Takes back that somebody was let in: a scan of the wrong phone, somebody who turned round.
pub async fn undo(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Form(fields): Form,
) -> Page {
    let door = Door::of(&headers).ok_or_else(|| Trouble::Forbidden("this browser has no door's pass".to_owned()))?;
    let wish = json!({ "code": fields.text("code"), "reason": fields.text("reason") });
    let ask = Ask::post(format!("/events/{}/check-ins/undo", segment(&door.event)), &wish);
    let told = |tone, title, message: String, undo: &str| Told {
        tone,
        title,
        place: String::new(),
        message,
        undo: undo.to_owned(),
    };
    let told = match shop.api.tell(&visitor.caller.with(&door.pass), ask).await {
        Ok(()) => told("wait", "Taken back", "The ticket can be used again.".to_owned(), ""),
        Err(Failure::Refused(refusal)) if refusal.code() == "refused" => told(
            "wait",
            "Nothing to take back",
            "Nobody is inside by this ticket.".to_owned(),
            "",
        ),
        Err(Failure::Refused(refusal)) if refusal.code() == "invalid" => {
            let message = format!("Say why in a few words: {}.", refusal.told());
            told("bad", "Not taken back", message, fields.text("code"))
        }
        Err(failure) => return Err(no_pass(failure)),
    };
    page(&shop, &visitor, Some(door), Some(told)).await
}
