//! Tickets, the doors that let people in by them, and orders of guests.
//!
//! A ticket is not a row: it is a seat that is sold to a booking, and a code that says so, signed. What is kept is who was let in. So nothing has
//! to be undone when a booking is given back: its codes are still signed, and the door sees that the seat isn't theirs any more.

pub mod doors;
pub mod orders;
pub mod passes;
pub mod routes;

mod keys;
mod store;

pub use keys::Keys;
pub use passes::new_pass;
pub use store::admitted_of;
