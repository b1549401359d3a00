//! Every route, in the API's description by the same line that makes it a route.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa::openapi::header::Header;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Object, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;
use crate::http::layers::{self, Capacity};
use crate::http::rates::{self, Spent};
use crate::http::rendered::Rendered;
use crate::http::text::echo;
use crate::limits::PASSED_MARGIN;
use crate::problem::{Kind, Problem};
use crate::services::Service;
use crate::{
    actions, bookings, events, health, notifications, passing, queue, refunds, reports, tickets, users, webhooks,
};

/// The frame of the API's description; the routes add themselves.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Sagaline ticket shop",
        description = "Events, seats and bookings. Amounts are JSON numbers with at most two decimals, read exactly; errors are RFC 9457 problem details.",
    ),
    tags(
        (name = "bookings", description = "Book seats, follow a booking, cancel it"),
        (name = "users", description = "Register, log in, look after one's account"),
        (name = "events", description = "Events and their seats"),
        (name = "tickets", description = "What gets one in"),
        (name = "doors", description = "Let people in; with a door pass"),
        (name = "organisers", description = "Make venues and events, and sell them"),
        (name = "webhooks", description = "For the providers of payments and messages"),
        (name = "health", description = "For the platform"),
    ),
    modifiers(&AccessToken)
)]
struct ApiDoc;

/// How one says who one is.
struct AccessToken;

impl Modify for AccessToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The access token that `POST /sessions` gives"))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("access_token", SecurityScheme::Http(scheme));
        let pass = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A pass for a door of one event, as `sagaline door-pass` makes it"))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("door_pass", SecurityScheme::Http(pass));
    }
}

/// The API's description, made once.
#[derive(Clone)]
struct Description(Rendered);

/// Where people read the API's description, and try it.
const DOCUMENTATION: &str = "/docs";
/// What that page may do: run its own scripts, which ask this API. Its styles come with its elements.
const DOCUMENTATION_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                                    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// All routes with their layers.
pub fn router(app: &App) -> Router {
    let (router, api) = described(app.options().services.iter().copied(), app.passing().services());
    let description = Description(Rendered::of(api.to_json().expect("a description is plain data")));
    // What is passed on has a limit of its own, a bit longer than its service's.
    let longer = app
        .passing()
        .services()
        .next()
        .map_or(Duration::ZERO, |_| 2 * PASSED_MARGIN);
    let capacity = Capacity {
        permits: Arc::new(Semaphore::new(app.options().requests_max.min(Semaphore::MAX_PERMITS))),
        time_limit: app.options().request_time_limit + longer,
    };
    let spent = app.options().rates.as_ref().map(|rates| Arc::new(Spent::of(rates)));
    let router = router
        .merge(documentation())
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::Extension(description));
    // Layers run from the last to the first:
    // 7. take down what users do,
    let router = router.layer(from_fn_with_state(app.clone(), actions::note));
    // 6. refuse who asks for too much,
    let router = match spent {
        Some(spent) => router.layer(from_fn_with_state((app.clone(), spent), rates::limit)),
        None => router,
    };
    router
        // 5. refuse what is too much, and give up on what takes too long,
        .layer(from_fn_with_state(capacity, layers::shed))
        // 4. turn a panic into an answer,
        .layer(CatchPanicLayer::custom(layers::panicked))
        // 3. tell browsers which other sites' pages may ask, and read also why not,
        .layer(app.options().cors_origins.layer())
        // 2. add the security headers to every answer,
        .layer(from_fn(layers::secure))
        // 1. say who is asking, log and measure.
        .layer(from_fn(layers::identify))
        .with_state(app.clone())
}

/// The API's description.
pub fn openapi() -> OpenApi {
    described(Service::ALL.into_iter(), std::iter::empty()).1
}

/// Says of every route that has a limit how it refuses what is too much.
fn describe_limits(api: &mut OpenApi) {
    const NAME: &str = "TooManyRequests";
    let problem = Content::new(Some(Ref::from_schema_name("ProblemDetails")));
    let seconds = Header::new(Object::with_type(Type::Integer));
    let refused = ResponseBuilder::new()
        .description("Too many requests of this user or this address (`too-many-requests`)")
        .header("Retry-After", seconds)
        .content("application/problem+json", problem)
        .build();
    let components = api.components.get_or_insert_default();
    components.responses.insert(NAME.to_owned(), refused.into());
    let limited = api
        .paths
        .paths
        .iter_mut()
        .filter(|(path, _)| !rates::is_unlimited(path));
    for item in limited.map(|(_, item)| item) {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let refused = RefOr::Ref(Ref::from_response_name(NAME));
            operation.responses.responses.entry("429".to_owned()).or_insert(refused);
        }
    }
}

/// What there is beside the services.
fn common() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(description))
}

