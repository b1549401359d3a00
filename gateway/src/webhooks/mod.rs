//! Webhooks of the payment provider: signed, repeated, reordered, late. What one says is never believed; it only makes
//! the booking it names ask the provider again.

pub mod deliver;
pub mod route;
pub mod signature;

pub use route::Arrivals;

/// Whom an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The booking that it names: its payment has moved.
    Booking,
    /// A buyer has taken a payment to the bank.
    Dispute,
    /// Money that had gone back is ours again.
    FailedRefund,
}

/// By an event's kind and, where it still says one, the status of its object: which isn't believed, but most refunds that change have not failed.
pub fn concern(kind: &str, status: Option<&str>) -> Concern {
    let has_failed = status.is_none_or(|status| ["failed", "canceled"].contains(&status));
    match kind {
        "refund.failed" => Concern::FailedRefund,
        "refund.updated" | "charge.refund.updated" if has_failed => Concern::FailedRefund,
        kind if kind.starts_with("charge.dispute.") => Concern::Dispute,
        _ => Concern::Booking,
    }
}
