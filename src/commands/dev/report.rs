//! What `dev` says while it starts and once it is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::output::{Output, print_text};

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// Progress: a spinner on a terminal, lines elsewhere; on stderr in any case.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    /// Begins to show it.
    pub fn begin() -> Progress {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        if !bar.is_hidden() {
            bar.enable_steady_tick(TURN);
        }
        Progress {
            bar,
            began: Instant::now(),
        }
    }

    /// This is being done now.
    pub fn say(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        } else {
            self.bar.set_message(what.to_owned());
        }
    }

    /// This is worth keeping on the screen.
    pub fn note(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        } else {
            self.bar.println(what);
        }
    }

    /// All is done.
    pub fn end(&self) {
        self.bar.finish_and_clear();
        eprintln!("ready after {:.1} s", self.began.elapsed().as_secs_f64());
    }

    /// As what the Postgres launcher wants.
    pub fn callback(&self) -> localpg::Progress {
        let progress = self.clone();
        Arc::new(move |what| {
            // What it decided (where the data goes) matters later; what it does is over in a moment.
            if what.contains("keeping the database in") {
                progress.note(what)
            } else {
                progress.say(what)
            }
        })
    }
}

/// What is running, where.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Always true: the line comes once everything answers.
    pub ready: bool,
    /// The buyers' pages; none: they are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shop: Option<String>,
    /// The shop's API.
    pub gateway: String,
    /// The engine's API.
    pub ops: String,
    /// Mission control: a link that logs one in, once.
    pub dashboard: String,
    /// Postgres.
    pub database: String,
    /// Kafka.
    pub brokers: String,
    /// Stripe, or its sandbox.
    pub stripe: String,
    /// Where mails are kept; none: they are sent through SMTP_URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// The page that shows all messages; none: they are sent by the providers that are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// An access token of the demo buyer, good for a day.
    pub demo_token: String,
    /// An access token of the demo organiser, likewise.
    pub organiser_token: String,
}

impl Ready {
    /// Prints it: one JSON line, or what a person wants to know.
    pub fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json | Output::Jsonl => print_text(&serde_json::to_string(self)?),
            Output::Table => print_text(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![String::from("Sagaline is ready.\n")];
        lines.extend(
            self.shop
                .as_ref()
                .map(|shop| format!("  shop      {shop}       (buy something: test cards, no money moves)")),
        );
        lines.extend([
            format!(
                "  api       {}        (openapi: {}/openapi.json)",
                self.gateway, self.gateway
            ),
            format!("  engine    {}        (metrics: {}/metrics)", self.ops, self.ops),
            format!(
                "  operators {}        (a link for once; `sagaline operator add` makes users)",
                self.dashboard
            ),
            format!("  postgres  {}", self.database),
            format!("  kafka     {}", self.brokers),
            format!("  stripe    {}", self.stripe),
        ]);
        lines.extend(self.mailbox.as_ref().map(|mailbox| format!("  mailbox   {mailbox}")));
        lines.extend(
            self.messages
                .as_ref()
                .map(|page| format!("  messages  {page}        (mails, SMS, push messages, Slack)")),
        );
        lines.push(String::from("\nBook two seats:\n"));
        lines.push(self.curl());
        lines.push(String::from(
            "\nThat is anonymous. To book as the demo buyer add this header (good for a day; GET /users/me tells who that is):\n",
        ));
        lines.push(format!("  authorization: Bearer {}", self.demo_token));
        lines.push(String::from(
            "\nTo make venues and events as the demo organiser (docs/events.md), this one:\n",
        ));
        lines.push(format!("  authorization: Bearer {}", self.organiser_token));
        lines.push(String::from("\nCtrl-C stops everything; the data stays."));
        lines.join("\n")
    }

    /// A booking to copy.
    fn curl(&self) -> String {
        format!(
            "  curl -s {}/bookings -H 'content-type: application/json' -H 'prefer: wait=10' \\\n    \
             -d '{{\"userId\":\"user_1\",\"eventId\":\"taylor_swift_nyc_2024\",\"seatIds\":[\"A15\",\"A16\"],\"totalAmount\":800.00}}'",
            self.gateway
        )
    }
}
