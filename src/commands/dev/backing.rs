//! What the platform stands on: Postgres, Kafka, Stripe, a mail server; each as set, or brought along.

use std::net::Ipv4Addr;

use anyhow::Context;
use localpg::LocalPostgres;
use sandbox::messaging::{Messaging, MessagingOptions};
use sandbox::{Serving, Switches, WebhookSwitches};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;
use transport::InProcessBroker;

use super::mailbox::Mailbox;
use super::place::Place;
use super::report::Progress;
use crate::entrance::bind;
use crate::platform::topics;
use crate::settings::{Secret, Settings};

/// The database within a Postgres of our own.
const DATABASE: &str = "sagaline";
/// The key that our sandbox is spoken to with; it takes any test key.
const SANDBOX_KEY: &str = "sk_test_sagaline_dev";

/// Whatever was brought along; what was set is none of ours to stop.
pub struct Backing {
    postgres: Option<LocalPostgres>,
    broker: Option<InProcessBroker>,
    stripe: Option<Serving>,
    mailbox: Option<Mailbox>,
    messaging: Option<Messaging>,
    stop: CancellationToken,
}

impl Backing {
    /// Starts what isn't set, and gives the settings with which to reach everything.
    pub async fn start(
        place: &Place,
        fresh: bool,
        settings: &Settings,
        webhook_url: &str,
        progress: &Progress,
    ) -> anyhow::Result<(Backing, Settings)> {
        let mut settings = settings.clone();
        let mut backing = Backing {
            postgres: None,
            broker: None,
            stripe: None,
            mailbox: None,
            messaging: None,
            stop: CancellationToken::new(),
        };
        if settings.database.is_none() {
            let server = postgres(place, fresh, progress).await?;
            settings.database = Some(Secret::url(&server.url(DATABASE)));
            backing.postgres = Some(server);
        }
        if settings.brokers.is_none() {
            progress.say("starting the in-process Kafka broker");
            let broker = InProcessBroker::start(settings.partitions).context("starting the in-process Kafka broker")?;
            // Before anybody asks for one: sagas of the last run have messages to send at once, and this broker would make up a topic,
            // with partitions as it likes.
            broker
                .create_topics(&topics(&settings.operations.targets))
                .context("creating the topics of the in-process Kafka broker")?;
            broker.rest_when_idle();
            settings.brokers = Some(broker.brokers());
            backing.broker = Some(broker);
        }
        if settings.stripe_api_key.is_none() {
            progress.say("starting the Stripe sandbox");
            let serving = stripe(place, webhook_url, backing.stop.clone()).await?;
            settings.stripe_api_key = Some(Secret::new(SANDBOX_KEY));
            settings.stripe_base_url = Some(serving.handle.url.clone());
            settings.stripe_webhook_secret = Some(Secret::new(&serving.handle.webhook_secret));
            backing.stripe = Some(serving);
        }
        if settings.smtp_url.is_none() {
            // Whoever has a mail server of their own has accounts at the others too, or goes without.
            let options = MessagingOptions {
                callbacks: true,
                ..MessagingOptions::default()
            };
            let messaging = Messaging::start(options, (Ipv4Addr::LOCALHOST, 0).into()).await;
            let messaging = messaging.context("starting the providers of messages")?;
            let mailbox = Mailbox::start(place.mailbox(), messaging.clone()).await;
            let mailbox = mailbox.context("starting the mailbox")?;
            settings.smtp_url = Some(Secret::url(&mailbox.url()));
            settings.messaging.sandboxed(&messaging);
            backing.mailbox = Some(mailbox);
            backing.messaging = Some(messaging);
        }
        Ok((backing, settings))
    }

    /// Where mails are kept, if they are kept here.
    pub fn mailbox(&self) -> Option<String> {
        self.mailbox.as_ref().map(|mailbox| mailbox.dir().display().to_string())
    }

    /// The page that shows messages, if they are kept here.
    pub fn messages(&self) -> Option<String> {
        self.messaging.as_ref().map(Messaging::url)
    }

    /// The broker has lost what the last run left in it.
    pub fn broker_forgets(&self) -> bool {
        self.broker.is_some()
    }

    /// Stops what was brought along, Postgres last.
    pub async fn shutdown(self) {
        let Backing {
            postgres,
            broker,
            stripe,
            mailbox,
            messaging,
            stop,
        } = self;
        stop.cancel();
        if let Some(serving) = stripe {
            let _ = serving.done.await;
        }
        drop(mailbox);
        drop(messaging);
        let stopping = tokio::task::spawn_blocking(move || {
            drop(broker);
            drop(postgres);
        });
        // A panic in there has been reported; there is nothing more to stop.
        let _ = stopping.await;
    }
}

async fn postgres(place: &Place, fresh: bool, progress: &Progress) -> anyhow::Result<LocalPostgres> {
    let mut options = localpg::Options::new(place.postgres());
    options.fresh = fresh;
    options.progress = progress.callback();
    let server = LocalPostgres::start(options).await?;
    let admin: sqlx::postgres::PgConnectOptions = server.url("postgres").parse()?;
    let mut connection = admin
        .connect()
        .await
        .context("connecting to the Postgres just started")?;
    create_database(&mut connection)
        .await
        .context("creating the database")?;
    connection.close().await?;
    Ok(server)
}

async fn create_database(connection: &mut PgConnection) -> sqlx::Result<()> {
    let query = sqlx::query_scalar("select exists (select from pg_database where datname = $1)").bind(DATABASE);
    let exists: bool = query.fetch_one(&mut *connection).await?;
    if !exists {
        connection.execute("create database sagaline").await?;
    }
    Ok(())
}

async fn stripe(place: &Place, webhook_url: &str, stop: CancellationToken) -> anyhow::Result<Serving> {
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let options = sandbox::Options {
        data_dir: Some(place.stripe()),
        switches: Switches {
            webhook: WebhookSwitches {
                url: Some(webhook_url.to_owned()),
                ..WebhookSwitches::default()
            },
            ..Switches::default()
        },
        ..sandbox::Options::default()
    };
    sandbox::start(options, listener, stop)
        .await
        .context("starting the Stripe sandbox")
}
