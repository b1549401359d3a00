//! Access tokens for Google's APIs: from a service account's key (<https://developers.google.com/identity/protocols/oauth2/service-account>), or from
//! the metadata server of the machine (<https://cloud.google.com/compute/docs/metadata/overview>), which needs no key at all.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Request;
use hyper::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::provider::{
    Api, PROVIDER_UNAVAILABLE, ProviderConfigError, base_url, plain_words, refused, secret_header, unreadable,
};
use crate::https::Answer;
use crate::typed::Failure;

const WHO: &str = "Google's token service";
/// What the token is good for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// How long an assertion is good: Google's maximum.
const ASSERTION_LIFE: Duration = Duration::from_secs(60 * 60);
/// A token is not used any more this long before its end: a call may take a while.
const MARGIN: Duration = Duration::from_secs(60);
/// What a token lives for if its service does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// Where tokens come from.
#[derive(Clone)]
pub enum GoogleCredentials {
    /// A service account, as the JSON file that Google gives. A secret.
    ServiceAccount(String),
    /// The metadata server at this base URL, `http://metadata.google.internal`.
    Metadata(String),
}

/// What is read of a service account's file.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: String,
    token_uri: String,
}

/// What a token service answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

enum Source {
    Key {
        email: String,
        key: Box<RsaKeyPair>,
        token_uri: String,
    },
    Metadata {
        url: String,
    },
}

struct Known {
    header: HeaderValue,
    until: Instant,
}

/// Gives tokens, and keeps each for as long as it is good.
pub(super) struct Tokens {
    api: Api,
    source: Source,
    known: Mutex<Option<Known>>,
}

impl Tokens {
    pub(super) fn new(api: Api, credentials: &GoogleCredentials) -> Result<Tokens, ProviderConfigError> {
        let source = match credentials {
            GoogleCredentials::ServiceAccount(json) => key(json)?,
            GoogleCredentials::Metadata(url) => Source::Metadata {
                url: format!(
                    "{}/computeMetadata/v1/instance/service-accounts/default/token",
                    base_url(url)?
                ),
            },
        };
        Ok(Tokens {
            api,
            source,
            known: Mutex::default(),
        })
    }

    /// The header that shows a token. Whoever comes while one is fetched waits for it.
    pub(super) async fn header(&self) -> Result<HeaderValue, Failure> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref()
            && known.until > Instant::now()
        {
            return Ok(known.header.clone());
        }
        let asked = Instant::now();
        let granted = self.fetch().await?;
        let bearer = format!("Bearer {}", granted.access_token);
        let header = secret_header(bearer, WHO).map_err(|error| unusable(error.to_string()))?;
        let life = granted.expires_in.map_or(LIFE_DEFAULT, Duration::from_secs);
        *known = Some(Known {
            header: header.clone(),
            until: asked + life.saturating_sub(MARGIN),
        });
        Ok(header)
    }

    /// The token is not taken any more.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    async fn fetch(&self) -> Result<Granted, Failure> {
        let answer = match &self.source {
            Source::Key { email, key, token_uri } => {
                let assertion = assertion(email, key, token_uri).map_err(unusable)?;
                let body = form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                    .append_pair("assertion", &assertion)
                    .finish();
                let form = "application/x-www-form-urlencoded";
                self.api.post(WHO, token_uri, None, form, body.into_bytes()).await
            }
            Source::Metadata { url } => {
                let request = Request::get(url).header("metadata-flavor", "Google");
                self.api.send(WHO, request, Vec::new()).await
            }
        };
        // Whatever becomes of this question, no message has gone out yet.
        read(&answer.map_err(nothing_was_sent)?).map_err(nothing_was_sent)
    }
}

fn read(answer: &Answer) -> Result<Granted, Failure> {
    if (200..300).contains(&answer.status) {
        serde_json::from_slice(&answer.body).map_err(|_| unreadable(WHO, answer))
    } else {
        Err(refused(WHO, answer.status, "", &plain_words(answer)))
    }
}

fn nothing_was_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Failed { message, .. } | Failure::Unknown { message } => unusable(message),
        pending @ Failure::Pending { .. } => pending,
    }
}

fn unusable(message: String) -> Failure {
    Failure::retryable(PROVIDER_UNAVAILABLE, message)
}

fn key(json: &str) -> Result<Source, ProviderConfigError> {
    let wrong = ProviderConfigError::ServiceAccount;
    let account: ServiceAccount =
        serde_json::from_str(json).map_err(|error| wrong(format!("it is not Google's JSON: {error}")))?;
    let pem = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.as_bytes());
    let der = pem.map_err(|error| wrong(format!("its private_key is no PEM: {error}")))?;
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der());
    let key = key.map_err(|error| wrong(format!("its private_key is no RSA key: {error}")))?;
    base_url(&account.token_uri)?;
    Ok(Source::Key {
        email: account.client_email,
        key: Box::new(key),
        token_uri: account.token_uri,
    })
}

/// A JWT that says who we are and what we want, signed with RS256.
fn assertion(email: &str, key: &RsaKeyPair, token_uri: &str) -> Result<String, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| error.to_string())?
        .as_secs();
    let claims = json!({
        "iss": email, "scope": SCOPE, "aud": token_uri, "iat": now, "exp": now + ASSERTION_LIFE.as_secs(),
    });
    let head = json!({"alg": "RS256", "typ": "JWT"});
    let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&head), encode(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| "the assertion can't be signed".to_owned())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
