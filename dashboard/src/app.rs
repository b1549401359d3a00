//! Putting the pages together.

use std::sync::Arc;

use analytics::store::Store;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use orchestrator::Engine;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Semaphore;

use crate::access::password::Hasher;
use crate::access::sign_on::{BACK, Provider, SignOn};
use crate::fresh::Fresh;
use crate::inbox::Inbox;
use crate::limits::{ACQUIRE_TIMEOUT, CONNECTIONS_MAX, EXPORTS_MAX, FORM_BYTES_MAX, STATEMENT_TIMEOUT};
use crate::links::Links;
use crate::pages::home::Known;
use crate::pages::live::Live;
use crate::queues::Queues;
use crate::{api, layers, pages};

/// What the pages work with. Cheap to clone.
#[derive(Clone)]
pub struct Mission {
    pub(crate) engine: Engine,
    pub(crate) pool: PgPool,
    pub(crate) hasher: Arc<Hasher>,
    pub(crate) figures: Arc<Fresh<Known>>,
    pub(crate) inbox: Arc<Fresh<Inbox>>,
    pub(crate) queues: Queues,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) live: Arc<Live>,
    pub(crate) sign_on: Option<Provider>,
    pub(crate) options: Options,
    pub(crate) analytics: Option<Store>,
}

/// How careful mission control is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Edits, skips, compensations and large campaigns need a second person.
    pub second_person: bool,
    /// A campaign of more sagas than this is large.
    pub approval_items: u32,
    /// Where else something of a saga is to be seen.
    pub links: Links,
    /// By which identity provider operators may come too; none: by passwords and links only.
    pub sign_on: Option<SignOn>,
}

impl Default for Options {
    /// A hundred sagas are more than anybody looks at one by one.
    fn default() -> Self {
        Options {
            second_person: true,
            approval_items: 100,
            links: Links::default(),
            sign_on: None,
        }
    }
}

impl Mission {
    /// Mission control over an engine in this process, as careful as by default.
    pub fn new(engine: Engine) -> Self {
        Mission::with(engine, Options::default())
    }

    /// Mission control over an engine in this process, with a few connections of its own to the same database.
    pub fn with(engine: Engine, options: Options) -> Self {
        let timeout = STATEMENT_TIMEOUT.as_millis().to_string();
        let connect = primary::default_plans(PgConnectOptions::clone(&engine.pool().connect_options()))
            .application_name("sagaline-dashboard")
            .options([("statement_timeout", timeout)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(connect);
        Mission {
            engine,
            pool,
            hasher: Arc::default(),
            figures: Arc::default(),
            inbox: Arc::default(),
            queues: Queues::default(),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            live: Arc::default(),
            sign_on: options.sign_on.clone().map(Provider::new),
            options,
            analytics: None,
        }
    }

    /// With reports from this store.
    pub fn reading(self, analytics: Store) -> Self {
        Mission {
            analytics: Some(analytics),
            ..self
        }
    }

    /// Its connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Ends the streams of open pages, which would hold up a server that waits for its requests.
    pub fn leave(&self) {
        self.live.stop();
    }

    /// Lets go of the connections.
    pub async fn close(&self) {
        self.leave();
        self.pool.close().await;
    }
}

/// All pages.
pub fn router(mission: Mission) -> Router {
    let inside = Router::new()
        .route("/", get(pages::home::show))
        .route("/sagas", get(pages::sagas::show))
        .route("/sagas/export", get(pages::export::get))
        .route("/sagas/views", post(pages::sagas::keep))
        .route("/sagas/{id}", get(pages::saga::show))
        .route("/sagas/{id}/difference", get(pages::difference::show))
        .route("/sagas/{id}/act", get(pages::act::show).post(pages::act::act))
        .route("/stuck", get(pages::stuck::show))
        .route("/stuck/{fingerprint}", post(pages::stuck::say))
        .route("/workflows", get(pages::workflows::list))
        .route("/workflows/{name}", get(pages::workflows::show))
        .route("/schedules", get(pages::schedules::list))
        .route(
            "/schedules/{name}",
            get(pages::schedules::show).post(pages::schedules::act),
        )
        .route("/workers", get(pages::workers::show))
        .route("/workers/{queue}", post(pages::workers::act))
        .route("/analytics", get(pages::analytics::show))
        .route("/analytics/export", get(pages::analytics::export))
        .route("/alerts", get(pages::alerts::show))
        .route("/help", get(pages::guide::show))
        .route("/audit", get(pages::trail::trail))
        .route("/audit/export", get(pages::trail::export))
        .route("/live", get(pages::live::listen))
        .route("/campaigns", get(pages::campaigns::list).post(pages::campaigns::create))
        .route("/campaigns/new", get(pages::campaigns::form))
        .route("/campaigns/{id}", get(pages::campaigns::show))
        .route("/campaigns/{id}/{steer}", post(pages::campaigns::steer))
        .route("/approvals", get(pages::approvals::list))
        .route(
            "/approvals/{id}",
            get(pages::approvals::show).post(pages::approvals::decide),
        )
        .route("/settings", get(pages::settings::show))
        .route("/settings/tokens", post(pages::settings::add))
        .route("/settings/tokens/revoke", post(pages::settings::revoke))
        .route("/settings/users", post(pages::settings::add_user))
        .route("/settings/users/change", post(pages::settings::change_user))
        .route("/settings/password", post(pages::settings::set_password))
        .route("/logout", post(pages::login::logout))
        .layer(from_fn_with_state(mission.clone(), layers::session));
    let outside = Router::new()
        .route("/login", get(pages::login::show).post(pages::login::login))
        .route("/login/sign-on", get(pages::sign_on::start))
        .route(BACK, get(pages::sign_on::back))
        .route("/login/link", get(pages::login::link).post(pages::login::use_link))
        .route("/assets/{name}", get(pages::assets::get));
    inside
        .merge(outside)
        .fallback(pages::not_found)
        .layer(from_fn(layers::same_origin))
        .nest("/api", api::router(mission.clone()))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(orchestrator::api::read_on::read_on))
        .layer(from_fn(web::headers))
        .with_state(mission)
}
