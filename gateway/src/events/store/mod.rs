//! All SQL of events, venues and who makes them. Seats are shared with the seats' activities: both lock them in the order
//! (event_id, seat_id) before they change any.

pub mod changes;
pub mod events;
pub mod house;
pub mod organisers;
pub mod venues;
