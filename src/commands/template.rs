//! `sagaline template preview`: a message as its reader would have it, with sample data. Needs nothing to run.

use activities::accounts;
use activities::notifications::Channel;
use activities::notifications::content::{self, Kind, MessageData};
use activities::notifications::words::Language;
use anyhow::Context;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::output::print_text;

/// `sagaline template`.
#[derive(Clone, Debug, Subcommand)]
pub enum Template {
    /// Show a message with sample data.
    Preview(Preview),
}

/// `sagaline template preview`.
#[derive(Clone, Debug, Args)]
pub struct Preview {
    /// booking_confirmed, booking_cancelled, event_cancelled, cancellation_finished, alert_raised, alert_ended or
    /// workers_scaled; about accounts, by e-mail alone: registered, confirmation, password_reset, password_changed, email_change or
    /// email_changed.
    #[arg(long, value_parser = kind)]
    kind: About,
    /// en or de.
    #[arg(long, default_value = "en", value_parser = language)]
    language: Language,
    /// email, sms, push or slack.
    #[arg(long, default_value = "email", value_parser = channel)]
    channel: Channel,
    /// Of an e-mail, show the page instead of the text.
    #[arg(long)]
    html: bool,
}

/// What a message is about.
#[derive(Clone, Copy, Debug)]
enum About {
    /// A booking, or something for operations.
    Notification(Kind),
    /// An account.
    Account(accounts::Kind),
}

fn kind(name: &str) -> Result<About, String> {
    let notification = Kind::parse(name).map(About::Notification);
    let account = || accounts::Kind::parse(name).map(About::Account);
    notification.or_else(account).ok_or_else(|| {
        let [others, accounts] = [
            Kind::ALL.map(Kind::as_str).join(", "),
            accounts::Kind::ALL.map(accounts::Kind::as_str).join(", "),
        ];
        format!("there are {others}, {accounts}")
    })
}

fn language(tag: &str) -> Result<Language, String> {
    let tags = Language::ALL.map(Language::tag).join(", ");
    Language::parse(tag).ok_or_else(|| format!("there are {tags}"))
}

fn channel(name: &str) -> Result<Channel, String> {
    let names = Channel::ALL.map(Channel::as_str).join(", ");
    Channel::parse(name).ok_or_else(|| format!("there are {names}"))
}

/// Prints it.
pub fn run(command: &Template) -> anyhow::Result<()> {
    let Template::Preview(wish) = command;
    let making = "making the message";
    let kind = match wish.kind {
        About::Notification(kind) => kind,
        About::Account(kind) => {
            anyhow::ensure!(
                wish.channel == Channel::Email,
                "what is about accounts goes by e-mail alone"
            );
            let content = accounts::preview(kind, wish.language).context(making)?;
            return print_text(&if wish.html {
                content.html
            } else {
                format!("Subject: {}\n\n{}", content.subject, content.text)
            });
        }
    };
    let content = content::render(kind, wish.language, Uuid::nil(), &MessageData::sample());
    let content = content.context(making)?;
    print_text(&match wish.channel {
        Channel::Email if wish.html => content.html,
        Channel::Email => format!("Subject: {}\n\n{}", content.subject, content.text),
        Channel::Push => format!("{}\n{}", content.subject, content.short),
        Channel::Sms | Channel::Slack => content.short,
    })
}
