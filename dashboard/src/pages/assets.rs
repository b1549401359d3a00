//! Files of ours, within the binary.

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;

use super::Page;
use crate::error::PageError;

const STYLE: &str = include_str!("../../assets/mission.css");
const SCRIPT: &str = include_str!("../../assets/mission.js");

/// One of them.
pub async fn get(Path(name): Path<String>) -> Page {
    let (kind, text) = match name.as_str() {
        "mission.css" => ("text/css; charset=utf-8", STYLE),
        "mission.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _other => return Err(PageError::NotFound(format!("the file {name}"))),
    };
    let kind = (header::CONTENT_TYPE, kind);
    // Short: a new release must look right soon.
    let keep = (header::CACHE_CONTROL, "private, max-age=300");
    Ok(([kind, keep], text).into_response())
}
