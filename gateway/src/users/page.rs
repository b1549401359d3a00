//! The plain pages behind the links in our mails, for a shop without pages of its own: a button, for mail programs follow links by themselves.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
use crate::problem::Problem;

/// A page that asks to confirm an address. The token must have been checked for its form.
pub fn confirm(token: &str) -> Response {
    let form = format!(
        "<form method=\"post\" action=\"/confirmations\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <button>Confirm my address</button></form>"
    );
    page(StatusCode::OK, "Confirm your address", &form)
}

/// A page that asks to confirm that an address is to be an account's. The token must have been checked for its form.
pub fn change_email(token: &str) -> Response {
    let form = format!(
        "<form method=\"post\" action=\"/email-changes\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <button>Make this my address</button></form>"
    );
    page(StatusCode::OK, "Your new address", &form)
}

/// A page that asks for a new password.
pub fn reset(token: &str) -> Response {
    let form = format!(
        "<form method=\"post\" action=\"/password-resets/{token}\"><label>New password \
         <input type=\"password\" name=\"password\" autocomplete=\"new-password\" required \
         minlength=\"{PASSWORD_CHARS_MIN}\" maxlength=\"{PASSWORD_CHARS_MAX}\"></label> <button>Set it</button></form>"
    );
    page(StatusCode::OK, "A new password", &form)
}

/// A page that says that it is done.
pub fn done(text: &str) -> Response {
    page(StatusCode::OK, text, "")
}

/// A page that says what is wrong.
pub fn problem(problem: Problem) -> Response {
    let text = format!("<p>{}</p>", escaped(problem.detail()));
    let headers = problem.into_response();
    let mut response = page(headers.status(), "That did not work", &text);
    if let Some(after) = headers.headers().get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, after.clone());
    }
    response
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let title = escaped(title);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title></head><body><main><h1>{title}</h1>{content}</main></body></html>"
    );
    let media_type = HeaderValue::from_static("text/html; charset=utf-8");
    (status, [(header::CONTENT_TYPE, media_type)], page).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
