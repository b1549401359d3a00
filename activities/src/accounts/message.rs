//! From a mail's kind to a message.

use std::time::Duration;

use askama::Template;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};
use thiserror::Error;

use super::{AccountMailInput, Kind};
use crate::notifications::content::one_line;

/// Why a message could not be made.
#[derive(Debug, Error)]
pub(super) enum MessageError {
    /// A template failed.
    #[error("the template could not be rendered: {0}")]
    Template(#[from] askama::Error),
    /// Its parts don't make a message.
    #[error("the message could not be put together: {0}")]
    Message(#[from] lettre::error::Error),
}

/// What templates show: one line each, safe as text; HTML is escaped by the templates.
struct Shown<'a> {
    name: String,
    link: &'a str,
    /// How long the link is good.
    hours: u64,
}

#[derive(Template)]
#[template(path = "account_confirmation.txt")]
struct ConfirmationText<'a> {
    it: &'a Shown<'a>,
}

#[derive(Template)]
#[template(path = "account_confirmation.html")]
struct ConfirmationHtml<'a> {
    it: &'a Shown<'a>,
}

#[derive(Template)]
#[template(path = "account_password_reset.txt")]
struct ResetText<'a> {
    it: &'a Shown<'a>,
}

#[derive(Template)]
#[template(path = "account_password_reset.html")]
struct ResetHtml<'a> {
    it: &'a Shown<'a>,
}

/// The message, as text and as HTML.
pub(super) fn compose(
    input: &AccountMailInput,
    link: &str,
    life: Duration,
    from: &Mailbox,
    to: Mailbox,
    message_id: &str,
) -> Result<Message, MessageError> {
    let it = &Shown {
        name: one_line(&input.name),
        link,
        hours: life.as_secs() / 3_600,
    };
    let (subject, text, html) = match input.kind {
        Kind::Registered | Kind::Confirmation => (
            "Confirm your address",
            ConfirmationText { it }.render()?,
            ConfirmationHtml { it }.render()?,
        ),
        Kind::PasswordReset => ("A new password", ResetText { it }.render()?, ResetHtml { it }.render()?),
    };
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(subject)
        .message_id(Some(message_id.to_owned()));
    Ok(message.multipart(MultiPart::alternative_plain_html(text, html))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        let input = AccountMailInput {
            user_id: String::new(),
            to: String::new(),
            name: "<b>Ada</b>\r\nBcc: x@example.org".to_owned(),
            kind: Kind::Registered,
        };
        let from: Mailbox = "tickets@sagaline.example".parse().unwrap();
        let hour = Duration::from_secs(3_600);
        let link = "https://shop.example/confirmations?token=t";
        let message = compose(&input, link, hour, &from, from.clone(), "<1@x>").unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(text.contains("Subject: Confirm your address"), "{text}");
        let html = text.split("text/html").nth(1).unwrap();
        assert!(!html.contains("<b>Ada"), "{html}");
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }
}
