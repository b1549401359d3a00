//! Files of ours, within the binary.

use axum::extract::Path;

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
    Ok(web::asset(kind, text))
}
