//! Mission control: the operators' pages over the engine.
//!
//! HTML from the server, forms and links: everything works without a script. The one there is keeps pages up to date and adds keys. The engine's own
//! functions read and command; what is kept beside it (users, sessions, audit, notes) is in the schema `ops`.

pub mod access;
pub mod campaigns;
pub mod operators;
pub mod tokens;

mod api;
mod app;
mod approvals;
mod comparison;
mod deeds;
pub mod difference;
mod error;
mod fresh;
mod inbox;
mod layers;
mod limits;
mod links;
pub mod lists;
mod pages;
mod paging;
mod queue_control;
mod queues;
mod reports;
mod schedules;
mod store;
mod trail;

pub use access::Role;
pub use access::sign_on::{RoleMap, SignOn};
pub use api::description as openapi;
pub use app::{Mission, Options, router};
pub use links::Links;
pub use queues::WORKER_GROUP_PREFIX;
