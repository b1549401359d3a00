//! What goes wrong, as a page in a buyer's words. Details of our own defects go to the log only.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::api::Failure;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The form came from another site, or doesn't say from where.
    #[error("this form did not come from a page of ours: open the page again, then send it")]
    CrossSite,
    /// There is no such thing, or it is somebody else's.
    #[error("there is no such {0}, or it is somebody else's")]
    NotFound(&'static str),
    /// What was sent makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It doesn't fit.
    #[error("{0}")]
    Refused(String),
    /// The login has ended.
    #[error("your login has ended: log in again")]
    LoggedOut,
    /// One may not.
    #[error("{0}")]
    Forbidden(String),
    /// Too often.
    #[error("that was tried too often: wait for a while, then try again")]
    TooOften,
    /// The gateway, or what it needs, is away or has too much to do.
    #[error(
        "very many people are here just now, or something is being repaired: nothing is lost, try again in a moment"
    )]
    Away,
    /// A defect of ours.
    #[error("something is wrong on our side, and has been recorded; nothing was charged by this page")]
    Internal,
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    title: &'static str,
    message: String,
    log_in: bool,
}

impl Trouble {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Trouble::CrossSite => (StatusCode::FORBIDDEN, "That came from elsewhere"),
            Trouble::NotFound(_) => (StatusCode::NOT_FOUND, "Nothing here"),
            Trouble::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "That doesn't fit"),
            Trouble::Refused(_) => (StatusCode::CONFLICT, "That isn't possible"),
            Trouble::LoggedOut => (StatusCode::UNAUTHORIZED, "Log in again"),
            Trouble::Forbidden(_) => (StatusCode::FORBIDDEN, "Not allowed"),
            Trouble::TooOften => (StatusCode::TOO_MANY_REQUESTS, "Too often"),
            Trouble::Away => (StatusCode::SERVICE_UNAVAILABLE, "One moment, please"),
            Trouble::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Our mistake"),
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, title) = self.parts();
        let page = TroublePage {
            title,
            message: self.to_string(),
            log_in: matches!(self, Trouble::LoggedOut),
        };
        let mut response = (status, Html(page.render().unwrap_or_else(|_| self.to_string()))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = HeaderValue::from_static("3");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response
    }
}

impl From<askama::Error> for Trouble {
    fn from(error: askama::Error) -> Trouble {
        tracing::error!(%error, "a page could not be made");
        Trouble::Internal
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        match failure {
            Failure::Away(why) => {
                tracing::warn!(why, "the gateway is not available");
                Trouble::Away
            }
            Failure::Odd(why) => {
                tracing::error!(why, "the gateway's answer is not understood");
                Trouble::Internal
            }
            Failure::Refused(refusal) => match refusal.code() {
                "no-token" => Trouble::LoggedOut,
                "not-found" | "no-such-route" => Trouble::NotFound("page"),
                "too-many-attempts" | "too-many-requests" => Trouble::TooOften,
                "forbidden" => Trouble::Forbidden(refusal.detail),
                "invalid" | "malformed" => Trouble::Invalid(refusal.told()),
                _ => Trouble::Refused(refusal.detail),
            },
        }
    }
}
