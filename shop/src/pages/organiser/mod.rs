//! For organisers: venues, events from draft to the last refund, seats for the house, doors, and how it all sells.

mod clock;
mod doors;
mod edit;
mod event_form;
mod house;
mod input;
mod list;
mod off;
mod places;
mod sales;
mod types;
mod venues;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;

use super::named;
use crate::api::{Ask, Failure};
use crate::limits::{EVENT_FORM_BYTES_MAX, VENUE_PAGES_MAX};
use crate::routes::Shop;
use crate::text::{When, query, segment};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use types::{Managed, Status, Venue, VenuePage};

/// The pages' paths.
pub fn routes() -> Router<Shop> {
    let large = || DefaultBodyLimit::max(EVENT_FORM_BYTES_MAX);
    Router::new()
        .route("/shop/organiser", get(list::events))
        .route("/shop/organiser/venues", get(list::venues))
        .route("/shop/organiser/venues/new", get(venues::form).post(venues::make))
        // The file is read, within its own limit, by the page.
        .route("/shop/organiser/venues/{id}", get(venues::show).post(venues::fill))
        .route(
            "/shop/organiser/events/new",
            get(edit::begin).post(edit::make).layer(large()),
        )
        .route("/shop/organiser/events/{id}", get(sales::show))
        .route(
            "/shop/organiser/events/{id}/edit",
            get(edit::show).post(edit::change).layer(large()),
        )
        .route(
            "/shop/organiser/events/{id}/status",
            get(sales::back).post(sales::decide),
        )
        .route("/shop/organiser/events/{id}/house", get(house::show).post(house::act))
        .route("/shop/organiser/events/{id}/doors", get(doors::show).post(doors::make))
        .route("/shop/organiser/events/{id}/off", get(off::show).post(off::call))
}

/// The head of an event's pages.
pub struct Head {
    pub name: String,
    pub place: String,
    pub when: When,
    pub status: &'static str,
    pub tone: &'static str,
    pub path: String,
    /// Its buyers' page; nothing: they see none.
    pub public: String,
    pub tabs: Vec<Tab>,
}

/// A way to another page of the event.
pub struct Tab {
    pub text: &'static str,
    pub href: String,
    pub here: bool,
}

impl Head {
    fn of(event: &Managed, here: &str) -> Head {
        let path = path_of(&event.event_id);
        let (status, tone) = event.status.told();
        let known = [
            ("Sales", "", true),
            ("Edit", "/edit", event.status != Status::Cancelled),
            (
                "House seats",
                "/house",
                !matches!(event.status, Status::Draft | Status::Cancelled),
            ),
            (
                "Doors",
                "/doors",
                !matches!(event.status, Status::Draft | Status::Cancelled),
            ),
            ("Call off", "/off", event.status != Status::Draft),
        ];
        let known = known.into_iter().filter(|(_, _, is_shown)| *is_shown);
        let tab = |(text, at, _): (&'static str, &str, bool)| Tab {
            here: at == here,
            href: format!("{path}{at}"),
            text: match (at, event.status) {
                ("", Status::Draft) => "Draft",
                ("/off", Status::Cancelled) => "Refunds",
                _ => text,
            },
        };
        Head {
            name: event.name.clone(),
            place: format!("{}, {}", event.venue, event.city),
            when: When::of(&clock::there(&event.starts_at, &event.time_zone)),
            status,
            tone,
            public: match event.status {
                Status::Draft => String::new(),
                _ => crate::text::event_path(&event.event_id),
            },
            tabs: known.map(tab).collect(),
            path,
        }
    }
}

/// The path of an event's page for its organiser.
fn path_of(event_id: &str) -> String {
    format!("/shop/organiser/events/{}", segment(event_id))
}

/// An event of the organisation.
async fn managed_of(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Managed, Trouble> {
    let ask = Ask::get(format!("/organiser/events/{}", segment(id)));
    shop.api.ask(&visitor.caller, ask).await.map_err(named("event"))
}

/// The organisation's venues, as many as one may choose from.
async fn venues_of(shop: &Shop, visitor: &Visitor) -> Result<Vec<Venue>, Failure> {
    let mut venues: Vec<Venue> = Vec::new();
    for _page in 0..VENUE_PAGES_MAX {
        let after = query(venues.last().map(|last| ("after", last.venue_id.as_str())));
        let ask = Ask::get(format!("/organiser/venues?{after}"));
        let page: VenuePage = shop.api.ask(&visitor.caller, ask).await?;
        venues.extend(page.venues);
        if page.next.is_none() {
            break;
        }
    }
    Ok(venues)
}
