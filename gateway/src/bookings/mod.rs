//! Bookings: each is one saga of the booking workflow, seen from the buyer's side.

pub mod mine;
pub mod request;
pub mod routes;
pub mod view;

mod admission;
mod keys;
mod lookups;

pub use admission::Admission;
pub use keys::KeysInFlight;
pub use lookups::KeyLookups;
