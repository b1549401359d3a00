//! The SQL of the notifications: [`messages`], and which mails about accounts went out ([`sent`]).

pub(super) mod messages;
pub(super) mod sent;
pub(super) mod wishes;
