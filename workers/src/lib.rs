//! The worker runtime: takes tasks from Kafka, runs activities, reports results.
//!
//! Each queue has a consumer group, a loop ([`queue`]) and limits of its own, so that a slow or broken kind of work
//! never holds up another. The loop decodes envelopes ([`intake`]), starts activities ([`running`]) and sends their
//! answers ([`answers`]); an offset is committed only when all tasks up to it are answered and the broker has acknowledged
//! the answers, so whatever dies in between comes again. Activities are idempotent by their key.

mod answers;
mod entry;
mod intake;
mod options;
mod presence;
mod queue;
mod readiness;
mod running;
mod worker;

pub use options::WorkerOptions;
pub use readiness::Readiness;
pub use worker::{Summary, Worker, WorkerError};
