//! A caller's connection: bare hyper, for what the load costs is taken from the system's cores.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Callers that share a connection: fewer than the streams that servers commonly allow on one.
const SHARES: u32 = 100;

/// One connection, one request at a time; or a share of one that many have.
pub struct Connection {
    target: SocketAddr,
    host: HeaderValue,
    sender: Sender,
}

enum Sender {
    /// HTTP/1.1.
    Own(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2.
    Shared(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Sender::Own(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Shared(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Connection {
    /// Connects.
    pub async fn open(target: SocketAddr) -> anyhow::Result<Connection> {
        Ok(Connection {
            target,
            host: HeaderValue::from_str(&target.to_string())?,
            sender: Sender::Own(connect(target).await?),
        })
    }

    /// Connects once, for so many that may ask at the same time.
    async fn open_shared(target: SocketAddr, shares: u32) -> anyhow::Result<Vec<Connection>> {
        let host = HeaderValue::from_str(&target.to_string())?;
        let sender = connect_shared(target).await?;
        let share = |_| Connection {
            target,
            host: host.clone(),
            sender: Sender::Shared(sender.clone()),
        };
        Ok((0..shares).map(share).collect())
    }

    /// Connections for so many, shared among as few as they go into; these are spread over the targets.
    pub async fn open_shares(targets: &[SocketAddr], wanted: u32) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(wanted as usize);
        for target in targets.iter().cycle() {
            let missing = wanted - connections.len() as u32;
            if missing == 0 {
                break;
            }
            connections.extend(Connection::open_shared(*target, missing.min(SHARES)).await?);
        }
        Ok(connections)
    }

    /// Connects anew, after an error or a request that was given up.
    pub async fn reopen(&mut self) -> anyhow::Result<()> {
        self.sender = match self.sender {
            Sender::Own(_) => Sender::Own(connect(self.target).await?),
            Sender::Shared(_) => Sender::Shared(connect_shared(self.target).await?),
        };
        Ok(())
    }

    /// `POST` with a JSON body.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: String) -> anyhow::Result<Answer> {
        let request = self.request(Method::POST, path, headers);
        let request = request.header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::new(Bytes::from(body)))?).await
    }

    /// `GET`.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let request = self.request(Method::GET, path, &[]);
        self.send(request.body(Full::new(Bytes::new()))?).await
    }

    /// `GET` of something that goes on.
    pub async fn stream(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let request = self.request(Method::GET, path, &[]).body(Full::new(Bytes::new()))?;
        Ok(self.sender.send(request).await?)
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Builder {
        let request = Request::builder().method(method);
        let request = match self.sender {
            Sender::Own(_) => request.uri(path).header(HOST, self.host.clone()),
            // The host is in the URI.
            Sender::Shared(_) => request.uri(format!("http://{}{path}", self.target)),
        };
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let response = self.sender.send(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

async fn connect(target: SocketAddr) -> anyhow::Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(stream(target).await?).await?;
    // Ends with the connection; its errors reach the caller through the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn connect_shared(target: SocketAddr) -> anyhow::Result<http2::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream(target).await?).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn stream(target: SocketAddr) -> anyhow::Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("connecting to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}
