//! The SQL of the schema `ops`, and what the overview asks of the engine's tables.

pub mod approvals;
pub mod audit;
pub mod campaigns;
pub mod figures;
pub mod inbox;
pub mod sagas;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod views;
