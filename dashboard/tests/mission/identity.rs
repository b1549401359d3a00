//! An identity provider: discovery, keys, codes and tokens signed with RS256, which it can be told to get wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{TimeDelta, Utc};
use openidconnect::core::{
    CoreGenderClaim, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    CoreRsaPrivateSigningKey,
};
use openidconnect::{
    AdditionalClaims, Audience, EndUserUsername, IdToken, IdTokenClaims, IssuerUrl, JsonWebKeyId, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, PrivateSigningKey, StandardClaims, SubjectIdentifier,
};
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const CLIENT: &str = "sagaline";
pub const SECRET: &str = "hush hush";

/// Who is at the provider's page, and what is wrong with the token about them.
#[derive(Clone)]
pub struct Somebody {
    pub subject: String,
    pub name: String,
    pub groups: Vec<String>,
    /// In place of what the browser brought.
    pub nonce: Option<String>,
    pub audience: String,
    pub issuer: Option<String>,
    /// Seconds from now.
    pub expires: i64,
    pub signed: Signed,
}

/// By whom a token is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    Provider,
    /// With the provider's key's name, by another key.
    Another,
    /// `alg: none`.
    Nobody,
}

impl Somebody {
    pub fn new(subject: &str, name: &str, group: &str) -> Somebody {
        Somebody {
            subject: subject.to_owned(),
            name: name.to_owned(),
            groups: vec!["everyone".to_owned(), group.to_owned()],
            nonce: None,
            audience: CLIENT.to_owned(),
            issuer: None,
            expires: 60,
            signed: Signed::Provider,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Groups {
    realm: Value,
}

impl AdditionalClaims for Groups {}

type Token = IdToken<Groups, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

struct Known {
    base: String,
    somebody: Mutex<Somebody>,
    /// What was asked with each code.
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    /// It signs with another key from now on.
    has_new_key: AtomicBool,
}

pub struct Identity {
    known: Arc<Known>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Identity {
    /// Known by this name of the machine: to a browser, `localhost` is another site than `127.0.0.1`.
    pub async fn start(host: &str) -> Identity {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let known = Arc::new(Known {
            base: format!("http://{host}:{}", listener.local_addr().unwrap().port()),
            somebody: Mutex::new(Somebody::new("nobody", "nobody", "")),
            codes: Mutex::default(),
            has_new_key: AtomicBool::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(known.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Identity { known, server }
    }

    pub fn issuer(&self) -> String {
        self.known.base.clone()
    }

    /// Another key, and the old one is good no more.
    pub fn change_key(&self) {
        self.known.has_new_key.store(true, Ordering::SeqCst);
    }

    /// Who comes next.
    pub fn expect(&self, somebody: Somebody) {
        *self.known.somebody.lock().unwrap() = somebody;
    }
}

async fn discovery(State(known): State<Arc<Known>>) -> Json<Value> {
    let base = &known.base;
    Json(json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"]}))
}

async fn keys(State(known): State<Arc<Known>>) -> Json<CoreJsonWebKeySet> {
    let key = if known.has_new_key.load(Ordering::SeqCst) {
        &ANOTHER
    } else {
        &KEY
    };
    let key = signing_key(key).as_verification_key();
    Json(CoreJsonWebKeySet::new(vec![key]))
}

static KEY: OnceLock<String> = OnceLock::new();
static ANOTHER: OnceLock<String> = OnceLock::new();

/// Made once: it takes a while.
fn signing_key(pem: &OnceLock<String>) -> CoreRsaPrivateSigningKey {
    let pem = pem.get_or_init(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        key.to_pkcs1_pem(LineEnding::LF).unwrap().to_string()
    });
    CoreRsaPrivateSigningKey::from_pem(pem, Some(JsonWebKeyId::new("key-1".to_owned()))).unwrap()
}

/// Nobody is asked for a password here.
async fn authorize(State(known): State<Arc<Known>>, Query(asked): Query<HashMap<String, String>>) -> Redirect {
    assert_eq!(
        (asked["response_type"].as_str(), asked["client_id"].as_str()),
        ("code", CLIENT)
    );
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{asked:?}");
    let mut codes = known.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    let back = format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"]);
    codes.insert(code, asked);
    Redirect::to(&back)
}

async fn token(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    // Basic, `sagaline:hush+hush`.
    assert_eq!(headers["authorization"], "Basic c2FnYWxpbmU6aHVzaCtodXNo");
    let asked = known.codes.lock().unwrap().remove(&form["code"]);
    let verifier = PkceCodeVerifier::new(form["code_verifier"].clone());
    let good = asked.filter(|asked| {
        asked["code_challenge"] == PkceCodeChallenge::from_code_verifier_sha256(&verifier).as_str()
            && asked["redirect_uri"] == form["redirect_uri"]
    });
    let Some(asked) = good else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    let somebody = known.somebody.lock().unwrap().clone();
    let token = signed(&known.base, somebody, &asked["nonce"]);
    Json(json!({"access_token": "secret access", "token_type": "Bearer", "id_token": token})).into_response()
}

fn signed(base: &str, somebody: Somebody, nonce: &str) -> String {
    let standard = StandardClaims::new(SubjectIdentifier::new(somebody.subject))
        .set_preferred_username(Some(EndUserUsername::new(somebody.name)));
    let groups = Groups {
        realm: json!({"groups": somebody.groups}),
    };
    let claims = IdTokenClaims::new(
        IssuerUrl::new(somebody.issuer.unwrap_or_else(|| base.to_owned())).unwrap(),
        vec![Audience::new(somebody.audience)],
        Utc::now() + TimeDelta::seconds(somebody.expires),
        Utc::now() - TimeDelta::seconds(60),
        standard,
        groups,
    );
    let claims = claims.set_nonce(Some(Nonce::new(somebody.nonce.unwrap_or_else(|| nonce.to_owned()))));
    let key = match somebody.signed {
        Signed::Provider | Signed::Nobody => signing_key(&KEY),
        Signed::Another => signing_key(&ANOTHER),
    };
    let token = Token::new(claims, &key, CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, None, None);
    let token = token.unwrap().to_string();
    match (somebody.signed, token.split('.').collect::<Vec<&str>>().as_slice()) {
        // {"alg":"none"}
        (Signed::Nobody, [_header, claims, _signature]) => format!("eyJhbGciOiJub25lIn0.{claims}."),
        _signed => token,
    }
}
