//! Seat changes as server-sent events: each frame is made once, shared by everybody who listens, and kept for a while
//! for those who come back.

use std::collections::VecDeque;
use std::fmt::Write;

use axum::body::Bytes;

use super::seat_map::{Difference, SeatMap, push_json};
use crate::limits::{SEAT_FRAME_SEATS_MAX, SEAT_FRAMES_KEPT_MAX, SEAT_RESUME_OVERLAP};
use crate::store::events::SeatStatus;

/// What keeps proxies from closing a quiet connection.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// Says where the listener stands: what follows is what changed after that version.
pub fn position(map: &SeatMap) -> Bytes {
    let (version, available) = (map.version(), map.available());
    format!("event: position\nid: {version}\ndata: {{\"availableSeats\":{available}}}\n\n").into()
}

/// Tells the listener to get all seats again: what it missed is not known any more.
pub fn reload(version: i64) -> Bytes {
    format!("event: reload\nid: {version}\ndata: {{}}\n\n").into()
}

/// The frame of what is different in `map`; none if nothing is.
pub fn changes(map: &SeatMap, difference: &Difference) -> Option<Bytes> {
    let places = match difference {
        Difference::Nothing => return None,
        Difference::Seats(places) if places.len() <= SEAT_FRAME_SEATS_MAX => places,
        Difference::Seats(_) | Difference::Everything => return Some(reload(map.version())),
    };
    let mut text = format!(
        "event: seats\nid: {}\ndata: {{\"availableSeats\":{}",
        map.version(),
        map.available()
    );
    for status in [SeatStatus::Available, SeatStatus::Held, SeatStatus::Sold] {
        let seats = places.iter().map(|place| map.at(*place));
        let mut seats = seats.filter(|(_, now)| *now == status).map(|(seat, _)| seat).peekable();
        if seats.peek().is_none() {
            continue;
        }
        write!(text, ",\"{}\":", status.as_str()).expect("writing to a string does not fail");
        let mut separator = '[';
        for seat in seats {
            text.push(separator);
            // JSON has no raw line breaks, so no seat's name can end the frame.
            push_json(&mut text, &seat.id);
            separator = ',';
        }
        text.push(']');
    }
    text.push_str("}\n\n");
    Some(text.into())
}

/// Recent frames, the oldest first.
#[derive(Default)]
pub struct Recent {
    frames: VecDeque<(i64, Bytes)>,
    /// Everything that changed after this version is in `frames`.
    complete_after: i64,
}

impl Recent {
    /// Nothing yet: complete from this version on.
    pub fn since(version: i64) -> Recent {
        Recent {
            frames: VecDeque::new(),
            complete_after: version,
        }
    }

    /// Keeps a frame.
    pub fn push(&mut self, version: i64, frame: Bytes) {
        if self.frames.len() >= SEAT_FRAMES_KEPT_MAX
            && let Some((oldest, _)) = self.frames.pop_front()
        {
            self.complete_after = oldest;
        }
        self.frames.push_back((version, frame));
    }

    /// What somebody has missed who has seen everything up to `version`, by any gateway's account; none if that
    /// isn't known any more.
    pub fn after(&self, version: i64, now: i64) -> Option<Vec<Bytes>> {
        let overlap = SEAT_RESUME_OVERLAP.as_micros() as i64;
        let from = version.checked_sub(overlap)?;
        // Further ahead than another gateway can be: not one of our versions.
        let is_invented = from > now;
        if is_invented || version < self.complete_after {
            return None;
        }
        let missed = self.frames.iter().filter(|(at, _)| *at > from);
        Some(missed.map(|(_, frame)| frame.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn frames_are_kept_within_bounds() {
        let overlap = SEAT_RESUME_OVERLAP.as_micros() as i64;
        // Versions so far apart that the overlap reaches no other.
        let version = |n: usize| (n as i64 + 10) * overlap * 2;
        let mut recent = Recent::since(version(0));
        for n in 1..=SEAT_FRAMES_KEPT_MAX + 5 {
            recent.push(version(n), reload(version(n)));
        }
        let last = version(SEAT_FRAMES_KEPT_MAX + 5);
        assert_eq!(recent.frames.len(), SEAT_FRAMES_KEPT_MAX);
        assert_eq!(recent.after(version(4), last), None);
        assert_eq!(recent.after(version(5), last).unwrap().len(), SEAT_FRAMES_KEPT_MAX);
        assert_eq!(recent.after(last, last).unwrap(), [reload(last)]);
        assert!(recent.after(last + overlap, last).unwrap().is_empty());
        // Nonsense.
        assert_eq!(recent.after(last + 2 * overlap, last), None);
        assert_eq!(recent.after(i64::MIN, last), None);
        assert_eq!(recent.after(i64::MAX, last), None);
    }
}
