//! What a mail about an account says: its kind and its language make a subject, a text and HTML.

use std::time::Duration;

use askama::Template;
use fluent_bundle::FluentArgs;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};

use super::Kind;
use crate::notifications::ContentError;
use crate::notifications::words::{self, Language};

/// A link, and how long it is good.
#[derive(Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) url: &'a str,
    pub(super) life: Duration,
}

/// A mail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its subject.
    pub subject: String,
    /// The whole of it.
    pub text: String,
    /// The whole of it, as a page.
    pub html: String,
}

/// What templates show: one line each, safe as text; HTML is escaped by the templates.
struct Shown<'a> {
    language: &'static str,
    subject: String,
    greeting: String,
    lead: String,
    link: Option<&'a str>,
    footer: String,
}

#[derive(Template)]
#[template(path = "account.txt")]
struct Text<'a> {
    it: &'a Shown<'a>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Html<'a> {
    it: &'a Shown<'a>,
}

/// The words.
pub(super) fn render(kind: Kind, language: Language, link: Option<Link<'_>>) -> Result<Content, ContentError> {
    let mut variables = FluentArgs::new();
    variables.set("hours", link.map_or(0, |link| link.life.as_secs() / 3_600));
    let part = |attribute: &str| words::text(language, &format!("{}.{attribute}", kind.text()), &variables);
    let it = &Shown {
        language: language.tag(),
        subject: part("subject")?,
        greeting: part("greeting")?,
        lead: part("lead")?,
        link: link.map(|link| link.url),
        footer: part("footer")?,
    };
    Ok(Content {
        subject: it.subject.clone(),
        text: Text { it }.render()?,
        html: Html { it }.render()?,
    })
}

/// The message.
pub(super) fn compose(
    content: Content,
    from: &Mailbox,
    to: Mailbox,
    message_id: &str,
) -> Result<Message, lettre::error::Error> {
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(content.subject)
        .message_id(Some(message_id.to_owned()));
    message.multipart(MultiPart::alternative_plain_html(content.text, content.html))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::accounts::{check, preview};

    #[test]
    fn every_mail_about_an_account_can_be_made_in_every_language() {
        check().unwrap();
        for kind in Kind::ALL {
            let [english, german] = Language::ALL.map(|language| preview(kind, language).unwrap());
            assert_ne!(english.subject, german.subject, "{kind:?}");
            assert_ne!(english.text, german.text, "{kind:?}");
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(
                english.text.contains("https://"),
                kind.link().is_some(),
                "{}",
                english.text
            );
            assert!(german.html.contains("<html lang=\"de\">"));
        }
        let reset = preview(Kind::PasswordReset, Language::De).unwrap();
        assert!(reset.text.contains("eine Stunde lang"), "{}", reset.text);
        let confirmation = preview(Kind::Registered, Language::De).unwrap();
        assert!(confirmation.text.contains("96 Stunden lang"), "{}", confirmation.text);
    }
}
