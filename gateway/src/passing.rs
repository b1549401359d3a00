//! Passing requests on to services that run apart, and their answers back: bodies as they come, streams and WebSockets too.
//!
//! A service that is away, slow or broken is a problem of its own routes: each has only so many requests under way here, so that the others go
//! on. What is said about a request on its way (where it came from, its id, its trace) is said by this gateway; the service believes it, if it has
//! this gateway among its trusted proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header};
use axum::response::Response;
use axum::routing::any;
use futures::StreamExt;
use hyper::upgrade::{self, OnUpgrade};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::http::client::{FORWARDED_FOR, origin};
use crate::http::{context, prefer};
use crate::limits::{
    PASSED_CONNECT_LIMIT, PASSED_IDLE_CONNECTIONS_MAX, PASSED_IDLE_MAX, PASSED_MARGIN, PASSED_RETRY, PASSED_SHARE,
};
use crate::options::Options;
use crate::problem::{Kind, Problem};
use crate::services::{Service, ServiceUrl};

/// Headers that are about one connection, not about the message (RFC 9110, 7.6.1); those that `Connection` names are too.
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What a stream without an end is declared as.
const EVENT_STREAM: &str = "text/event-stream";

/// The services that run apart.
pub struct Passing {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    targets: BTreeMap<Service, Target>,
}

struct Target {
    url: ServiceUrl,
    /// One permit a request until it is answered.
    permits: Arc<Semaphore>,
}

/// Why there is no answer.
enum Failed {
    /// No connection came about, so nothing was sent.
    Away(String),
    /// The connection broke.
    Broken(String),
    /// It did not answer in time.
    Late,
}

impl Passing {
    /// As set.
    pub fn new(options: &Options) -> Passing {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(PASSED_CONNECT_LIMIT));
        let provider = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)
            .expect("ring has what TLS wants")
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(PASSED_IDLE_MAX)
            .pool_max_idle_per_host(PASSED_IDLE_CONNECTIONS_MAX)
            .build(connector);
        let permits = (options.requests_max / PASSED_SHARE).clamp(1, Semaphore::MAX_PERMITS);
        let target = |(service, url): (&Service, &ServiceUrl)| {
            let permits = Arc::new(Semaphore::new(permits));
            (
                *service,
                Target {
                    url: url.clone(),
                    permits,
                },
            )
        };
        Passing {
            client,
            targets: options.service_urls.0.iter().map(target).collect(),
        }
    }

    /// The services whose requests are passed on.
    pub fn services(&self) -> impl Iterator<Item = Service> + '_ {
        self.targets.keys().copied()
    }

    /// Whether a service lives. Not whether it is ready: it may pass requests on to others, which may ask us.
    pub async fn probe(&self, service: Service) -> Result<(), String> {
        let target = self.targets.get(&service).ok_or("it isn't passed on")?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.uri(PathAndQuery::from_static("/health/live"));
        match tokio::time::timeout(web::health::PROBE_LIMIT, self.client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("it answers with {}", answer.status())),
            Ok(Err(error)) => Err(with_causes(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn ask(&self, request: Request<Body>, limit: Duration) -> Result<Response, Failed> {
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.map(Body::new)),
            Ok(Err(error)) if error.is_connect() => Err(Failed::Away(with_causes(&error))),
            Ok(Err(error)) => Err(Failed::Broken(with_causes(&error))),
            Err(_) => Err(Failed::Late),
        }
    }
}

impl Target {
    fn uri(&self, path: PathAndQuery) -> Uri {
        let uri = Uri::builder()
            .scheme(self.url.scheme.clone())
            .authority(self.url.authority.clone())
            .path_and_query(path);
        uri.build().expect("it has all of its parts")
    }
}

/// Routes that pass whatever comes at these paths on to a service.
pub fn routes<'a>(service: Service, paths: impl Iterator<Item = &'a String>) -> Router<App> {
    paths.fold(Router::new(), |router, path| {
        let pass = move |State(app): State<App>, request: Request| async move { pass(&app, service, request).await };
        router.route(path, any(pass))
    })
}

