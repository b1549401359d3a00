//! Messages to buyers, as far as they are the gateway's: what buyers want to be told and where ([`preferences`], [`devices`]), what providers say
//! of messages later ([`receipts`]), and telling the engine of both ([`runner`]). Sending is the workers' (`activities/src/notifications`).

pub mod devices;
pub mod preferences;
pub mod receipts;
pub mod runner;

mod store;
