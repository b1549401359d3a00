//! Mails about a buyer's account: `accounts.mail`.
//!
//! The link in the mail is made here, at the moment of sending: only its digest is kept, and no saga, journal or message ever has it.
//! A repeated attempt whose first one may have got through makes another link, and both are good.

mod message;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::activity::{Registry, TaskContext};
use crate::notifications::email::{self, Mailer, Sent};
use crate::notifications::provider::{NO_RECIPIENT, PROVIDER_UNAVAILABLE, REJECTED};
use crate::notifications::{QUEUE, Sending, unanswered};
use crate::typed::{Failure, INTERNAL, Typed, TypedActivity};

/// How long a link that confirms an address is good: who registers on Friday may read their mail on Monday.
const CONFIRMATION_LIFE: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// How long a link to a new password is good: somebody is waiting for it.
const PASSWORD_RESET_LIFE: Duration = Duration::from_secs(60 * 60);

/// The account is gone. Permanent.
pub const NO_ACCOUNT: &str = "no_account";

/// Registers `accounts.mail`; links begin with `shop_url`.
pub fn register(registry: &mut Registry, pool: PgPool, mailer: Mailer, shop_url: String) {
    let activity = AccountMail { pool, mailer, shop_url };
    registry.single(QUEUE, Arc::new(Typed(activity)));
}

/// What `accounts.mail` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountMailInput {
    /// `usr_…`
    pub user_id: String,
    /// The user's address.
    pub to: String,
    /// How the mail addresses them.
    pub name: String,
    /// Why.
    pub kind: Kind,
}

/// Why a mail is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// They have registered.
    Registered,
    /// They want another link to confirm their address.
    Confirmation,
    /// They have forgotten their password.
    PasswordReset,
}

impl Kind {
    fn template(self) -> &'static str {
        match self {
            Kind::Registered | Kind::Confirmation => "account_confirmation",
            Kind::PasswordReset => "account_password_reset",
        }
    }

    /// As the table has it, and how long the link is good.
    fn purpose(self) -> (&'static str, Duration) {
        match self {
            Kind::Registered | Kind::Confirmation => ("confirmation", CONFIRMATION_LIFE),
            Kind::PasswordReset => ("password_reset", PASSWORD_RESET_LIFE),
        }
    }

    fn link(self, shop_url: &str, token: &str) -> String {
        match self {
            Kind::Registered | Kind::Confirmation => format!("{shop_url}/confirmations?token={token}"),
            Kind::PasswordReset => format!("{shop_url}/password-resets/{token}"),
        }
    }
}

struct AccountMail {
    pool: PgPool,
    mailer: Mailer,
    shop_url: String,
}

#[async_trait]
impl TypedActivity for AccountMail {
    type Input = AccountMailInput;
    type Output = Sent;
    const NAME: &'static str = "accounts.mail";
    const CODES: &'static [&'static str] = &[NO_ACCOUNT, NO_RECIPIENT, REJECTED, PROVIDER_UNAVAILABLE];

    async fn run(&self, context: &TaskContext, input: AccountMailInput) -> Result<Sent, Failure> {
        let account: Uuid = input
            .user_id
            .strip_prefix("usr_")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Failure::invalid_input("/userId", "is no registered user's"))?;
        let to = email::address(&input.to)?;
        let message_id = self.mailer.message_id(&context.key);
        let sent = Sent {
            message_id: message_id.clone(),
            to: to.to_string(),
        };
        let sending = Sending {
            key: &context.key,
            account,
            recipient: &sent.to,
            template: input.kind.template(),
            message_id: &message_id,
        };
        if !email::claim(&self.pool, &sending).await? {
            return Ok(sent);
        }
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let (purpose, life) = input.kind.purpose();
        let link = input.kind.link(&self.shop_url, &token);
        let message = message::compose(
            &input,
            &link,
            life,
            self.mailer.from(),
            Mailbox::new(None, to),
            &message_id,
        )
        .map_err(|error| Failure::permanent(INTERNAL, error.to_string()));
        let ready = match message {
            Ok(message) => {
                match store::insert_link(&self.pool, &Sha256::digest(&token), account, &input.to, purpose, life).await {
                    Ok(true) => Ok(message),
                    Ok(false) => Err(Failure::permanent(NO_ACCOUNT, "there is no account with this address")),
                    Err(error) => Err(unanswered(&error)),
                }
            }
            Err(failure) => Err(failure),
        };
        match ready {
            Ok(message) => email::hand_over(&self.pool, &self.mailer, &context.key, message).await?,
            Err(failure) => {
                email::give_up(&self.pool, &context.key).await;
                return Err(failure);
            }
        }
        Ok(sent)
    }
}
