//! Wishes that are on their way: who asks for a seat that another wish of this gateway has just asked for, waits for what
//! comes of it.
//!
//! Between a booking's beginning and the look that shows its seats as held, half a second passes, and at the opening of a sale
//! dozens want the same seat in it. A saga for each would be refused in the end, at a hundred times the price of a look.
//! Nobody is refused here: a wish goes on as soon as the one before was given up, or when its outcome has been seen, or after
//! [`SEATS_CLAIM_WAIT_MAX`](crate::limits::SEATS_CLAIM_WAIT_MAX).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::view::View;
use crate::limits::{SEATS_AGE_MAX, SEATS_CLAIM_SETTLES_IN};

/// Undecided wishes, by seat.
#[derive(Default)]
pub(super) struct Claims {
    seats: Mutex<HashMap<String, Mark>>,
    /// Some of them may be decided.
    news: Notify,
}

struct Mark {
    made_at: Instant,
    /// A look that begins then, or later, shows what came of it; none while the booking is not begun.
    shows_at: Option<Instant>,
}

impl Claims {
    /// What a look has shown that began at `seen_at` is undecided no more; nor is what is so old that no view would tell.
    pub(super) fn seen(&self, seen_at: Instant) {
        self.lock().retain(|_, mark| {
            mark.shows_at.is_none_or(|shows_at| seen_at < shows_at) && mark.made_at.elapsed() < SEATS_AGE_MAX
        });
        self.news.notify_waiters();
    }

    /// The seats that somebody is asking for.
    pub(super) fn wanted(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Mark>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask for seats. Dropped without [`Claim::begun`], the next may ask.
pub struct Claim {
    view: Arc<View>,
    /// Those that were marked for it: all, but where it has waited long enough.
    seats: Vec<String>,
    waited: bool,
}

impl Claim {
    /// Waits until none of these seats is asked for, `wait_max` at most.
    pub(super) async fn wait(view: Arc<View>, seat_ids: &[String], wait_max: Duration) -> Claim {
        let until = tokio::time::Instant::now() + wait_max;
        let claim = |seats, waited| Claim {
            view: view.clone(),
            seats,
            waited,
        };
        let mut waited = false;
        loop {
            let news = view.claims.news.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            let is_late = tokio::time::Instant::now() >= until;
            if let Some(seats) = mark(&view.claims, seat_ids, is_late) {
                return claim(seats, waited);
            }
            waited = true;
            // Late or not, the marks tell.
            let _ = tokio::time::timeout_at(until, news).await;
            if view.refusal(seat_ids).is_some() {
                return claim(Vec::new(), waited);
            }
        }
    }

    /// Whether it had to be waited for: by now more may be known of the seats.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// The booking is begun; a look will show what comes of it.
    pub fn begun(mut self) {
        let shows_at = Instant::now() + SEATS_CLAIM_SETTLES_IN;
        let mut marks = self.view.claims.lock();
        for seat in self.seats.drain(..) {
            if let Some(mark) = marks.get_mut(&seat) {
                mark.shows_at = Some(shows_at);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.seats.is_empty() {
            return;
        }
        {
            let mut marks = self.view.claims.lock();
            for seat in &self.seats {
                marks.remove(seat);
            }
        }
        self.view.claims.news.notify_waiters();
    }
}

/// Marks the seats, if none is; or, if it is late, those that aren't.
fn mark(claims: &Claims, seat_ids: &[String], is_late: bool) -> Option<Vec<String>> {
    let mut marks = claims.lock();
    let free = |seat: &&String| !marks.contains_key(*seat);
    let seats: Vec<String> = seat_ids.iter().filter(free).cloned().collect();
    if seats.len() < seat_ids.len() && !is_late {
        return None;
    }
    let made_at = Instant::now();
    let shows_at = None;
    marks.extend(seats.iter().map(|seat| (seat.clone(), Mark { made_at, shows_at })));
    Some(seats)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn seats(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    async fn claim(view: &Arc<View>, ids: &[&str]) -> Claim {
        Claim::wait(view.clone(), &seats(ids), LONG).await
    }

    #[tokio::test]
    async fn who_wants_other_seats_does_not_wait() {
        let view = Arc::<View>::default();
        let first = claim(&view, &["A1", "A2"]).await;
        let second = claim(&view, &["A3"]).await;
        assert!(!first.waited() && !second.waited());
    }

    #[tokio::test]
    async fn the_next_goes_on_when_the_first_gives_up() {
        let view = Arc::<View>::default();
        let first = claim(&view, &["A1", "A2"]).await;
        let wanted = seats(&["A2", "A3"]);
        let mut second = Box::pin(Claim::wait(view.clone(), &wanted, LONG));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        // It has marked nothing meanwhile.
        drop(claim(&view, &["A3"]).await);
        drop(first);
        let second = second.await;
        assert!(second.waited());
        assert!(view.claims.lock().len() == 2);
        drop(second);
        assert!(view.claims.lock().is_empty());
    }

    #[tokio::test]
    async fn a_look_that_is_late_enough_decides() {
        let view = Arc::<View>::default();
        claim(&view, &["A1"]).await.begun();
        let wanted = seats(&["A1"]);
        let mut second = Box::pin(Claim::wait(view.clone(), &wanted, LONG));
        assert!(second.as_mut().now_or_never().is_none());
        view.claims.seen(Instant::now());
        assert!(second.as_mut().now_or_never().is_none(), "that look was too early");
        view.claims.seen(Instant::now() + SEATS_CLAIM_SETTLES_IN);
        assert!(second.await.waited());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let view = Arc::<View>::default();
        let first = claim(&view, &["A1"]).await;
        let second = Claim::wait(view.clone(), &seats(&["A1", "A2"]), Duration::from_millis(1)).await;
        assert!(second.waited());
        drop(second);
        // What the first has marked is still its own.
        assert!(view.claims.lock().contains_key("A1"));
        drop(first);
    }
}
