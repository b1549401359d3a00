//! The shop's users: accounts, passwords, sessions, the links in their mails.
//!
//! A login gives two tokens. The *access token* is signed and short-lived: whose request it is, is known without asking
//! anybody. The *refresh token* is random, good for one use, and known here by its digest alone; using it gives the
//! next one. Whoever uses an earlier one has stolen it, or was stolen from: the whole session ends.
//!
//! What happens to an account is written to an outbox with it ([`outbox`]), from where a small saga publishes it and sends the mail:
//! so a login waits for no engine, and no mail is lost. No answer and no answer's time tells whether an address has an account, but
//! for registration, which must.

pub mod accounts;
pub mod changes;
pub mod demo;
pub mod id;
pub mod identify;
pub mod links;
pub mod outbox;
pub mod random;
pub mod request;
pub mod sessions;

mod attempts;
mod page;
mod password;
mod store;
mod token;

use crate::options::Options;

pub use id::UserId;

/// What the users' handlers share.
pub struct Users {
    /// Hashes passwords.
    pub hasher: password::Hasher,
    /// Counts attempts.
    pub attempts: attempts::Attempts,
    /// Signs and verifies access tokens.
    pub tokens: token::AccessTokens,
}

impl Users {
    /// With these settings.
    pub fn new(options: &Options) -> Users {
        Users {
            hasher: password::Hasher::new(options.hashes_max),
            attempts: attempts::Attempts::default(),
            tokens: token::AccessTokens::new(options.token_secret.as_ref()),
        }
    }
}
