//! Files of ours, within the binary.

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;

use super::Page;
use crate::error::PageError;

const STYLE: &str = include_str!("../../assets/mission.css");

/// One of them.
pub async fn get(Path(name): Path<String>) -> Page {
    match name.as_str() {
        "mission.css" => {
            let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
            // Short: a new release must look right soon.
            let keep = (header::CACHE_CONTROL, "private, max-age=300");
            Ok(([kind, keep], STYLE).into_response())
        }
        _other => Err(PageError::NotFound(format!("the file {name}"))),
    }
}
