//! A gateway that is another process.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Response};

use super::{FORWARDED_FOR, Failure};
use crate::limits::{CONNECT_LIMIT, SILENCE_MAX};

/// A gateway by HTTP.
#[derive(Clone)]
pub struct Remote {
    http: reqwest::Client,
    url: String,
}

impl Remote {
    /// The one at this address.
    pub fn new(url: &str) -> Result<Remote, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Remote {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Its answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let answer = request
            .headers(headers)
            .body(body)
            .send()
            .await
            // Without its address, which may have been given with a password.
            .map_err(|error| Failure::Away(error.without_url().to_string()))?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Ok(response)
    }
}

/// Writes down where a request came from, as proxies do.
pub fn add_hop(headers: &mut HeaderMap, peer: IpAddr) {
    let before = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = before.collect();
    let peer = peer.to_string();
    let all = hops.into_iter().chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&all) {
        headers.insert(FORWARDED_FOR, value);
    }
}
