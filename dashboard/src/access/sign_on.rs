//! Single sign-on by OpenID Connect: the authorization code flow with PKCE.
//!
//! What the browser carries from here to the provider and back is one short-lived cookie with a random key. The state, the nonce and PKCE's
//! verifier are digests of it, so an answer is good only in the browser that asked for it, and nothing is kept here meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenClaims,
    IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore};

use super::Role;
use crate::limits::{PROVIDER_AGE_MAX, PROVIDER_ANSWER_MAX, PROVIDER_RETRY, PROVIDER_TIMEOUT, SIGN_ONS_MAX};

/// Where the provider sends browsers back to.
pub const BACK: &str = "/login/sign-on/back";

/// The identity provider, and what its users may do here.
#[derive(Clone, PartialEq, Eq)]
pub struct SignOn {
    /// The provider, exactly as it names itself.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our password there; none: we are a public client.
    pub client_secret: Option<String>,
    /// Where browsers reach mission control, as `https://ops.example`.
    pub url: String,
    /// The claim whose values say what a user may do: its name, or a path such as `realm_access.roles`.
    pub claim: String,
    /// Which value stands for which role.
    pub roles: RoleMap,
}

/// Without the secret.
impl fmt::Debug for SignOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOn")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("url", &self.url)
            .field("claim", &self.claim)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// Roles by values of a claim, as `sre=admin support=operator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleMap(BTreeMap<String, Role>);

impl RoleMap {
    /// The most that any of these values stands for; none: nothing.
    fn role(&self, values: &[&str]) -> Option<Role> {
        values.iter().filter_map(|value| self.0.get(*value)).max().copied()
    }
}

impl FromStr for RoleMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = BTreeMap::new();
        for pair in text.split_whitespace() {
            let (value, role) = pair
                .rsplit_once('=')
                .ok_or_else(|| format!("{pair:?} is not value=role"))?;
            if value.is_empty() || roles.insert(value.to_owned(), role.parse()?).is_some() {
                return Err(format!("{pair:?}: each value is given once, and none is empty"));
            }
        }
        if roles.is_empty() {
            return Err("it says of no value which role it stands for".to_owned());
        }
        Ok(RoleMap(roles))
    }
}

impl fmt::Display for RoleMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(value, role)| format!("{value}={role}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

/// Why somebody isn't let in, in words for them.
#[derive(Debug, thiserror::Error)]
pub enum SignOnError {
    /// The answer is no good, or not good enough.
    #[error("{0}")]
    Refused(&'static str),
    /// The provider can't be asked.
    #[error("The identity provider does not answer as it should. Try again in a moment; the log says what is wrong.")]
    Unavailable,
}

/// Who the provider says has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The provider.
    pub issuer: String,
    /// Its name for them: the same for ever, and nobody else's.
    pub subject: String,
    /// What they may be called here.
    pub name: String,
    /// What they may do; none: nothing.
    pub role: Option<Role>,
}

/// What one browser takes to the provider and back.
pub struct Attempt {
    key: String,
}

impl Attempt {
    /// A new one, from the operating system's generator.
    pub fn random() -> Attempt {
        Attempt::of(hex::encode(rand::random::<[u8; 32]>()))
    }

    /// The one that the browser's cookie holds.
    pub fn of(key: String) -> Attempt {
        Attempt { key }
    }

    /// What the cookie holds.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn derived(&self, what: &str) -> String {
        hex::encode(Sha256::digest(format!("{what}\0{}", self.key)))
    }

    fn state(&self) -> String {
        self.derived("state")
    }

    fn nonce(&self) -> Nonce {
        Nonce::new(self.derived("nonce"))
    }

    fn verifier(&self) -> PkceCodeVerifier {
        PkceCodeVerifier::new(self.derived("verifier"))
    }

    /// Whether the provider's answer belongs to it. Digests are compared, so that time tells nothing.
    fn is_answered_by(&self, state: &str) -> bool {
        Sha256::digest(state) == Sha256::digest(self.state())
    }
}

/// All claims that have no field of their own.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Others(serde_json::Map<String, Value>);

impl AdditionalClaims for Others {}

type Claims = IdTokenClaims<Others, CoreGenderClaim>;
type Fields = IdTokenFields<
    Others,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type Client = openidconnect::Client<
    Others,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What a request to the provider may end in.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Form(#[from] openidconnect::http::Error),
    #[error("the answer is larger than {PROVIDER_ANSWER_MAX} bytes")]
    TooLarge,
}

/// What asks the provider.
#[derive(Clone)]
struct Http(reqwest::Client);

/// The provider, with what it says of itself.
#[derive(Clone)]
pub struct Provider {
    settings: Arc<SignOn>,
    known: Arc<Mutex<Known>>,
    /// Each answer costs it a request, and anybody can come with one.
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Known {
    http: Option<Http>,
    metadata: Option<CoreProviderMetadata>,
    /// When it was asked last, whatever came of it.
    asked: Option<Instant>,
}

impl Provider {
    /// It isn't asked before somebody comes.
    pub fn new(settings: SignOn) -> Provider {
        Provider {
            settings: Arc::new(settings),
            known: Arc::default(),
            turns: Arc::new(Semaphore::new(SIGN_ONS_MAX)),
        }
    }

