//! `sagaline sandbox stripe`: a stand-in for Stripe, as a process of its own.

use std::net::SocketAddr;

use sandbox::{Options, Switches, WebhookSwitches};

use crate::cli::{self, set};
use crate::entrance::bind;
use crate::settings::{Flags, Settings};
use crate::shutdown;

/// The flags as settings.
pub fn flags(args: &cli::StripeSandbox) -> Flags {
    set("stripe.webhook_secret", args.webhook_secret.as_ref())
}

/// Runs until told to stop.
pub async fn run(args: cli::StripeSandbox, settings: Settings) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let listener = bind(SocketAddr::new(args.listen, args.port)).await?;
    tracing::info!(
        url = format!("http://{}", listener.local_addr()?),
        "the Stripe sandbox listens; no money moves"
    );
    let mut options = Options {
        data_dir: args.data_dir,
        switches: Switches {
            webhook: WebhookSwitches {
                url: args.webhook_url,
                ..WebhookSwitches::default()
            },
            ..Switches::default()
        },
        ..Options::default()
    };
    if let Some(secret) = &settings.stripe_webhook_secret {
        options.webhook_secret = secret.reveal().to_owned();
    }
    sandbox::serve(options, listener, stop).await?;
    Ok(())
}
