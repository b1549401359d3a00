//! Sessions: a random token in a cookie, its digest in the database.

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::Operator;
use crate::limits::{SESSION_MAX, SIGN_ON_MAX};
use crate::store::sessions;

/// The cookie's name.
const COOKIE: &str = "sagaline_session";
/// The name of that which goes to the identity provider and back.
const SIGN_ON_COOKIE: &str = "sagaline_sign_on";

/// A secret of 256 bits, in hex, and the digest that is kept of it.
pub struct Token {
    /// For the browser.
    pub text: String,
    /// For the database.
    pub digest: Vec<u8>,
}

impl Token {
    /// A new one, from the operating system's generator.
    pub fn random() -> Token {
        let text = hex::encode(rand::random::<[u8; 32]>());
        let digest = digest(&text);
        Token { text, digest }
    }
}

/// What is kept of a token.
pub fn digest(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Sent by pages that keep themselves up to date: nobody has done anything, so the session isn't used by it.
pub const LIVE_HEADER: &str = "x-live";

/// Who the request's cookie stands for.
pub async fn find(pool: &PgPool, headers: &HeaderMap) -> Result<Option<Operator>, sqlx::Error> {
    match token(headers) {
        Some(token) => sessions::find(pool, &digest(token), is_used(headers)).await,
        None => Ok(None),
    }
}

/// Whether somebody did something: not where a page looks after itself.
fn is_used(headers: &HeaderMap) -> bool {
    let stream = |accept: &HeaderValue| accept == "text/event-stream";
    !headers.contains_key(LIVE_HEADER) && !headers.get(header::ACCEPT).is_some_and(stream)
}

/// The session's token, if there is one.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    web::cookie(headers, COOKIE)
}

/// What the browser took to the identity provider, if it did.
pub fn sign_on_key(headers: &HeaderMap) -> Option<&str> {
    web::cookie(headers, SIGN_ON_COOKIE).filter(|key| !key.is_empty())
}

/// The cookie of a session that begins; over TLS it never leaves TLS.
pub fn cookie(token: &str, request: &HeaderMap) -> HeaderValue {
    let seconds = SESSION_MAX.as_secs();
    let secure = secure(request);
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).expect("hex and our own words")
}

/// The cookie of a browser that is sent to the identity provider. `Lax`: it is to come along when the provider's page leads back.
pub fn sign_on_cookie(key: &str, request: &HeaderMap) -> HeaderValue {
    let seconds = SIGN_ON_MAX.as_secs();
    let secure = secure(request);
    let text =
        format!("{SIGN_ON_COOKIE}={key}; Path=/login/sign-on; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).expect("hex and our own words")
}

/// The cookie that ends that.
pub fn no_sign_on_cookie() -> HeaderValue {
    HeaderValue::from_static("sagaline_sign_on=; Path=/login/sign-on; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The cookie that ends one.
pub fn no_cookie() -> HeaderValue {
    HeaderValue::from_static("sagaline_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// What a proxy says of the browser's connection. Wrongly said, it does no harm: the cookie is only guarded better.
fn secure(request: &HeaderMap) -> &'static str {
    match request.get("x-forwarded-proto") {
        Some(scheme) if scheme == "https" => "; Secure",
        Some(_) | None => "",
    }
}
