//! The payment provider's own account of the money, read page by page.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use uuid::Uuid;

use crate::bench::client::Connection;

/// Payments on a page: about 5 MB.
const PAGE: usize = 10_000;

/// Every payment of one booking or another.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By booking.
    pub payments: HashMap<Uuid, Vec<Payment>>,
    /// Payments that name no booking: there must be none.
    pub nobodys: u64,
}

/// One payment, in cents.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Payment {
    id: String,
    metadata: HashMap<String, String>,
    /// What was to be paid.
    pub amount: i64,
    /// What was taken.
    pub captured: i64,
    /// What was given back.
    pub refunded: i64,
    /// Milliseconds that the provider itself let its answers wait.
    pub waited_ms: i64,
    refunds: Vec<String>,
}

impl Payment {
    /// What the shop has of it.
    pub fn kept(&self) -> i64 {
        self.captured - self.refunded
    }

    /// How often something was given back.
    pub fn refunds(&self) -> usize {
        self.refunds.len()
    }
}

#[derive(Deserialize)]
struct Page {
    intents: Vec<Payment>,
    has_more: bool,
}

/// Reads all of it.
pub async fn read(sandbox: SocketAddr) -> anyhow::Result<Ledger> {
    let mut connection = Connection::open(sandbox).await?;
    let mut ledger = Ledger::default();
    let mut path = format!("/_sandbox/ledger?limit={PAGE}");
    loop {
        let answer = connection.get(&path).await.context("reading the sandbox's ledger")?;
        ensure!(answer.status.is_success(), "the ledger answers {}", answer.status);
        let page: Page = serde_json::from_slice(&answer.body).context("the ledger can't be read")?;
        if let (true, Some(last)) = (page.has_more, page.intents.last()) {
            path = format!("/_sandbox/ledger?limit={PAGE}&after={}", last.id);
        } else {
            page.intents.into_iter().for_each(|payment| ledger.add(payment));
            return Ok(ledger);
        }
        page.intents.into_iter().for_each(|payment| ledger.add(payment));
    }
}

impl Ledger {
    /// One more payment.
    pub fn add(&mut self, payment: Payment) {
        let booking = payment.metadata.get("bookingId").and_then(|id| id.parse().ok());
        match booking {
            Some(booking) => self.payments.entry(booking).or_default().push(payment),
            None => self.nobodys += 1,
        }
    }
}
