//! The gateway's public API, as the pages ask it: in this process, or over HTTP.

mod failure;
mod remote;

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

pub use failure::{Failure, Refusal};
use remote::Remote;

use crate::limits::{ANSWER_BYTES_MAX, ANSWER_LIMIT};

/// Where a request came through before it came to us.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What is handed on of a browser's request: who it is as far as limits and logs are concerned, its trace, and in which language its user
/// would like to be written to.
const HANDED_ON: [HeaderName; 4] = [
    FORWARDED_FOR,
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("traceparent"),
];

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Api(Way);

#[derive(Clone)]
enum Way {
    Local(Router),
    Remote(Remote),
}

/// On whose behalf the gateway is asked.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Their access token.
    pub token: Option<Token>,
    /// The connection's other end.
    pub peer: Option<SocketAddr>,
    /// What is handed on of their request.
    pub headers: HeaderMap,
}

/// Somebody's token; not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Caller {
    /// Who sends this request, without a token yet.
    pub fn of(headers: &HeaderMap, peer: Option<SocketAddr>) -> Caller {
        let mut handed_on = HeaderMap::new();
        for name in HANDED_ON {
            for value in headers.get_all(&name) {
                handed_on.append(name.clone(), value.clone());
            }
        }
        Caller {
            token: None,
            peer,
            headers: handed_on,
        }
    }

    /// The same with a token.
    pub fn with(&self, token: &str) -> Caller {
        Caller {
            token: Some(Token(token.to_owned())),
            ..self.clone()
        }
    }
}

/// What is asked.
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Ask {
    /// To see something.
    pub fn get(path: impl Into<String>) -> Ask {
        Ask::of(Method::GET, path)
    }

    /// To do something, without more to say.
    pub fn of(method: Method, path: impl Into<String>) -> Ask {
        Ask {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// To do something.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Ask {
        Ask {
            body: serde_json::to_vec(body).expect("a request is plain data").into(),
            ..Ask::of(Method::POST, path).header(header::CONTENT_TYPE, "application/json")
        }
    }

    /// To replace something.
    pub fn put(path: impl Into<String>, body: &impl Serialize) -> Ask {
        Ask {
            method: Method::PUT,
            ..Ask::post(path, body)
        }
    }

    /// To replace something by a file.
    pub fn put_file(path: impl Into<String>, kind: &str, file: Bytes) -> Ask {
        Ask {
            body: file,
            ..Ask::of(Method::PUT, path).header(header::CONTENT_TYPE, kind)
        }
    }

    /// With a header; text that fits none is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Ask {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

impl Api {
    /// The gateway's own routes, in this process.
    pub fn local(routes: Router) -> Api {
        Api(Way::Local(routes))
    }

    /// A gateway at this address.
    ///
    /// # Errors
    /// If there can be no HTTP client.
    pub fn remote(url: &str) -> Result<Api, reqwest::Error> {
        Ok(Api(Way::Remote(Remote::new(url)?)))
    }

    /// The answer as it comes, for what is passed on: pictures, documents, streams. Refusals are failures.
    pub async fn open(&self, caller: &Caller, ask: Ask) -> Result<Response<Body>, Failure> {
        let mut headers = caller.headers.clone();
        headers.extend(ask.headers.into_iter().map(|(name, value)| (Some(name), value)));
        if let Some(Token(token)) = &caller.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(Failure::odd)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let answer = match &self.0 {
            Way::Local(routes) => {
                let mut request = Request::new(Body::from(ask.body));
                *request.method_mut() = ask.method;
                *request.uri_mut() = ask.path.parse().map_err(Failure::odd)?;
                *request.headers_mut() = headers;
                if let Some(peer) = caller.peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                let Ok(answer) = routes.clone().oneshot(request).await;
                answer
            }
            Way::Remote(remote) => {
                if let Some(peer) = caller.peer {
                    remote::add_hop(&mut headers, peer.ip());
                }
                remote.send(ask.method, &ask.path, headers, ask.body).await?
            }
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = read(answer.into_body()).await?;
        Err(Failure::of_problem(status, &body))
    }

    /// What the answer says.
    pub async fn ask<T: DeserializeOwned>(&self, caller: &Caller, ask: Ask) -> Result<T, Failure> {
        self.ask_with(caller, ask).await.map(|(_, said)| said)
    }

    /// The same with the answer's headers.
    pub async fn ask_with<T: DeserializeOwned>(&self, caller: &Caller, ask: Ask) -> Result<(HeaderMap, T), Failure> {
        let asked = async {
            let (parts, body) = self.open(caller, ask).await?.into_parts();
            let said = serde_json::from_slice(&read(body).await?).map_err(Failure::odd)?;
            Ok((parts.headers, said))
        };
        within(asked).await
    }

    /// Where there is nothing to be told.
    pub async fn tell(&self, caller: &Caller, ask: Ask) -> Result<(), Failure> {
        within(async { self.open(caller, ask).await.map(|_| ()) }).await
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Failure::Away("no answer in time".to_owned());
    tokio::time::timeout(ANSWER_LIMIT, asked).await.map_err(late)?
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    axum::body::to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| Failure::Away(error.to_string()))
}
