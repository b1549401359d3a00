//! Bookings: each is one saga of the booking workflow, seen from the buyer's side.

pub mod request;
pub mod routes;
pub mod view;

mod keys;
mod lookups;

pub use keys::KeysInFlight;
pub use lookups::KeyLookups;
