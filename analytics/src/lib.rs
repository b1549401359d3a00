//! What the domain events say, kept for those who ask how sales go.
//!
//! A [`consumer`] group of its own reads the facts that the engine publishes and writes them, each once, into a store of its own, with their
//! roll-ups by minute, hour and day. Nothing that sells waits for any of it: while the store is away, offsets stay.
//!
//! Shape: [`consumer::run`] → [`fact::Fact`] (pure) → [`store::Store`], which alone knows whether that is Postgres or ClickHouse. Users' actions
//! come by way of [`actions::Recorder`]; [`report`] makes of counts what people read.

pub mod actions;
pub mod consumer;
pub mod fact;
pub mod limits;
pub mod report;
pub mod store;
