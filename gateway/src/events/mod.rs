//! Events and their seats, read only: the list of seats, and their changes as they happen.

pub mod live;
pub mod routes;
