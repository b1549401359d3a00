//! The waiting room.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};

use super::checkout::place;
use super::event::stream;
use super::{Frame, Headline, Page, event_of, html, named};
use crate::amount::thousands;
use crate::api::Ask;
use crate::limits::LOOK_AGAIN_SECONDS;
use crate::routes::Shop;
use crate::text::{When, about, event_path, query, segment};
use crate::trouble::Trouble;
use crate::types::Place;
use crate::visitor::{Visitor, with_cookies};

#[derive(Template)]
#[template(path = "queue.html")]
struct QueueView {
    frame: Frame,
    head: Headline,
    title: &'static str,
    lines: Vec<String>,
    ahead: Option<String>,
    waits: bool,
    live: String,
    look_again: u32,
}

/// Shows one's place. Coming here takes one; coming again changes nothing, but for whoever let their turn pass.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let event = event_of(&shop, &visitor, &id).await?;
    let place = place(&shop, &visitor, &id).await?;
    let (title, lines) = words(place.as_ref());
    let waits = place.as_ref().is_some_and(|place| !place.admitted);
    let page = html(&QueueView {
        frame: Frame::new(&visitor, "events"),
        head: Headline::of(&event),
        title,
        lines,
        ahead: place
            .as_ref()
            .filter(|_| waits)
            .and_then(|place| place.ahead)
            .map(thousands),
        waits,
        live: format!("{}/queue/live", event_path(&id)),
        look_again: LOOK_AGAIN_SECONDS,
    })?;
    Ok(with_cookies(visitor.remember(&shop.options, None), page))
}

fn words(place: Option<&Place>) -> (&'static str, Vec<String>) {
    let Some(place) = place else {
        return ("There is no line", vec!["Choose your seats right away.".to_owned()]);
    };
    if place.admitted {
        return (
            "It’s your turn",
            vec!["Choose your seats now: your turn lasts a few minutes.".to_owned()],
        );
    }
    if place.over {
        let line = "Your turn has passed. You have a new place, behind the others.";
        return ("Back in line", vec![line.to_owned()]);
    }
    let keep = "Keep this page open: it goes on by itself. You have one place, in however many tabs.".to_owned();
    match place.ahead {
        None => {
            let opens = When::of(&place.opens_at);
            let lot = "Whoever is here by then has the same chance: the places are drawn by lot.".to_owned();
            let open = format!("The line begins to move on {} at {} (UTC).", opens.day, opens.time);
            ("You’re in the waiting room", vec![open, lot, keep])
        }
        Some(_) => {
            let wait = match place.wait_seconds {
                Some(seconds) => format!("It takes {}.", about(seconds)),
                None => "How long it takes is not known yet.".to_owned(),
            };
            ("You’re in line", vec![wait, keep])
        }
    }
}

/// How the place changes.
pub async fn live(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let place = place(&shop, &visitor, &id)
        .await?
        .ok_or(Trouble::NotFound("waiting room"))?;
    let whose = query([("userId", visitor.user_id()), ("token", place.token.as_str())]);
    let ask = Ask::get(format!("/events/{}/queue/live?{whose}", segment(&id)));
    let answer = shop
        .api
        .open(&visitor.caller, ask)
        .await
        .map_err(named("waiting room"))?;
    Ok(stream(answer))
}
