//! An event's seats at one moment: asked about, compared with the next moment, rendered once for all readers.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::http::rendered::Rendered;
use crate::limits::{SEATS_OFFER_SCAN_MAX, SEATS_OFFERED_MAX};
use crate::money::Cents;
use crate::store::availability::{Hall, Seat, Statuses};
use crate::store::events::SeatStatus;

/// What does not change when a seat is taken.
struct Layout {
    /// By section, row and number.
    seats: Vec<Seat>,
    /// The place of each seat in `seats`.
    places: HashMap<String, u32>,
    by_id: Vec<u32>,
    fingerprint: i64,
    read_at: Instant,
    stage: (f32, f32),
}

/// All seats of an event at one moment.
pub struct SeatMap {
    event_id: String,
    on_sale: bool,
    version: i64,
    layout: Arc<Layout>,
    /// One for each of the layout's seats.
    statuses: Vec<SeatStatus>,
    available: usize,
    whole: OnceLock<Rendered>,
    picture: OnceLock<Rendered>,
}

/// Why seats are not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The seats that were asked for.
    pub requested: Vec<String>,
    /// Those of them that somebody has.
    pub unavailable: Vec<String>,
    /// Some that are free, those nearest by first; none: there is nothing left at the moment.
    pub available: Vec<String>,
}

/// What became different from one moment to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing that a listener could see.
    Nothing,
    /// These seats: their places.
    Seats(Vec<usize>),
    /// Seats came, went, or changed their names or prices.
    Everything,
}

/// Which seats to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeatFilter {
    /// Of this section.
    pub section: Option<String>,
    /// In this state.
    pub status: Option<SeatStatus>,
}

/// A section in brief.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SectionSummary {
    /// Its name.
    pub section: String,
    /// All of its seats.
    pub seats: usize,
    /// Those that can be booked.
    pub available: usize,
    /// Those that somebody holds, or the house keeps.
    pub held: usize,
    /// Those that are sold.
    pub sold: usize,
    /// The lowest price.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub price_min: Cents,
    /// The highest price.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub price_max: Cents,
}

impl SeatMap {
    /// The seats of an event, read just now: at `read_at` or later.
    pub fn new(event_id: &str, hall: Hall, read_at: Instant) -> SeatMap {
        let places = hall.seats.iter().enumerate();
        let places = places.map(|(place, seat)| (seat.id.clone(), place as u32)).collect();
        SeatMap {
            event_id: event_id.to_owned(),
            on_sale: hall.on_sale,
            version: hall.version,
            available: free(&hall.statuses),
            statuses: hall.statuses,
            layout: Arc::new(Layout {
                seats: hall.seats,
                places,
                by_id: hall.by_id,
                fingerprint: hall.fingerprint,
                read_at,
                stage: hall.stage,
            }),
            whole: OnceLock::new(),
            picture: OnceLock::new(),
        }
    }

    /// The same seats at a later moment; none if they aren't the same seats any more.
    pub fn later(&self, statuses: &Statuses) -> Option<SeatMap> {
        let layout = &self.layout;
        if statuses.fingerprint != layout.fingerprint || statuses.statuses.len() != layout.seats.len() {
            return None;
        }
        let mut placed = vec![SeatStatus::Available; layout.seats.len()];
        for (status, place) in statuses.statuses.iter().zip(&layout.by_id) {
            placed[*place as usize] = *status;
        }
        Some(SeatMap {
            event_id: self.event_id.clone(),
            on_sale: statuses.on_sale,
            version: statuses.version.max(self.version),
            available: free(&placed),
            statuses: placed,
            layout: layout.clone(),
            whole: OnceLock::new(),
            picture: OnceLock::new(),
        })
    }

    /// What is different from an `earlier` moment.
    pub fn since(&self, earlier: &SeatMap) -> Difference {
        if !Arc::ptr_eq(&self.layout, &earlier.layout) && self.layout.seats != earlier.layout.seats {
            return Difference::Everything;
        }
        let both = self.statuses.iter().zip(&earlier.statuses).enumerate();
        let changed: Vec<usize> = both
            .filter(|(_, (now, then))| now != then)
            .map(|(place, _)| place)
            .collect();
        if changed.is_empty() {
            Difference::Nothing
        } else {
            Difference::Seats(changed)
        }
    }

    /// Whether its event is on sale.
    pub fn is_on_sale(&self) -> bool {
        self.on_sale
    }

    /// The moment, in microseconds of the database's clock.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// How many seats can be had.
    pub fn available(&self) -> usize {
        self.available
    }

    /// When names, prices and places were read.
    pub fn laid_out_at(&self) -> Instant {
        self.layout.read_at
    }

    /// Where the stage is, in the seats' coordinates.
    pub fn stage(&self) -> (f32, f32) {
        self.layout.stage
    }

    /// How many seats there are.
    pub fn len(&self) -> usize {
        self.statuses.len()
    }

