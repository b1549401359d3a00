//! Webhooks of the payment provider: signed, repeated, reordered, late. What one says is never believed; it only makes
//! the booking it names ask the provider again.

pub mod deliver;
pub mod route;
pub mod signature;

pub use route::Arrivals;
