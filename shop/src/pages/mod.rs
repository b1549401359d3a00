//! The pages: each handler asks the gateway, makes a view of plain texts, and gives it to its template, which escapes everything.

pub mod account;
pub mod assets;
pub mod at;
pub mod checkout;
pub mod door;
pub mod event;
pub mod fields;
pub mod glances;
pub mod home;
pub mod order;
pub mod orders;
pub mod organiser;
pub mod queue;

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use crate::api::{Ask, Failure};
use crate::routes::Shop;
use crate::text::{When, event_path, segment};
use crate::trouble::Trouble;
use crate::types::Event;
use crate::visitor::Visitor;

/// What a page's handler gives.
pub type Page = Result<Response, Trouble>;

/// What the frame around each page shows.
pub struct Frame {
    /// Whether somebody is logged in.
    pub logged_in: bool,
    /// Which entry of the menu this is.
    pub here: &'static str,
}

impl Frame {
    /// The frame of the page `here`.
    pub fn new(visitor: &Visitor, here: &'static str) -> Frame {
        Frame {
            logged_in: visitor.is_logged_in(),
            here,
        }
    }
}

/// An event as the head of a page shows it.
pub struct Headline {
    pub name: String,
    pub place: String,
    pub when: When,
    pub href: String,
}

impl Headline {
    /// Of this event.
    pub fn of(event: &Event) -> Headline {
        Headline {
            name: event.name.clone(),
            place: format!("{}, {}", event.venue, event.city),
            when: When::of(&event.date),
            href: event_path(&event.event_id),
        }
    }
}

/// An event by its id.
pub async fn event_of(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Event, Trouble> {
    let ask = Ask::get(format!("/events/{}", segment(id)));
    shop.api.ask(&visitor.caller, ask).await.map_err(named("event"))
}

/// The same for a list, in which nobody looks at that event: it is nothing that a user did.
pub async fn glance_at(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Event, Trouble> {
    let ask = Ask::get(format!("/events/{}", segment(id))).header(HeaderName::from_static("sec-purpose"), "prefetch");
    shop.api.ask(&visitor.caller, ask).await.map_err(named("event"))
}

/// What isn't there is called this.
pub fn named(what: &'static str) -> impl Fn(Failure) -> Trouble {
    move |failure| match failure.is("not-found") {
        true => Trouble::NotFound(what),
        false => failure.into(),
    }
}

/// A page from its template.
pub fn html(template: &impl Template) -> Page {
    html_with(StatusCode::OK, template)
}

/// The same with a status.
pub fn html_with(status: StatusCode, template: &impl Template) -> Page {
    Ok((status, Html(template.render()?)).into_response())
}

/// Goes on at another page.
pub fn go(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// What is taken over of an answer that is passed on.
const PASSED_ON: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::ETAG];

/// An answer of the gateway's as ours: its body as it comes.
pub fn passed_on(answer: Response<Body>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body);
    for name in PASSED_ON {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// A picture of our own making.
pub fn svg(picture: String) -> Response {
    let kind = HeaderValue::from_static("image/svg+xml");
    ([(header::CONTENT_TYPE, kind)], picture).into_response()
}