    /// The place of a seat.
    pub fn place(&self, seat_id: &str) -> Option<usize> {
        self.layout.places.get(seat_id).map(|place| *place as usize)
    }

    /// The seat at a place, and whether it can be had.
    pub fn at(&self, place: usize) -> (&Seat, SeatStatus) {
        (&self.layout.seats[place], self.statuses[place])
    }

    /// Why these seats are not to be had; none if they are, as far as is known, or if one of them does not exist.
    /// `taken` knows more than the map.
    pub fn refusal(&self, seat_ids: &[String], taken: impl Fn(usize) -> bool) -> Option<Refusal> {
        let is_free = |place: usize| self.statuses[place] == SeatStatus::Available && !taken(place);
        let places: Vec<usize> = seat_ids.iter().map(|seat| self.place(seat)).collect::<Option<_>>()?;
        let lost = seat_ids.iter().zip(&places).filter(|(_, place)| !is_free(**place));
        let unavailable: Vec<String> = lost.map(|(seat, _)| seat.clone()).collect();
        if unavailable.is_empty() {
            return None;
        }
        let scanned = if self.available == 0 { 0 } else { SEATS_OFFER_SCAN_MAX };
        let from = places.first().copied().unwrap_or_default();
        let around = (from..self.statuses.len()).chain(0..from).take(scanned);
        let offered = around.filter(|place| is_free(*place) && !places.contains(place));
        Some(Refusal {
            requested: seat_ids.to_vec(),
            unavailable,
            available: offered
                .take(SEATS_OFFERED_MAX)
                .map(|place| self.layout.seats[place].id.clone())
                .collect(),
        })
    }

    /// The picture of all seats, drawn once for all who look.
    pub fn picture(&self, draw: impl FnOnce() -> String) -> Rendered {
        self.picture.get_or_init(|| Rendered::of(draw())).clone()
    }

    /// The answer to `GET /events/{id}/seats`.
    pub fn render(&self, filter: &SeatFilter) -> Rendered {
        if *filter == SeatFilter::default() {
            return self.whole.get_or_init(|| self.render_where(|_| true)).clone();
        }
        self.render_where(|(seat, seat_status)| {
            filter.section.as_ref().is_none_or(|section| seat.section == *section)
                && filter.status.is_none_or(|status| seat_status == status)
        })
    }

    /// Written by hand: for 20,000 seats several times as fast as through serde, and prices stay exact.
    fn render_where(&self, wanted: impl Fn((&Seat, SeatStatus)) -> bool) -> Rendered {
        // About what one seat takes.
        const SEAT_BYTES: usize = 100;
        let mut body = String::with_capacity(self.statuses.len() * SEAT_BYTES);
        body.push_str("{\"eventId\":");
        push_json(&mut body, &self.event_id);
        body.push_str(",\"seats\":[");
        let mut is_first = true;
        let seats = (0..self.statuses.len()).map(|place| self.at(place));
        for (seat, status) in seats.filter(|seat| wanted(*seat)) {
            body.push_str(if is_first { "{\"seatId\":" } else { ",{\"seatId\":" });
            is_first = false;
            push_json(&mut body, &seat.id);
            body.push_str(",\"section\":");
            push_json(&mut body, &seat.section);
            body.push_str(",\"row\":");
            push_json(&mut body, &seat.row);
            write!(body, ",\"price\":{},\"status\":\"{}\"", seat.price, status.as_str())
                .expect("writing to a string does not fail");
            if let Some((x, y)) = seat.at {
                write!(body, ",\"x\":{x},\"y\":{y}").expect("writing to a string does not fail");
            }
            let mut separator = ",\"marks\":[\"";
            for mark in seat.marks.names() {
                body.push_str(separator);
                body.push_str(mark);
                separator = "\",\"";
            }
            // Without marks nothing was begun.
            body.push_str(if separator == "\",\"" { "\"]}" } else { "}" });
        }
        body.push_str("]}");
        Rendered::of(body)
    }

    /// The sections, in the order of their names.
    pub fn sections(&self) -> Vec<SectionSummary> {
        let mut sections: Vec<SectionSummary> = Vec::new();
        for (seat, status) in self.layout.seats.iter().zip(&self.statuses) {
            let counts = |wanted: SeatStatus| usize::from(*status == wanted);
            let available = counts(SeatStatus::Available);
            let (held, sold) = (counts(SeatStatus::Held), counts(SeatStatus::Sold));
            match sections.last_mut() {
                // Seats come sorted by section.
                Some(last) if last.section == seat.section => {
                    last.seats += 1;
                    last.available += available;
                    last.held += held;
                    last.sold += sold;
                    last.price_min = last.price_min.min(seat.price);
                    last.price_max = last.price_max.max(seat.price);
                }
                _ => sections.push(SectionSummary {
                    section: seat.section.clone(),
                    seats: 1,
                    available,
                    held,
                    sold,
                    price_min: seat.price,
                    price_max: seat.price,
                }),
            }
        }
        sections
    }
}

