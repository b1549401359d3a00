//! The users' SQL: nobody else touches these tables, but for the activity that mails the links.

pub mod accounts;
pub mod changes;
pub mod events;
pub mod links;
pub mod sessions;