    /// Where the browser is sent.
    pub async fn door(&self, attempt: &Attempt) -> Result<String, SignOnError> {
        let (client, _http) = self.client(PROVIDER_AGE_MAX).await?;
        let (state, nonce) = (attempt.state(), attempt.nonce());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&attempt.verifier());
        let request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || CsrfToken::new(state),
            || nonce,
        );
        let scopes = ["profile", "email"].map(|scope| Scope::new(scope.to_owned()));
        let (url, _state, _nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
        Ok(url.to_string())
    }

    /// Who has come back with this answer.
    pub async fn person(
        &self,
        attempt: &Attempt,
        state: &str,
        from: Option<&str>,
        code: String,
    ) -> Result<Person, SignOnError> {
        // RFC 9207: who says from whom an answer is, says it rightly.
        if from.is_some_and(|from| from != self.settings.issuer) {
            return Err(SignOnError::Refused("The answer comes from another identity provider."));
        }
        if !attempt.is_answered_by(state) {
            return Err(SignOnError::Refused(
                "This answer of the identity provider does not belong to this browser, or comes too late. Try again.",
            ));
        }
        if code.is_empty() {
            return Err(SignOnError::Refused("The answer has no code. Try again."));
        }
        let (client, http) = self.client(PROVIDER_AGE_MAX).await?;
        let turn = tokio::time::timeout(PROVIDER_TIMEOUT, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| SignOnError::Unavailable)?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| unavailable("it has no token endpoint", &error))?;
        let tokens = exchange
            .set_pkce_verifier(attempt.verifier())
            .request_async(&http)
            .await;
        let tokens: Tokens = tokens.map_err(|error| match error {
            RequestTokenError::ServerResponse(refused) => {
                tracing::info!(error = %refused, "the identity provider takes a login's code no more");
                SignOnError::Refused("The identity provider does not take this login any more. Try again.")
            }
            RequestTokenError::Request(error) => unavailable("its token endpoint", &error),
            // The text may hold tokens: where it is wrong has to do.
            RequestTokenError::Parse(error, _body) => unavailable("its token answer", &error.path()),
            RequestTokenError::Other(error) => unavailable("its token answer", &error),
        })?;
        let token = tokens
            .id_token()
            .ok_or_else(|| unavailable("its token answer", &"there is no ID token"))?;
        let checked = token.claims(&client.id_token_verifier(), &attempt.nonce());
        let claims = match checked {
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                // Perhaps it has new keys.
                let (client, _http) = self.client(PROVIDER_RETRY).await?;
                let checked = token.claims(&client.id_token_verifier(), &attempt.nonce());
                checked.cloned().map_err(refused)?
            }
            checked => checked.cloned().map_err(refused)?,
        };
        self.known(&claims)
    }

    fn known(&self, claims: &Claims) -> Result<Person, SignOnError> {
        // With its own names, where standard claims and others stand side by side.
        let all = serde_json::to_value(claims).map_err(|error| unavailable("its claims", &error))?;
        let values = at(&all, &self.settings.claim);
        let values: Vec<&str> = match values {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(_) | None => Vec::new(),
        };
        let subject = claims.subject().as_str();
        let names = ["preferred_username", "email"].map(|name| all[name].as_str());
        let name = names.into_iter().flatten().find_map(plain_name);
        Ok(Person {
            issuer: self.settings.issuer.clone(),
            subject: subject.to_owned(),
            name: name.unwrap_or_else(|| format!("user-{}", &hex::encode(Sha256::digest(subject))[..12])),
            role: self.settings.roles.role(&values),
        })
    }

    /// A client by what the provider says of itself, which is asked for again where it is older than this. Who waits for it waits in turn, and a
    /// provider that is down isn't asked by each of them.
    async fn client(&self, age_max: Duration) -> Result<(Client, Http), SignOnError> {
        let turn = tokio::time::timeout(PROVIDER_TIMEOUT, self.known.lock()).await;
        let mut known = turn.map_err(|_| SignOnError::Unavailable)?;
        let http = match &known.http {
            Some(http) => http.clone(),
            None => {
                let http = reqwest::Client::builder()
                    .timeout(PROVIDER_TIMEOUT)
                    // The provider's word must not make us ask others.
                    .redirect(Policy::none())
                    .build()
                    .map_err(|error| unavailable("the HTTP client", &error))?;
                known.http.insert(Http(http)).clone()
            }
        };
        let age = known.asked.map(|asked| asked.elapsed());
        let fresh = known.metadata.is_some() && age.is_some_and(|age| age <= age_max);
        let too_soon = age.is_some_and(|age| age < PROVIDER_RETRY);
        if !fresh && !too_soon {
            known.asked = Some(Instant::now());
            let issuer = IssuerUrl::new(self.settings.issuer.clone());
            let issuer = issuer.map_err(|error| unavailable("the issuer", &error))?;
            match CoreProviderMetadata::discover_async(issuer, &http).await {
                Ok(found) => known.metadata = Some(found),
                // What was known of it is good until it can be asked again.
                Err(error) => drop(unavailable("what it says of itself", &Chain(&error))),
            }
        }
        let metadata = known.metadata.clone().ok_or(SignOnError::Unavailable)?;
        let redirect = RedirectUrl::new(format!("{}{BACK}", self.settings.url));
        let redirect = redirect.map_err(|error| unavailable("our own address", &error))?;
        let id = ClientId::new(self.settings.client_id.clone());
        let secret = self.settings.client_secret.clone().map(ClientSecret::new);
        let client = Client::from_provider_metadata(metadata, id, secret).set_redirect_uri(redirect);
        Ok((client, http))
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn unavailable(what: &str, error: &dyn fmt::Display) -> SignOnError {
    tracing::warn!(%error, what, "the identity provider does not answer as it should");
    SignOnError::Unavailable
}

/// Why a token isn't taken.
fn refused(error: ClaimsVerificationError) -> SignOnError {
    tracing::warn!(%error, "an ID token is not taken");
    SignOnError::Refused(match error {
        ClaimsVerificationError::Expired(_) => "The identity provider's answer has expired. Try again.",
        ClaimsVerificationError::InvalidNonce(_) => {
            "The identity provider's answer was made for another login. Try again."
        }
        ClaimsVerificationError::InvalidAudience(_) => "The identity provider's answer is meant for another program.",
        ClaimsVerificationError::InvalidIssuer(_) => "The answer comes from another identity provider.",
        ClaimsVerificationError::SignatureVerification(_) => "The answer is not signed by the identity provider.",
        _other => "The identity provider's answer can't be trusted.",
    })
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(fetch(&self.0, request))
    }
}