/// The routes of one service.
fn of(service: Service) -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    match service {
        Service::Users => router
            .routes(routes!(users::accounts::register))
            .routes(routes!(users::accounts::show, users::accounts::change))
            .routes(routes!(users::sessions::log_in, users::sessions::list))
            .routes(routes!(users::sessions::refresh))
            .routes(routes!(users::sessions::log_out))
            .routes(routes!(users::sessions::end))
            .routes(routes!(users::links::ask_for_confirmation))
            .routes(routes!(users::links::confirmation_page, users::links::confirm))
            .routes(routes!(users::links::ask_for_reset))
            .routes(routes!(users::links::reset_page, users::links::reset))
            .routes(routes!(users::changes::password))
            .routes(routes!(users::changes::ask_for_email))
            .routes(routes!(users::changes::email_page, users::changes::email)),
        Service::Events => router
            .routes(routes!(events::routes::list))
            .routes(routes!(events::routes::show))
            .routes(routes!(events::routes::seats))
            .routes(routes!(events::live::seats))
            .routes(routes!(events::picture::seats))
            .routes(routes!(events::offers::best_available))
            .routes(routes!(events::offers::quote))
            .routes(routes!(events::venues::create, events::venues::list))
            .routes(routes!(events::venues::show))
            .routes(routes!(events::venues::put_seats))
            .routes(routes!(events::manage::create, events::manage::list))
            .routes(routes!(events::manage::show, events::manage::change))
            .routes(routes!(events::manage::decide))
            .routes(routes!(events::house::keep))
            .routes(routes!(events::house::release)),
        // With the lines: they move as fast as bookings are taken here.
        Service::Bookings => router
            .routes(routes!(bookings::routes::create, bookings::mine::list))
            .routes(routes!(bookings::routes::show, bookings::routes::delete))
            .routes(routes!(bookings::routes::cancel))
            .routes(routes!(bookings::routes::extend))
            .routes(routes!(queue::routes::join))
            .routes(routes!(queue::routes::live)),
        Service::Payments => router
            .routes(routes!(refunds::routes::refund))
            .routes(routes!(refunds::cancellation::cancel))
            .routes(routes!(refunds::cancellation::progress))
            .routes(routes!(webhooks::route::stripe)),
        Service::Tickets => router
            .routes(routes!(tickets::orders::look_up))
            .routes(routes!(tickets::routes::list))
            .routes(routes!(tickets::routes::document))
            .routes(routes!(tickets::routes::mailed))
            .routes(routes!(tickets::routes::keys))
            .routes(routes!(tickets::doors::check_in, tickets::doors::progress))
            .routes(routes!(tickets::doors::undo))
            .routes(routes!(tickets::passes::make)),
        Service::Notifications => router
            .routes(routes!(
                notifications::preferences::show,
                notifications::preferences::put
            ))
            .routes(routes!(notifications::devices::list, notifications::devices::register))
            .routes(routes!(notifications::devices::remove))
            .routes(routes!(notifications::receipts::twilio))
            .routes(routes!(notifications::receipts::mail)),
        Service::Analytics => router
            .routes(routes!(reports::routes::events))
            .routes(routes!(reports::routes::event))
            .routes(routes!(reports::live::metrics)),
    }
}

/// What is served here and what is passed on, with the description of both.
fn described(here: impl Iterator<Item = Service>, passed_on: impl Iterator<Item = Service>) -> (Router<App>, OpenApi) {
    let (mut router, mut api) = here
        .fold(common(), |all, service| all.merge(of(service)))
        .split_for_parts();
    for service in passed_on {
        let theirs = of(service).into_openapi();
        router = router.merge(passing::routes(service, theirs.paths.paths.keys()));
        api.merge(theirs);
    }
    describe_limits(&mut api);
    (router, api)
}

/// Describe this API (OpenAPI 3.1).
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object))
)]
async fn description(axum::Extension(description): axum::Extension<Description>, headers: HeaderMap) -> Response {
    description.0.answer(&headers, "application/json")
}

/// The page on which the API is read and tried.
fn documentation() -> Router<App> {
    let page = SwaggerUi::new(DOCUMENTATION).config(Config::new(["/openapi.json"]));
    let policy = HeaderValue::from_static(DOCUMENTATION_POLICY);
    Router::from(page).layer(SetResponseHeaderLayer::overriding(
        header::CONTENT_SECURITY_POLICY,
        policy,
    ))
}

async fn no_such_route(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(
        Kind::NoSuchRoute,
        format!(
            "there is nothing at {}; GET /openapi.json lists what there is",
            echo(uri.path())
        ),
    )
}

async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    let detail = format!(
        "{} can't be done at {}; the Allow header says what can",
        echo(method.as_str()),
        echo(uri.path())
    );
    Problem::new(Kind::MethodNotAllowed, detail)
}
