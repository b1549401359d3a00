//! Postgres with standbys: finds which of several servers takes writes, and keeps connection pools on it.
//!
//! SQLx connects to one host. This crate reads connection strings of several, in libpq's form
//! (`postgres://user@one:5432,two:5432/db?target_session_attrs=read-write`), looks once a second whether the primary still is one, and,
//! when another server has been promoted, moves the pools to it: new connections go there, and old ones that lead to a server which
//! is still alive but no longer takes writes are closed. Who promotes is not our business: Patroni, pg_auto_failover or a person.
//! It also holds the planner's settings of our sessions.

mod follow;
mod servers;
mod session;

pub use follow::Follower;
pub use servers::{BadServers, NoPrimary, Servers};
pub use session::{default_plans, index_plans};
