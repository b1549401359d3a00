//! Watching the platform: alerts, and workers that come and go with them.
//!
//! Every few seconds [`watch`] gathers a few metrics ([`gather`]), judges the [`rules`] and decides how many workers are wanted ([`scale`]);
//! both are pure. What has changed stands in the schema `ops` ([`store`]) together with the sagas to be started for it: `system_alert`
//! publishes and tells, `scale_out` has the activity [`setting`] set replicas through a [`scaler`]: Kubernetes' API, or processes on this machine.
//!
//! Any number of processes may watch: whoever holds the one lock judges, the others look again later.

pub mod gather;
pub mod kubernetes;
pub mod metrics;
pub mod processes;
pub mod rules;
pub mod scale;
pub mod scaler;
pub mod setting;
pub mod store;
pub mod watch;
