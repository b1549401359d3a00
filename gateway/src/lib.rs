//! The ticket shop's public HTTP API: users, events, seats, bookings, and the payment provider's webhooks.
//!
//! The gateway keeps no state of its own but the users, the events, the webhook inbox and the lines of waiting rooms, and in memory what it saw of the seats a moment ago. It checks what comes in, turns a wish to book into one
//! start of the booking workflow, and shows the saga's state in the shop's words. Any number of gateways can run.
//!
//! Shape: [`Options`] and [`Deps`] → [`serve`] (or [`router`] alone, without the webhook inbox's background task).

pub mod limits;
pub mod money;
pub mod options;
pub mod problem;

mod actions;
mod app;
mod availability;
mod background;
mod bookings;
mod events;
mod health;
mod http;
mod notifications;
mod outbox;
mod passing;
mod queue;
mod refunds;
mod reports;
mod routes;
mod services;
mod store;
mod tickets;
mod together;
mod users;
mod webhooks;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::events::outbox::EventChanges;
use crate::notifications::runner::Messages;
use crate::refunds::runner::CalledOff;
use crate::users::outbox::AccountEvents;
use crate::webhooks::deliver::Delivery;

pub use self::tickets::new_pass;
pub use app::Deps;
pub use bookings::view::{Booking, BookingStatus};
pub use events::organiser::{OrganiserEntry, add_organiser, list_organisers, remove_organiser};
pub use options::{Options, Origins, Rate, Rates, Secret, Service, ServiceUrls, Services, TrustedProxies};
pub use routes::openapi;
pub use users::demo::{DEMO_ORGANISER, Demo, demo_buyer, demo_organiser};
pub use webhooks::signature;

/// How long requests keep coming in after the gateway has said that it is not ready any more: load balancers need a
/// moment to notice.
const NOTICE: Duration = Duration::from_millis(500);

/// The API as an axum router. Webhooks are kept, but not passed on: that is [`serve`]'s part.
pub fn router(options: Options, deps: Deps) -> axum::Router {
    routes::router(&app::App::new(options, deps))
}

/// Serves the API on `listener` until `shutdown`, and passes on what the webhook inbox holds.
///
/// Needs neither the database nor the engine to begin with: while one of them is away, requests are answered with
/// 503. Once told to stop, it says that it is not ready, takes no more requests, and finishes those in flight.
pub async fn serve(
    options: Options,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    serve_with(options, deps, listener, shutdown, |api| api).await
}

/// The same with more around it: `site` is given the API's routes, and gives those that are served.
pub async fn serve_with(
    options: Options,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
    site: impl FnOnce(axum::Router) -> axum::Router,
) -> std::io::Result<()> {
    let drain_time_limit = options.drain_time_limit;
    let app = app::App::new(options, deps);
    let mut chores = JoinSet::new();
    for service in &app.options().services {
        begin_chores(*service, &mut chores, &app, &shutdown);
    }
    if [Service::Events, Service::Bookings]
        .iter()
        .any(|service| app.options().services.contains(service))
    {
        chores.spawn(availability::refresh::run(app.clone(), shutdown.clone()));
    }
    let router = site(routes::router(&app)).into_make_service_with_connect_info::<SocketAddr>();
    let stop = CancellationToken::new();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let mut server = tokio::spawn(server.into_future());
    let served = tokio::select! {
        ended = &mut server => ended,
        () = shutdown.cancelled() => {
            app.begin_drain();
            tokio::time::sleep(NOTICE).await;
            stop.cancel();
            tokio::time::timeout(drain_time_limit, &mut server).await.unwrap_or_else(|_| {
                let seconds = drain_time_limit.as_secs();
                tracing::warn!(seconds, "requests in flight did not finish in time; they end with the process");
                server.abort();
                Ok(Ok(()))
            })
        }
    };
    shutdown.cancel();
    while let Some(ended) = chores.join_next().await {
        ended.map_err(std::io::Error::other)?;
    }
    served.map_err(std::io::Error::other)?
}

/// What a service does beside answering requests.
fn begin_chores(service: Service, chores: &mut JoinSet<()>, app: &app::App, shutdown: &CancellationToken) {
    let (app, shutdown) = (app.clone(), shutdown.clone());
    match service {
        Service::Users => drop(chores.spawn(background::run(AccountEvents::default(), app, shutdown))),
        Service::Events => drop(chores.spawn(background::run(EventChanges, app, shutdown))),
        Service::Bookings => drop(chores.spawn(queue::rooms::run(app, shutdown))),
        Service::Payments => {
            chores.spawn(background::run(Delivery::default(), app.clone(), shutdown.clone()));
            chores.spawn(background::run(CalledOff::default(), app, shutdown));
        }
        Service::Tickets => {}
        Service::Notifications => drop(chores.spawn(background::run(Messages::default(), app, shutdown))),
        Service::Analytics => drop(chores.spawn(reports::live::run(app, shutdown))),
    }
}
