//! What a list says of each event's seats: from which price on, and whether there are any. Kept for a while, for it takes a request each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::join_all;

use super::glance_at;
use crate::amount::Amount;
use crate::limits::{GLANCE_AGE_MAX, GLANCES_MAX};
use crate::routes::Shop;
use crate::types::Event;
use crate::visitor::Visitor;

/// Events' seats, as they were a moment ago.
#[derive(Clone, Default)]
pub struct Glances(Arc<Mutex<HashMap<String, (Instant, Glance)>>>);

/// An event's seats in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// The lowest price; none: it isn't known.
    pub from: Option<Amount>,
    /// Seats that can be had.
    pub available: usize,
}

impl Glance {
    /// Of an event with its sections.
    pub fn of(event: &Event) -> Glance {
        Glance {
            from: event.sections.iter().map(|section| section.price_min).min(),
            available: event.sections.iter().map(|section| section.available).sum(),
        }
    }
}

impl Glances {
    /// Of each of these events, in their order; what can't be had now is left out of the list's words.
    pub async fn of(&self, shop: &Shop, visitor: &Visitor, events: &[Event]) -> Vec<Glance> {
        let looks = events.iter().map(async |event| {
            if let Some(known) = self.known(&event.event_id) {
                return known;
            }
            match glance_at(shop, visitor, &event.event_id).await {
                Ok(event) => self.keep(&event),
                Err(_) => Glance::default(),
            }
        });
        join_all(looks).await
    }

    fn known(&self, event_id: &str) -> Option<Glance> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, glance) = known.get(event_id)?;
        (seen.elapsed() < GLANCE_AGE_MAX).then_some(*glance)
    }

    fn keep(&self, event: &Event) -> Glance {
        let glance = Glance::of(event);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= GLANCES_MAX {
            known.retain(|_, (seen, _)| seen.elapsed() < GLANCE_AGE_MAX);
        }
        if known.len() < GLANCES_MAX {
            known.insert(event.event_id.clone(), (Instant::now(), glance));
        }
        glance
    }
}
