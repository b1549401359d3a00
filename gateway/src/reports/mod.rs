//! `/analytics`: how events sell, for those whose events they are, from what the domain events said (crate `analytics`).
//!
//! The store has connections of its own, and may be away: then these routes say so (503), and nothing else notices.

mod figures;
pub mod live;
mod range;
pub mod routes;
