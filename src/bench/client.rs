//! A caller's connection: bare hyper, for what the load costs is taken from the system's cores.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection, one request at a time.
pub struct Connection {
    target: SocketAddr,
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
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
            sender: connect(target).await?,
        })
    }

    /// Connects anew, after an error or a request that was given up.
    pub async fn reopen(&mut self) -> anyhow::Result<()> {
        self.sender = connect(self.target).await?;
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

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host.clone());
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

async fn connect(target: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("connecting to {target}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the connection; its errors reach the caller through the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
