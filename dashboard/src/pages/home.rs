//! The first page.

use askama::Template;
use axum::Extension;

use super::{Frame, Page, html};
use crate::access::Operator;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
}

/// Shows it.
pub async fn show(Extension(operator): Extension<Operator>) -> Page {
    html(&Home {
        frame: Frame::new(&operator, "overview"),
    })
}
