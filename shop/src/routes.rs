//! Every page's path.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::limits::{FORM_BYTES_MAX, SEATS_FORMS_MAX};
use crate::options::Options;
use crate::pages::glances::Glances;
use crate::pages::{account, assets, checkout, door, event, home, order, orders, organiser, queue};
use crate::refresh::Refreshes;
use crate::trouble::Trouble;
use crate::visitor;

/// What pages work with. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    pub(crate) api: Api,
    pub(crate) options: std::sync::Arc<Options>,
    pub(crate) refreshes: Refreshes,
    pub(crate) glances: Glances,
    /// Room for files of seats.
    pub(crate) seat_files: std::sync::Arc<Semaphore>,
}

/// The site: `/` and everything below `/shop`. What else is asked for is the caller's: give it a fallback.
pub fn router(options: Options, api: Api) -> Router {
    let shop = Shop {
        api,
        options: options.into(),
        refreshes: Refreshes::default(),
        glances: Glances::default(),
        seat_files: Semaphore::new(SEATS_FORMS_MAX).into(),
    };
    let pages = Router::new()
        .route("/", get(home::show))
        .route("/shop/events/{id}", get(event::show))
        .route("/shop/events/{id}/best", get(event::best))
        .route("/shop/events/{id}/map", get(event::map))
        .route("/shop/events/{id}/picture", get(event::picture))
        .route("/shop/events/{id}/live", get(event::live))
        .route("/shop/events/{id}/checkout", get(checkout::show).post(checkout::book))
        .route("/shop/events/{id}/queue", get(queue::show))
        .route("/shop/events/{id}/queue/live", get(queue::live))
        .route("/shop/orders", get(orders::list).post(orders::look_up))
        .route("/shop/orders/{id}", get(order::show))
        .route("/shop/orders/{id}/tickets.pdf", get(order::document))
        .route("/shop/orders/{id}/qr/{place}", get(order::qr))
        .route("/shop/orders/{id}/calendar.ics", get(order::calendar))
        .route("/shop/orders/{id}/cancel", post(order::cancel))
        .route("/shop/orders/{id}/extend", post(order::extend))
        .route("/shop/orders/{id}/refund", post(order::refund))
        .route("/shop/login", get(account::login_form).post(account::log_in))
        .route("/shop/register", get(account::register_form).post(account::register))
        .route("/shop/logout", post(account::log_out))
        .route("/shop/door", get(door::show))
        .route("/shop/door/pass", post(door::come))
        .route("/shop/door/check", post(door::check))
        .route("/shop/door/undo", post(door::undo))
        .merge(organiser::routes())
        .route("/shop/{*path}", get(nothing))
        .layer(from_fn_with_state(shop.clone(), visitor::visit));
    pages
        .route("/shop/assets/{name}", get(assets::get))
        .layer(from_fn(same_origin))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(web::headers))
        .with_state(shop)
}

async fn same_origin(request: Request, next: Next) -> Response {
    web::same_origin(request, next, Trouble::CrossSite).await
}

async fn nothing() -> Trouble {
    Trouble::NotFound("page")
}
