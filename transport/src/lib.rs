//! Kafka plumbing: everything that orchestrator and workers share of it, and nothing of what the messages mean.
//!
//! A [`Producer`] that keeps the order of its callers, a [`GroupConsumer`] that commits only behind finished work
//! (an [`OffsetTracker`] per topic), [`EnvelopePacker`] for the protocol's envelopes, and two brokers to run on where none is
//! given: [`InProcessBroker`] and [`apache::ApacheKafka`].

pub mod apache;
pub mod reconnect;

mod admin;
mod config;
mod consumer;
mod delivery;
mod envelope;
mod error;
mod groups;
mod in_process;
mod offsets;
mod producer;

pub use admin::{BrokerKind, committed_offsets, ensure_topics};
pub use config::KafkaConfig;
pub use consumer::{Assignment, GroupConsumer, GroupContext};
pub use envelope::{EnvelopePacker, pack_results, pack_tasks};
pub use error::TransportError;
pub use groups::{BrokerProbe, GroupAsker, GroupMember, GroupStanding, group_standing};
pub use in_process::InProcessBroker;
pub use offsets::{OffsetTracker, Ticket};
pub use producer::{Outgoing, Producer};