/// One request, whose answer is read no further than need be.
async fn fetch(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut response = openidconnect::http::Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > PROVIDER_ANSWER_MAX {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(response.body(body)?)
}

/// A claim by its name, or by its path where no claim has that name.
fn at<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let path = || name.split('.').try_fold(claims, |value, part| value.get(part));
    claims.get(name).or_else(path)
}

/// A name as users' names are here; none: nothing is left of it.
fn plain_name(text: &str) -> Option<String> {
    let kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '@' | '-');
    let lower = text.to_ascii_lowercase();
    let name: String = lower.chars().map(|c| if kept(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let name: String = name.chars().take(64).collect();
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_that_a_value_stands_for_counts() {
        let roles: RoleMap = "staff=viewer  sre=admin cn=ops,ou=it=operator".parse().unwrap();
        assert_eq!(roles.role(&["staff", "sre", "else"]), Some(Role::Admin));
        assert_eq!(roles.role(&["cn=ops,ou=it"]), Some(Role::Operator));
        assert_eq!(roles.role(&["Staff", ""]), None);
        assert_eq!(roles.to_string().parse(), Ok(roles));
        for bad in ["", "staff", "staff=king", "=viewer", "a=viewer a=admin"] {
            assert!(bad.parse::<RoleMap>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_its_path() {
        let claims = json!({"realm_access": {"roles": ["a"]}, "https://x.example/roles": "b"});
        assert_eq!(at(&claims, "realm_access.roles"), Some(&json!(["a"])));
        assert_eq!(at(&claims, "https://x.example/roles"), Some(&json!("b")));
        assert_eq!(at(&claims, "groups"), None);
    }

    #[test]
    fn names_become_names_as_they_are_here() {
        let check = |text, expected: Option<&str>| assert_eq!(plain_name(text).as_deref(), expected, "{text:?}");
        check("Ada.Lovelace@Example.org", Some("ada.lovelace@example.org"));
        check("<b>ada</b>", Some("b-ada--b-"));
        check("Žofie", Some("ofie"));
        check("žž", None);
        check(&"x".repeat(99), Some(&"x".repeat(64)));
    }

    #[test]
    fn an_answer_belongs_to_one_attempt() {
        let attempt = Attempt::of("k".to_owned());
        assert!(attempt.is_answered_by(&attempt.state()));
        assert!(!attempt.is_answered_by(&Attempt::random().state()) && !attempt.is_answered_by(""));
        assert_ne!(attempt.state(), *attempt.nonce().secret());
        assert!((43..=128).contains(&attempt.verifier().secret().len()));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let sign_on = SignOn {
            issuer: "https://id.example".to_owned(),
            client_id: "ops".to_owned(),
            client_secret: Some("hush".to_owned()),
            url: "https://ops.example".to_owned(),
            claim: "groups".to_owned(),
            roles: "a=viewer".parse().unwrap(),
        };
        assert!(!format!("{sign_on:?}").contains("hush"));
    }
}
