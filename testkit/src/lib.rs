//! What tests share: a database of their own, waiting for a condition, asking for outside programs, and a browser.

mod axe;
mod chrome;
mod clickhouse;
mod database;
mod program;
mod wait;

pub use chrome::{Chrome, Keeping, LIMIT as PAGE_LIMIT};
pub use clickhouse::ClickHouseServer;
pub use database::{SERVER_VARIABLE, TestDatabase, database, migrated_database};
pub use program::require;
pub use wait::eventually;
