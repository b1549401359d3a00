//! Mails about a buyer's account: `accounts.mail`.
//!
//! The link in the mail is made here, at the moment of sending: only its digest is kept, and no saga, journal or message ever has it.
//! A repeated attempt whose first one may have got through makes another link, and both are good. What mails say, in each language, is
//! Fluent's (`activities/i18n`), as with all messages.

mod message;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lettre::Message;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::activity::{Registry, TaskContext};
use crate::notifications::email::{self, Mailer, Sent};
use crate::notifications::provider::{NO_RECIPIENT, PROVIDER_UNAVAILABLE, REJECTED};
use crate::notifications::words::Language;
use crate::notifications::{ContentError, QUEUE, Sending, unanswered};
use crate::typed::{Failure, INTERNAL, Typed, TypedActivity};
pub use message::Content;
use message::Link;

/// How long a link that confirms an address is good: who registers on Friday may read their mail on Monday.
const CONFIRMATION_LIFE: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// How long a link to a new password is good: somebody is waiting for it.
const PASSWORD_RESET_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a link that confirms a new address is good: whoever asked for it is at their account now, and at their mail today.
const EMAIL_CHANGE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The purpose of a link that gives an account another address: that one is kept with it.
const EMAIL_CHANGE: &str = "email_change";

/// The account is gone. Permanent.
pub const NO_ACCOUNT: &str = "no_account";

/// Registers `accounts.mail`; links begin with `shop_url`.
///
/// # Errors
/// If a mail's texts are not there, or name what is not given to them.
pub fn register(registry: &mut Registry, pool: PgPool, mailer: Mailer, shop_url: String) -> Result<(), ContentError> {
    check()?;
    let activity = AccountMail { pool, mailer, shop_url };
    registry.single(QUEUE, Arc::new(Typed(activity)));
    Ok(())
}

/// Makes every mail in every language, so that a text that is missing, or names what isn't there, is found when a process starts.
pub fn check() -> Result<(), ContentError> {
    for kind in Kind::ALL {
        for language in Language::ALL {
            preview(kind, language)?;
        }
    }
    Ok(())
}

/// A mail as its reader would have it, with a link that is good for nothing.
pub fn preview(kind: Kind, language: Language) -> Result<Content, ContentError> {
    let link = kind.link();
    let url = link.map(|link| {
        link.url(
            "https://shop.example",
            "a-token-that-is-good-for-nothing-but-to-be-seen",
        )
    });
    let link = link
        .zip(url.as_deref())
        .map(|(link, url)| Link { url, life: link.life });
    message::render(kind, language, link)
}

/// What `accounts.mail` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountMailInput {
    /// `usr_…`
    pub user_id: String,
    /// The user's address.
    pub to: String,
    /// Why.
    pub kind: Kind,
    /// The language that their browser asked for; what they have said for good counts more.
    #[serde(default)]
    pub language: Option<Language>,
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
    /// They have changed it.
    PasswordChanged,
    /// They want another address; the mail goes to that.
    EmailChange,
    /// They have another address; the mail goes to the one they had.
    EmailChanged,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::Registered,
        Kind::Confirmation,
        Kind::PasswordReset,
        Kind::PasswordChanged,
        Kind::EmailChange,
        Kind::EmailChanged,
    ];

    /// Its name, on the command line too.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Registered => "registered",
            Kind::Confirmation => "confirmation",
            Kind::PasswordReset => "password_reset",
            Kind::PasswordChanged => "password_changed",
            Kind::EmailChange => "email_change",
            Kind::EmailChanged => "email_changed",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// As the texts have it.
    fn text(self) -> &'static str {
        match self {
            Kind::Registered | Kind::Confirmation => "account-confirmation",
            Kind::PasswordReset => "account-password-reset",
            Kind::PasswordChanged => "account-password-changed",
            Kind::EmailChange => "account-email-change",
            Kind::EmailChanged => "account-email-changed",
        }
    }

    /// As the table of what was sent has it.
    fn template(self) -> &'static str {
        match self {
            Kind::Registered | Kind::Confirmation => "account_confirmation",
            Kind::PasswordReset => "account_password_reset",
            Kind::PasswordChanged => "account_password_changed",
            Kind::EmailChange => "account_email_change",
            Kind::EmailChanged => "account_email_changed",
        }
    }

    /// The link that it has; none: it only tells.
    fn link(self) -> Option<LinkKind> {
        match self {
            Kind::Registered | Kind::Confirmation => Some(LinkKind {
                purpose: "confirmation",
                path: "/confirmations?token=",
                life: CONFIRMATION_LIFE,
            }),
            Kind::PasswordReset => Some(LinkKind {
                purpose: "password_reset",
                path: "/password-resets/",
                life: PASSWORD_RESET_LIFE,
            }),
            Kind::EmailChange => Some(LinkKind {
                purpose: EMAIL_CHANGE,
                path: "/email-changes?token=",
                life: EMAIL_CHANGE_LIFE,
            }),
            Kind::PasswordChanged | Kind::EmailChanged => None,
        }
    }
}

/// A kind of link.
#[derive(Clone, Copy)]
struct LinkKind {
    /// As the table has it.
    purpose: &'static str,
    /// What comes before its token.
    path: &'static str,
    /// How long it is good.
    life: Duration,
}

impl LinkKind {
    fn url(self, shop_url: &str, token: &str) -> String {
        format!("{shop_url}{}{token}", self.path)
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
        match self.prepare(&input, account, Mailbox::new(None, to), &message_id).await {
            Ok(message) => email::hand_over(&self.pool, &self.mailer, &context.key, message).await?,
            Err(failure) => {
                email::give_up(&self.pool, &context.key).await;
                return Err(failure);
            }
        }
        Ok(sent)
    }
}

impl AccountMail {
    /// The message, with a link of its own where its kind has one.
    async fn prepare(
        &self,
        input: &AccountMailInput,
        account: Uuid,
        to: Mailbox,
        message_id: &str,
    ) -> Result<Message, Failure> {
        let said = store::language(&self.pool, account).await;
        let said = said.map_err(|error| unanswered(&error))?;
        let language = said.as_deref().and_then(Language::parse).or(input.language);
        let link = input.kind.link();
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let url = link.map(|link| link.url(&self.shop_url, &token));
        let shown = link
            .zip(url.as_deref())
            .map(|(link, url)| Link { url, life: link.life });
        let internal = |error: &dyn std::fmt::Display| Failure::permanent(INTERNAL, error.to_string());
        let content = message::render(input.kind, language.unwrap_or_default(), shown);
        let content = content.map_err(|error| internal(&error))?;
        let message = message::compose(content, self.mailer.from(), to, message_id);
        let message = message.map_err(|error| internal(&error))?;
        let Some(link) = link else { return Ok(message) };
        let digest = Sha256::digest(&token);
        let kept = store::insert_link(&self.pool, &digest, account, &input.to, link.purpose, link.life).await;
        match kept {
            Ok(true) => Ok(message),
            Ok(false) => Err(Failure::permanent(NO_ACCOUNT, "there is no account with this address")),
            Err(error) => Err(unanswered(&error)),
        }
    }
}