fn free(statuses: &[SeatStatus]) -> usize {
    statuses
        .iter()
        .filter(|status| **status == SeatStatus::Available)
        .count()
}

/// Appends a text as a JSON string.
pub(super) fn push_json(body: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        body.push('"');
        body.push_str(text);
        body.push('"');
    } else {
        body.push_str(&serde_json::to_string(text).expect("text is JSON"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn seat(id: &str, section: &str, cents: i64) -> Seat {
        Seat {
            id: id.to_owned(),
            section: section.to_owned(),
            row: "A".to_owned(),
            number: 1,
            price: Cents::new(cents).unwrap(),
            at: None,
            marks: Default::default(),
        }
    }

    fn map() -> SeatMap {
        let hall = Hall {
            on_sale: true,
            version: 7,
            stage: (0.0, 0.0),
            seats: vec![
                seat("A1", "Floor", 50_000),
                seat("A\"2\"", "Floor", 45_005),
                seat("B1", "Ring", 15_000),
            ],
            statuses: vec![SeatStatus::Sold, SeatStatus::Available, SeatStatus::Held],
            // As Postgres might sort them: A"2", A1, B1.
            by_id: vec![1, 0, 2],
            fingerprint: 42,
        };
        SeatMap::new("e", hall, Instant::now())
    }

    fn later(statuses: [SeatStatus; 3]) -> Statuses {
        Statuses {
            event_id: "e".to_owned(),
            on_sale: true,
            version: 9,
            statuses: statuses.to_vec(),
            fingerprint: 42,
        }
    }

    #[test]
    fn moments_are_compared() {
        use SeatStatus::{Available, Held, Sold};
        let map = map();
        assert_eq!(
            map.later(&later([Available, Sold, Held])).unwrap().since(&map),
            Difference::Nothing
        );
        let next = map.later(&later([Held, Sold, Available])).unwrap();
        assert_eq!((next.version(), next.available()), (9, 1));
        assert_eq!(next.since(&map), Difference::Seats(vec![1, 2]));
        assert_eq!(next.at(1).1, Held);
        // Other seats than before.
        let other = Statuses {
            fingerprint: 43,
            ..later([Held, Sold, Available])
        };
        assert!(map.later(&other).is_none());
        let fewer = Statuses {
            statuses: vec![Held, Sold],
            ..later([Held, Sold, Held])
        };
        assert!(map.later(&fewer).is_none());
    }

    #[test]
    fn taken_seats_are_refused_and_others_offered() {
        let map = map();
        let ask = |seats: &[&str]| {
            let seats: Vec<String> = seats.iter().map(|seat| (*seat).to_owned()).collect();
            map.refusal(&seats, |_| false)
        };
        assert_eq!(ask(&["A\"2\""]), None);
        let refusal = ask(&["A1", "B1"]).unwrap();
        assert_eq!(refusal.unavailable, ["A1", "B1"]);
        assert_eq!(refusal.available, ["A\"2\""]);
        let refusal = ask(&["A\"2\"", "B1"]).unwrap();
        assert_eq!((refusal.unavailable.len(), refusal.available.len()), (1, 0));
        // What does not exist is for the database to say.
        assert_eq!(ask(&["A1", "Z9"]), None);
        // Known to be taken in another way.
        let refusal = map.refusal(&["A\"2\"".to_owned()], |place| place == 1).unwrap();
        assert_eq!(refusal.unavailable, ["A\"2\""]);
        assert!(refusal.available.is_empty());
    }

    #[test]
    fn seats_are_rendered_with_exact_prices() {
        let whole = map().render(&SeatFilter::default());
        insta::assert_snapshot!(std::str::from_utf8(&whole.body).unwrap());
        serde_json::from_slice::<serde_json::Value>(&whole.body).unwrap();
    }

    #[test]
    fn filters_choose_and_change_the_tag() {
        let map = map();
        let whole = map.render(&SeatFilter::default());
        let sold = map.render(&SeatFilter {
            status: Some(SeatStatus::Sold),
            ..SeatFilter::default()
        });
        assert!(sold.body.len() < whole.body.len());
        assert_ne!(sold.etag, whole.etag);
        let none = map.render(&SeatFilter {
            section: Some("Moon".to_owned()),
            ..SeatFilter::default()
        });
        assert_eq!(&none.body[..], br#"{"eventId":"e","seats":[]}"#);
        assert_eq!(map.render(&SeatFilter::default()).etag, whole.etag);
    }

    #[test]
    fn sections_are_summed_up() {
        let sections = map().sections();
        assert_eq!(sections.len(), 2);
        assert_eq!((sections[0].seats, sections[0].available), (2, 1));
        for section in &sections {
            assert_eq!(section.available + section.held + section.sold, section.seats);
        }
        assert_eq!(sections[0].price_min.to_string(), "450.05");
        assert_eq!(sections[0].price_max.to_string(), "500.00");
    }
}
