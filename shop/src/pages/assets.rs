//! Files of ours, within the binary.

use axum::extract::Path;

use super::Page;
use crate::trouble::Trouble;

const STYLE: &str = include_str!("../../assets/shop.css");
const SCRIPT: &str = include_str!("../../assets/shop.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// One of them.
pub async fn get(Path(name): Path<String>) -> Page {
    match name.as_str() {
        "shop.css" => Ok(web::asset("text/css; charset=utf-8", STYLE)),
        "shop.js" => Ok(web::asset("text/javascript; charset=utf-8", SCRIPT)),
        "icon.svg" => Ok(web::asset("image/svg+xml", ICON)),
        _other => Err(Trouble::NotFound("file")),
    }
}
