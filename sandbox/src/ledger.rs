//! The sandbox's own account of the money, for audits.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::disputes::Dispute;
use crate::model::IntentStatus;
use crate::store::Store;

/// `GET /_sandbox/ledger`: every payment intent (or, with `?after=<id>&limit=<n>`, a page of them), oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Of all intents, on whatever page.
    pub totals: LedgerTotals,
    /// The intents.
    pub intents: Vec<LedgerEntry>,
    /// There are more after the last one.
    pub has_more: bool,
}

/// Sums over everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerTotals {
    /// Payment intents.
    pub intents: u64,
    /// Those that were captured, later refunded or not.
    pub succeeded: u64,
    /// Those that were cancelled.
    pub canceled: u64,
    /// Captured, in minor units.
    pub captured: i64,
    /// Refunded of that.
    pub refunded: i64,
    /// Refunds, failed ones among them.
    pub refunds: u64,
    /// What banks have taken back because of disputes that go on or are lost, with fees.
    #[serde(default)]
    pub disputed: i64,
    /// Values of `metadata[bookingId]` that more than one captured intent carries: there must be none.
    pub captured_twice: Vec<String>,
    /// Bookings that hold captured money that was not refunded, on more than one intent: there must be none either.
    pub kept_twice: Vec<String>,
}

/// One payment intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: IntentStatus,
    /// What was to be paid, in minor units.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// What was paid.
    pub captured: i64,
    /// What was given back.
    pub refunded: i64,
    /// The refunds' ids.
    pub refunds: Vec<String>,
    /// As given at creation.
    pub metadata: BTreeMap<String, String>,
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// How long the latency switch let the answers to its creation, confirmation and so on wait, all together: what a
    /// payment took of the provider's own time.
    pub waited_ms: i64,
}

pub(crate) fn ledger(store: &Store, after: Option<&str>, limit: Option<usize>) -> Ledger {
    let from = after.and_then(|id| store.position(id)).map_or(0, |at| at + 1);
    let to = limit.map_or(store.intents.len(), |limit| {
        from.saturating_add(limit).min(store.intents.len())
    });
    let entry = |intent: &crate::model::Intent| LedgerEntry {
        id: intent.fixed.id.clone(),
        status: intent.standing.status,
        amount: intent.fixed.amount,
        currency: intent.fixed.currency.clone(),
        captured: intent.standing.captured,
        refunded: intent.standing.refunded,
        refunds: store
            .refunds_of(&intent.fixed.id)
            .iter()
            .map(|at| store.refunds[*at].id.clone())
            .collect(),
        metadata: intent.fixed.metadata.clone(),
        created: intent.fixed.created,
        waited_ms: intent.standing.waited_ms,
    };
    Ledger {
        totals: totals(store),
        intents: store
            .intents
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(entry)
            .collect(),
        has_more: to < store.intents.len(),
    }
}

fn totals(store: &Store) -> LedgerTotals {
    let mut totals = LedgerTotals {
        intents: store.intents.len() as u64,
        refunds: store.refunds.len() as u64,
        disputed: store.disputes.values().map(Dispute::withdrawn).sum(),
        ..LedgerTotals::default()
    };
    let mut of_booking: HashMap<&str, (u32, u32)> = HashMap::new();
    for intent in &store.intents {
        let standing = &intent.standing;
        totals.captured += standing.captured;
        totals.refunded += standing.refunded;
        match standing.status {
            IntentStatus::Succeeded => totals.succeeded += 1,
            IntentStatus::Canceled => totals.canceled += 1,
            IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction
            | IntentStatus::Processing => {}
        }
        if let (Some(booking), true) = (intent.fixed.metadata.get("bookingId"), standing.captured > 0) {
            let counts = of_booking.entry(booking).or_default();
            counts.0 += 1;
            counts.1 += u32::from(standing.refunded < standing.captured);
        }
    }
    let more_than_one = |count: fn(&(u32, u32)) -> u32| {
        let mut bookings: Vec<String> = of_booking
            .iter()
            .filter(|(_, counts)| count(counts) > 1)
            .map(|(booking, _)| (*booking).to_owned())
            .collect();
        bookings.sort();
        bookings
    };
    totals.captured_twice = more_than_one(|counts| counts.0);
    totals.kept_twice = more_than_one(|counts| counts.1);
    totals
}
