//! A confirmed booking's tickets, to be attached to its mail: asked of the gateway, which prints them. No table of its is read here.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request};
use uuid::Uuid;

use super::provider::ProviderConfigError;
use crate::https::{CallFailure, Https, is_base_url};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long printing may take: with a whole conversation with a mail server it must fit into the message's lease.
const PRINT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a document; what is larger is not attached. Mail servers take several megabytes, `dev`'s own one.
const DOCUMENT_BYTES_MAX: usize = 700 * 1024;
/// How a document begins.
const PDF: &[u8] = b"%PDF-";

/// Prints tickets, by way of the gateway.
#[derive(Clone)]
pub struct TicketPrinter {
    https: Https,
    gateway_url: String,
    secret: String,
}

impl TicketPrinter {
    /// With the gateway's URL and the secret that it knows too.
    ///
    /// # Errors
    /// If it is no URL, or TLS can't be set up.
    pub fn new(gateway_url: &str, secret: &str) -> Result<TicketPrinter, ProviderConfigError> {
        if !is_base_url(gateway_url) {
            return Err(ProviderConfigError::BaseUrl(gateway_url.to_owned()));
        }
        Ok(TicketPrinter {
            https: Https::new(CONNECT_TIMEOUT, PRINT_TIMEOUT).map_err(ProviderConfigError::Tls)?,
            gateway_url: gateway_url.trim_end_matches('/').to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The document; none: the booking has no tickets (any more), or they are too large for a mail.
    ///
    /// # Errors
    /// In words, if the gateway can't say now.
    pub(super) async fn print(&self, booking: Uuid) -> Result<Option<Bytes>, String> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}/internal/bookings/{booking}/tickets.pdf", self.gateway_url))
            .header(
                AUTHORIZATION,
                format!("Permit {}", tickets::permit(&self.secret, booking)),
            )
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = self.https.call(request).await.map_err(|failure| match failure {
            CallFailure::NotSent(problem) | CallFailure::Cut(problem) => format!("the gateway is away: {problem}"),
            CallFailure::TimedOut => "the gateway did not answer in time".to_owned(),
        })?;
        match answer.status {
            200 if answer.body.len() > DOCUMENT_BYTES_MAX => {
                tracing::warn!(%booking, bytes = answer.body.len(), "the tickets are too large to be attached");
                Ok(None)
            }
            200 if answer.body.starts_with(PDF) => Ok(Some(answer.body)),
            200 => Err("the gateway answered with something else than a document".to_owned()),
            // Given back since.
            404 | 409 => Ok(None),
            status => Err(format!("the gateway answered with {status}")),
        }
    }
}