async fn pass(app: &App, service: Service, mut request: Request) -> Result<Response, Problem> {
    let passing = app.passing();
    let Some(target) = passing.targets.get(&service) else {
        return Err(Problem::new(Kind::NoSuchRoute, "nobody serves this here"));
    };
    let Ok(_permit) = target.permits.try_acquire() else {
        count(service, "overloaded");
        let detail = format!("too many requests for {service} at once; try again shortly");
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(PASSED_RETRY));
    };
    // Longer than the service's own limit: it says best what was too slow.
    let limit = app.options().request_time_limit + prefer::wait(request.headers()).unwrap_or_default() + PASSED_MARGIN;
    let upgrade = asked_upgrade(request.headers()).map(|protocol| (protocol, upgrade::on(&mut request)));
    describe(app, &mut request, upgrade.as_ref().map(|(protocol, _)| protocol));
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.uri(path.unwrap_or(PathAndQuery::from_static("/")));
    *request.version_mut() = Version::HTTP_11;
    *request.extensions_mut() = Default::default();

    // Reading twice does no harm, and a connection that was kept may be the one that a service has just hung up on.
    let again = (request.method().is_safe() && request.body().is_end_stream()).then(|| copy(&request));
    let mut answer = passing.ask(request, limit).await;
    let is_broken = matches!(answer, Err(Failed::Broken(_)));
    if let (true, Some(again)) = (is_broken, again) {
        answer = passing.ask(again, limit).await;
    }
    let mut response = match answer {
        Ok(response) => response,
        Err(failed) => return Err(problem(service, failed)),
    };
    count(service, "answered");
    let switched = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| upgrade::on(&mut response));
    strip(response.headers_mut());
    match (switched, upgrade) {
        (Some(theirs), Some((protocol, ours))) => {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, protocol);
            let draining = app.draining();
            tokio::spawn(async move { draining.run_until_cancelled(tunnel(ours, theirs)).await });
        }
        (Some(_), None) => {
            return Err(problem(
                service,
                Failed::Broken("it changed the protocol unasked".to_owned()),
            ));
        }
        (None, _) => {}
    }
    Ok(ending_with(app, response))
}

/// What the service is told of the request.
fn describe(app: &App, request: &mut Request, upgrade: Option<&HeaderValue>) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = peer.map(|ConnectInfo(peer)| origin(peer.ip(), request.headers(), &app.options().trusted_proxies));
    let headers = request.headers_mut();
    strip(headers);
    headers.remove(header::EXPECT);
    // What others have said of it before counts only as far as it is believed here.
    headers.remove(FORWARDED_FOR);
    let text = |text: String| HeaderValue::from_str(&text).ok();
    if let Some(from) = from.and_then(|from| text(from.to_string())) {
        headers.insert(FORWARDED_FOR, from);
    }
    if let Some(context) = context::current() {
        for (name, value) in [
            (context::REQUEST_ID, context.request_id.clone()),
            (context::TRACEPARENT, context.traceparent()),
        ] {
            if let Some(value) = text(value) {
                headers.insert(name, value);
            }
        }
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// The protocol that a client wants to go over to: WebSockets' alone, for nothing here speaks another.
fn asked_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut named = named_by_connection(headers);
    named
        .any(|name| name == header::UPGRADE)
        .then(|| headers.get(header::UPGRADE))
        .flatten()
        .filter(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        .cloned()
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    names.filter_map(|name| name.trim().parse().ok())
}

/// Takes away what is about the connection that a message came by.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = named_by_connection(headers).collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

/// The same request, which has no body.
fn copy(request: &Request) -> Request {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A stream without an end ends when this gateway is about to stop: whoever follows it comes back, to another one.
fn ending_with(app: &App, response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes()));
    if !is_stream {
        return response;
    }
    let draining = app.draining();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(draining.cancelled_owned())))
}

/// Hands bytes to and fro until either end hangs up.
async fn tunnel(ours: OnUpgrade, theirs: OnUpgrade) {
    let ends = futures::future::try_join(ours, theirs).await;
    let Ok((ours, theirs)) = ends else { return };
    // However it ends, it is over.
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
}

fn problem(service: Service, failed: Failed) -> Problem {
    let unknown = "whether the request was carried out isn't known: repeat it with the same Idempotency-Key";
    let (outcome, kind, detail) = match failed {
        Failed::Away(cause) => {
            tracing::warn!(%service, cause, "a service is away");
            let detail = format!("{service} can't be reached at the moment; nothing was done: try again shortly");
            ("away", Kind::Unavailable, detail)
        }
        Failed::Broken(cause) => {
            tracing::warn!(%service, cause, "a service's answer broke off");
            (
                "broken",
                Kind::BadGateway,
                format!("{service} gave no answer that makes sense; {unknown}"),
            )
        }
        Failed::Late => {
            tracing::warn!(%service, "a service did not answer in time");
            (
                "late",
                Kind::GatewayTimeout,
                format!("{service} did not answer in time; {unknown}"),
            )
        }
    };
    count(service, outcome);
    Problem::new(kind, detail).retry_after(PASSED_RETRY)
}

fn count(service: Service, outcome: &'static str) {
    metrics::counter!("sagaline_gateway_passed_total", "service" => service.name(), "outcome" => outcome).increment(1);
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_connection_is_taken_away_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Hop"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("idempotency-key", "k"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(asked_upgrade(&headers), Some(HeaderValue::from_static("websocket")));
        strip(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&"authorization") && left.contains(&"idempotency-key"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(asked_upgrade(&headers), None, "it isn't about this connection");
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("h2c"));
        assert_eq!(asked_upgrade(&headers), None);
    }
}
