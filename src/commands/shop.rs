//! The buyers' pages: around a gateway's API in its own process, or, as `sagaline shop`, in front of one that is elsewhere.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use shop::{Api, Guests, Payments};

use crate::cli::{self, set};
use crate::entrance::bind;
use crate::settings::{Flags, Settings};
use crate::shutdown;

/// The flags as settings.
pub fn flags(args: &cli::Shop) -> Flags {
    let mut flags = set("shop.gateway_url", args.gateway_url.as_ref());
    flags.extend(set("shop.listen", args.listen.as_ref()));
    flags
}

/// Runs until told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    // The HTTP client looks for one even where no TLS is spoken; that there is one already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api = Api::remote(&settings.shop_gateway_url).context("making the gateway's client")?;
    let listener = bind(settings.shop_listen).await?;
    tracing::info!(address = %listener.local_addr()?, gateway = settings.shop_gateway_url, "the buyers' pages are served");
    let router = shop::router(options(&settings), api).into_make_service_with_connect_info::<SocketAddr>();
    // Open pages have streams without an end: those that are left when the time is up end with the process.
    let stopping = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    let drained = async {
        stopping.cancelled().await;
        tokio::time::sleep(settings.drain).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = drained => (),
    }
    tracing::info!("stopped");
    Ok(())
}

/// A gateway's routes with the pages around them, if they are wanted there.
pub fn around(settings: &Settings) -> impl FnOnce(Router) -> Router + use<> {
    let options = settings.shop_pages.then(|| options(settings));
    move |api| match options {
        Some(options) => shop::router(options, Api::local(api.clone())).fallback_service(api),
        None => api,
    }
}

fn options(settings: &Settings) -> shop::Options {
    let bank = settings.bank_url.as_ref().or(settings.stripe_base_url.as_ref());
    shop::Options {
        guests: match settings.anonymous_bookings {
            true => Guests::Welcome,
            false => Guests::LogIn,
        },
        payments: bank.map_or(Payments::Elsewhere, |url| Payments::TestCards { bank_url: url.clone() }),
        url: settings.shop_url.clone(),
    }
}
