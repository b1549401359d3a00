//! Access tokens: JSON Web Tokens signed with HMAC-SHA-256, and nothing else is taken for one.

use std::sync::Once;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use signature::{Signer, Verifier};
use uuid::Uuid;

use super::UserId;
use crate::limits::{ACCESS_TOKEN_BYTES_MAX, ACCESS_TOKEN_LEEWAY};
use crate::options::Secret;

/// Who gives the tokens, and for what: a token of another system that shares the secret is none of ours.
const ISSUER: &str = "sagaline";
const AUDIENCE: &str = "shop";

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: UserId,
    /// The session that the token belongs to.
    pub session: Uuid,
    /// The user's e-mail address.
    pub email: String,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: Uuid,
    email: String,
    iat: u64,
    exp: u64,
}

/// Signs and verifies.
pub struct AccessTokens {
    sign: EncodingKey,
    /// The one that signs, and those that did before.
    verify: Vec<DecodingKey>,
    validation: Validation,
}

impl AccessTokens {
    /// With secrets separated by commas: the first one signs, tokens signed with the others are good too, so that a secret can be
    /// changed. None: with one that no other process knows, and that ends with this one.
    pub fn new(secrets: Option<&Secret>) -> AccessTokens {
        install_hmac();
        let ours = super::random::token();
        let secrets: Vec<&str> = match secrets {
            Some(secrets) => secrets.expose().split(',').map(str::trim).collect(),
            None => vec![&ours],
        };
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = ACCESS_TOKEN_LEEWAY.as_secs();
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        AccessTokens {
            sign: EncodingKey::from_secret(secrets[0].as_bytes()),
            verify: secrets
                .iter()
                .map(|secret| DecodingKey::from_secret(secret.as_bytes()))
                .collect(),
            validation,
        }
    }

    /// A token that is good for `life`.
    pub fn issue(&self, bearer: &Bearer, life: Duration) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: bearer.user.to_string(),
            sid: bearer.session,
            email: bearer.email.clone(),
            iat: now,
            exp: now + life.as_secs(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.sign).expect("HMAC signs whatever there is")
    }

    /// Whose token it is; none: it isn't one, or not any more.
    pub fn verify(&self, token: &str) -> Option<Bearer> {
        if token.len() > ACCESS_TOKEN_BYTES_MAX {
            return None;
        }
        let claims = self
            .verify
            .iter()
            .find_map(|key| decode::<Claims>(token, key, &self.validation).ok())?
            .claims;
        Some(Bearer {
            user: claims.sub.parse().ok()?,
            session: claims.sid,
            email: claims.email,
        })
    }
}

/// HMAC-SHA-256 by the crates that we have anyway; the token crate's own choices are aws-lc, or all algorithms there are.
static HMAC: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        require_hmac(*algorithm, key.family())?;
        Ok(Box::new(Hs256(mac(key.as_bytes()))))
    },
    verifier_factory: |algorithm, key| {
        require_hmac(*algorithm, key.family())?;
        Ok(Box::new(Hs256(mac(key.try_get_as_bytes()?))))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn install_hmac() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Refused only if there is one, which nobody else in this program makes.
        let _ = HMAC.install_default();
    });
}

fn require_hmac(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), Error> {
    match (algorithm, family) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

struct Hs256(Hmac<Sha256>);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let mac = self.0.clone().chain_update(message);
        // In constant time.
        mac.verify_slice(signature).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of thirty-two characters";

    fn tokens(secrets: &str) -> AccessTokens {
        AccessTokens::new(Some(&Secret::new(secrets)))
    }

    fn bearer() -> Bearer {
        Bearer {
            user: UserId::random(),
            session: Uuid::now_v7(),
            email: "me@example.com".to_owned(),
        }
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn signed(header: &Value, claims: &Value, secret: &str) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = Hs256(mac(secret.as_bytes())).try_sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": UserId::random().to_string(), "sid": Uuid::nil(), "email": "e",
               "iat": 0, "exp": 4_000_000_000u64})
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let (tokens, bearer) = (tokens(SECRET), bearer());
        let token = tokens.issue(&bearer, Duration::from_secs(60));
        assert_eq!(tokens.verify(&token), Some(bearer));
        let by_hand = signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims(), SECRET);
        assert!(tokens.verify(&by_hand).is_some(), "it is a JWT as others make them");
    }

    #[test]
    fn forged_and_foreign_tokens_are_none() {
        let tokens = tokens(SECRET);
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value,
            }
            signed(&header, &claims, SECRET)
        };
        let good = signed(&header, &claims(), SECRET);
        let (message, _) = good.rsplit_once('.').unwrap();
        let bad = [
            String::new(),
            "..".to_owned(),
            format!("{message}."),
            message.to_owned(),
            format!("{good}A"),
            good.replacen('.', ".e30", 1),
            signed(&header, &claims(), "another secret of as many letters"),
            format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims())),
            signed(&json!({"alg": "none"}), &claims(), SECRET),
            signed(&json!({"alg": "HS512"}), &claims(), SECRET),
            signed(&json!({"alg": "RS256"}), &claims(), SECRET),
            signed(&json!({"alg": "hs256"}), &claims(), SECRET),
            signed(&json!({}), &claims(), SECRET),
            with("exp", json!(1)),
            with("exp", json!("never")),
            with("exp", Value::Null),
            with("iss", json!("someone")),
            with("iss", Value::Null),
            with("aud", json!("operators")),
            with("aud", Value::Null),
            with("sub", json!("user_1")),
            with("sub", json!("")),
            with("sub", Value::Null),
            with("sid", json!("1")),
            with("email", json!("x".repeat(ACCESS_TOKEN_BYTES_MAX))),
        ];
        for token in bad {
            assert_eq!(tokens.verify(&token), None, "{token}");
        }
        assert!(tokens.verify(&good).is_some());
    }

    #[test]
    fn a_token_ends() {
        let tokens = tokens(SECRET);
        let header = json!({"alg": "HS256"});
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let ending = |exp: u64| {
            let mut claims = claims();
            claims["exp"] = json!(exp);
            tokens.verify(&signed(&header, &claims, SECRET)).is_some()
        };
        assert!(ending(now + 60));
        assert!(!ending(now - 60));
    }

    #[test]
    fn secrets_are_changed_one_after_the_other() {
        let (old, bearer) = ("the old secret of just as many letters", bearer());
        let token = tokens(old).issue(&bearer, Duration::from_secs(60));
        assert_eq!(tokens(&format!("{SECRET}, {old}")).verify(&token), Some(bearer));
        assert_eq!(tokens(SECRET).verify(&token), None);
        assert_eq!(AccessTokens::new(None).verify(&token), None);
    }
}
