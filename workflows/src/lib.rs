//! The pure core: what a workflow is, where a saga stands, and how it moves.
//!
//! Nothing here does I/O or reads a clock: `now` comes in as an argument, randomness is seeded by ids. The one
//! entry point is [`advance`] (and [`start`] for its first event).

pub mod builder;
pub mod definition;
pub mod effect;
pub mod event;
pub mod ids;
pub mod limits;
pub mod protocol;
pub mod state;

mod advance;
mod compile;
mod expr;
mod retry;
mod size;
mod view;

pub mod tickets;

pub use advance::{Applied, Refused, Transition, advance, apply, rebuild, replay, start};
pub use compile::{Compiled, Problem};
pub use size::json_bytes;
pub use view::{SagaView, StepView, view};
