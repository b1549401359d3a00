//! What every request has in common: its context, its limits, how its body, path and query are read.

pub mod body;
pub mod client;
pub mod context;
pub mod cors;
pub mod counter;
pub mod extract;
pub mod language;
pub mod layers;
pub mod page;
pub mod prefer;
pub mod rates;
pub mod rendered;
pub mod text;
