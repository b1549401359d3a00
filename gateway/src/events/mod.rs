//! Events and their seats, read only.

pub mod routes;

mod seat_map;

pub use seat_map::SeatMaps;
