//! What a booking's state means to its buyer, and what to do next. Pure.

use crate::options::Payments;
use crate::text::{checkout_path, count, event_path};
use crate::types::{Booking, BookingStatus, Event, RefundStatus};

/// Seats that are offered instead of those that are gone, at most.
const OFFERED_MAX: usize = 12;

/// How an order stands, as its page says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// `good`, `busy`, `wait` or `bad`: how it looks.
    pub tone: &'static str,
    /// In a few words.
    pub title: String,
    /// What it means, sentence by sentence.
    pub lines: Vec<String>,
    /// Where to go from here, the most likely first.
    pub next: Vec<Link>,
    /// Seats that may be had instead.
    pub offered: Vec<String>,
    /// Whether it will change by itself.
    pub goes_on: bool,
}

/// A way on.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    pub text: String,
    pub href: String,
    /// It leads to another site, in a tab of its own.
    pub elsewhere: bool,
}

fn link(text: &str, href: String) -> Link {
    Link {
        text: text.to_owned(),
        href,
        elsewhere: false,
    }
}

/// How a booking stands.
pub fn tell(booking: &Booking, payments: &Payments) -> Told {
    match booking.status {
        BookingStatus::Initiated => under_way(
            "Getting your seats…",
            vec!["We are holding them for you; this takes a moment. You can leave this page: nothing is lost.".to_owned()],
        ),
        BookingStatus::Reserved => under_way(
            "Your seats are held",
            vec!["The payment begins in a moment.".to_owned()],
        ),
        BookingStatus::Paying => paying(booking, payments),
        BookingStatus::Confirmed => confirmed(booking),
        BookingStatus::Cancelled => cancelled(booking),
        BookingStatus::Rejected => rejected(booking),
        BookingStatus::Expired => Told {
            tone: "bad",
            title: "Your time to pay is over".to_owned(),
            lines: vec!["The seats were held until then, and are free for others again. You were not charged; if your bank was just paying, it gets \
                         the money back."
                .to_owned()],
            next: vec![
                link("Try the same seats again", checkout_path(&booking.event_id, &booking.seat_ids)),
                link("Choose other seats", event_path(&booking.event_id)),
            ],
            offered: Vec::new(),
            goes_on: false,
        },
    }
}

fn under_way(title: &str, lines: Vec<String>) -> Told {
    Told {
        tone: "busy",
        title: title.to_owned(),
        lines,
        next: Vec::new(),
        offered: Vec::new(),
        goes_on: true,
    }
}

fn paying(booking: &Booking, payments: &Payments) -> Told {
    let held = "Your seats stay yours meanwhile.";
    if let Some(action) = &booking.next_action {
        let bank = match payments {
            Payments::TestCards { bank_url } => {
                let id = crate::text::segment(&action.payment_id);
                let href = format!(
                    "{}/_sandbox/payment_intents/{id}/authenticate",
                    bank_url.trim_end_matches('/')
                );
                Some(Link {
                    elsewhere: true,
                    ..link("Go to your bank", href)
                })
            }
            Payments::Elsewhere => None,
        };
        return Told {
            tone: "wait",
            next: bank.into_iter().collect(),
            ..under_way(
                "Your bank asks whether it is you",
                vec![
                    "Confirm the payment on your bank's page, then come back here: this page goes on by itself."
                        .to_owned(),
                    held.to_owned(),
                ],
            )
        };
    }
    let is_retried = booking.history.iter().any(|entry| entry.event == "payment.retry");
    if is_retried {
        let why =
            "The bank could not carry out the payment just now. We try again by ourselves, and never charge you twice.";
        let told = under_way(
            "The payment takes longer than usual",
            vec![why.to_owned(), held.to_owned()],
        );
        return Told { tone: "wait", ..told };
    }
    under_way(
        "Paying…",
        vec!["Your bank is working on it.".to_owned(), held.to_owned()],
    )
}

/// The same, where the event itself has been called off or postponed.
pub fn of_event(told: Told, booking: &Booking, event: &Event) -> Told {
    let was_paid = booking.status == BookingStatus::Confirmed || booking.reason.as_deref() == Some("REFUNDED");
    match event.status.as_str() {
        "cancelled" => Told {
            tone: "bad",
            title: "This event is called off".to_owned(),
            lines: match was_paid {
                true => {
                    vec!["What you paid goes back to you by itself; with your bank it may take some days.".to_owned()]
                }
                false => told.lines,
            },
            next: Vec::new(),
            offered: Vec::new(),
            goes_on: told.goes_on,
        },
        "postponed" if booking.status == BookingStatus::Confirmed => Told {
            tone: "wait",
            title: "Postponed".to_owned(),
            lines: [vec!["Your tickets stay good for the new date.".to_owned()], told.lines].concat(),
            ..told
        },
        _ => told,
    }
}

fn confirmed(booking: &Booking) -> Told {
    let given: usize = booking.refunds.iter().map(|refund| refund.seat_ids.len()).sum();
    let mut lines = Vec::new();
    if given > 0 {
        let is_back = booking
            .refunds
            .iter()
            .all(|refund| refund.status == RefundStatus::Refunded);
        let money = if is_back {
            "is on its way to your bank"
        } else {
            "follows in a moment"
        };
        lines.push(format!("{} given back; the money {money}.", count(given, "ticket")));
    } else {
        lines.push(
            "Paid, and yours. Show the code at the door, on your phone or on paper. A confirmation comes by mail."
                .to_owned(),
        );
    }
    Told {
        tone: "good",
        title: "You’re going!".to_owned(),
        lines,
        next: Vec::new(),
        offered: Vec::new(),
        goes_on: booking
            .refunds
            .iter()
            .any(|refund| refund.status != RefundStatus::Refunded),
    }
}

