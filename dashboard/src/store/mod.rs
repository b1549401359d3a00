//! The SQL of the schema `ops`, and what the overview asks of the engine's tables.

pub mod audit;
pub mod figures;
pub mod inbox;
pub mod sessions;
pub mod users;
pub mod views;
