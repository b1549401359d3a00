//! The buyers' site: pages made on the server over the gateway's public API, which is all that it knows. It reads no table.
//!
//! Shape: [`Options`] and [`Api`] (the gateway in this process, or by HTTP) → [`router`], for `/` and everything below `/shop`. The API's own
//! paths stay free, so that one address can have both. Every page works without a script; with it, seats and bookings move by themselves.

pub mod api;
pub mod limits;

mod amount;
mod cards;
mod map;
mod options;
mod pages;
mod refresh;
mod routes;
mod text;
mod trouble;
mod types;
mod visitor;
mod words;

pub use api::Api;
pub use options::{Guests, Options, Payments};
pub use routes::router;