fn cancelled(booking: &Booking) -> Told {
    let again = || link("Choose seats again", event_path(&booking.event_id));
    let ended = |title: &str, lines: Vec<String>, next: Vec<Link>| Told {
        tone: "bad",
        title: title.to_owned(),
        lines,
        next,
        offered: Vec::new(),
        goes_on: false,
    };
    match booking.reason.as_deref() {
        Some("PAYMENT_FAILED") => {
            let failure = booking.payment_failure.as_ref();
            let why = failure.map_or("The payment could not be made.", |failure| failure.message.as_str());
            let same = link(
                "Pay with another card",
                checkout_path(&booking.event_id, &booking.seat_ids),
            );
            let lines = vec![
                why.to_owned(),
                "Nothing was charged. The seats are free again in a moment, for you too: be quick.".to_owned(),
            ];
            ended("The payment did not work", lines, vec![same, again()])
        }
        Some("REFUNDED") => {
            let is_back = booking
                .refunds
                .iter()
                .all(|refund| refund.status == RefundStatus::Refunded);
            let line = if is_back {
                "All tickets were given back. The money is on its way to your bank, which may take some days."
            } else {
                "All tickets were given back. The money follows in a moment."
            };
            let told = ended("Given back", vec![line.to_owned()], vec![again()]);
            Told {
                tone: "wait",
                goes_on: !is_back,
                ..told
            }
        }
        _ => {
            let line = "The seats are free for others. Nothing was charged, or it goes back to you.";
            ended("This order is cancelled", vec![line.to_owned()], vec![again()])
        }
    }
}

fn rejected(booking: &Booking) -> Told {
    let other = vec![link("Choose other seats", event_path(&booking.event_id))];
    let told = |title: &str, line: &str, offered: Vec<String>| Told {
        tone: "bad",
        title: title.to_owned(),
        lines: vec![line.to_owned()],
        next: other,
        offered,
        goes_on: false,
    };
    if booking.reason.as_deref() == Some("SEAT_LIMIT") {
        let line = "This event allows each buyer a few seats only, and you have as many already. Nothing was charged.";
        return told("That would be too many seats", line, Vec::new());
    }
    let unavailable = booking
        .history
        .iter()
        .rev()
        .find(|entry| entry.event == "seat.unavailable");
    let offered = unavailable.and_then(|entry| entry.data.get("available")?.as_array());
    let offered = offered
        .into_iter()
        .flatten()
        .filter_map(|seat| seat.as_str().map(str::to_owned));
    let line = "Somebody was a moment faster. Nothing was charged.";
    told("These seats are gone", line, offered.take(OFFERED_MAX).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(change: Value) -> Told {
        let mut booking = json!({
            "bookingId": "b", "status": "paying", "eventId": "e", "seatIds": ["A1", "A2"], "totalAmount": 10.5, "links": {},
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            booking[name] = value.clone();
        }
        let booking = serde_json::from_str(&booking.to_string()).expect("it is a booking");
        let payments = Payments::TestCards {
            bank_url: "http://bank/".to_owned(),
        };
        tell(&booking, &payments)
    }

    #[test]
    fn every_state_has_words_and_a_way_on() {
        for status in [
            "initiated",
            "reserved",
            "paying",
            "confirmed",
            "cancelled",
            "rejected",
            "expired",
        ] {
            let told = told(json!({ "status": status }));
            let is_over = matches!(status, "cancelled" | "rejected" | "expired");
            assert_eq!(!told.next.is_empty(), is_over, "{status}");
            assert_eq!(
                told.goes_on,
                matches!(status, "initiated" | "reserved" | "paying"),
                "{status}"
            );
            assert!(!told.title.is_empty() && !told.lines.is_empty());
        }
    }

    #[test]
    fn a_bank_that_asks_has_a_page() {
        let told = told(json!({"nextAction": {"type": "authenticate", "paymentId": "pi_1", "clientSecret": "s"}}));
        assert_eq!(
            told.next[0].href,
            "http://bank/_sandbox/payment_intents/pi_1/authenticate"
        );
        assert!(told.goes_on && told.next[0].elsewhere);
    }

    #[test]
    fn a_failed_payment_says_why_and_offers_another_card() {
        let failure = json!({"status": "cancelled", "reason": "PAYMENT_FAILED", "paymentFailure": {"code": "expired_card", "message": "The card has expired."}});
        let told = told(failure);
        assert_eq!(told.lines[0], "The card has expired.");
        assert_eq!(told.next[0].href, "/shop/events/e/checkout?seat=A1&seat=A2");
    }

    #[test]
    fn who_was_too_late_is_offered_others() {
        let history = json!([{"seq": 1, "at": "", "event": "seat.unavailable", "data": {"requested": ["A1"], "available": ["A3", "A4"]}}]);
        assert_eq!(
            told(json!({"status": "rejected", "history": history})).offered,
            ["A3", "A4"]
        );
        let limit = told(json!({"status": "rejected", "reason": "SEAT_LIMIT"}));
        assert!(limit.title.contains("too many") && limit.offered.is_empty());
    }

    #[test]
    fn what_was_given_back_is_told() {
        let refunds = |status| json!([{"refundId": "r", "status": status, "seatIds": ["A1"], "amount": 5.25}]);
        let part = told(json!({"status": "confirmed", "refunds": refunds("refunded")}));
        assert_eq!(
            (part.lines[0].as_str(), part.goes_on),
            ("1 ticket given back; the money is on its way to your bank.", false)
        );
        let all = told(json!({"status": "cancelled", "reason": "REFUNDED", "refunds": refunds("refunding")}));
        assert!(all.goes_on && all.title == "Given back");
    }
}
