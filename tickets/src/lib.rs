//! Tickets: the code that a door believes, and the paper it is printed on. No I/O.
//!
//! A ticket is for one seat of one booking. Its [code] is signed with a key that only the shop has, so a scanner that knows the public half can
//! check it without a network; whether the ticket was used before, or its money was given back, only the shop knows.

pub mod code;
pub mod pdf;
pub mod permit;
pub mod qr;

pub use code::{CodeError, Ticket, TicketKey, TicketKeys, holder};
pub use permit::{is_permit, permit};
pub use qr::Qr;
