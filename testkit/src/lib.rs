//! What tests share: a database of their own, waiting for a condition, and asking for outside programs.

mod database;
mod program;
mod wait;

pub use database::{SERVER_VARIABLE, TestDatabase, database, migrated_database};
pub use program::require;
pub use wait::eventually;
