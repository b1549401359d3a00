//! Webhook signatures as Stripe makes them, and mail services for us: HMAC-SHA-256 over the time and the body
//! (<https://docs.stripe.com/webhooks#verify-manually>).

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signatures looked at in one header: while a secret is being rolled over there are two.
const SIGNATURES_MAX: usize = 8;

/// Why a webhook is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header.
    #[error("the signature's header is missing")]
    Missing,
    /// A header without a time or a signature.
    #[error("the signature's header must look like `t=<seconds>,v1=<hex>`")]
    Malformed,
    /// Too long ago, or too far ahead.
    #[error("the signature was made {age_seconds} s ago; at most {tolerance_seconds} s are accepted")]
    OutOfTolerance {
        /// By the gateway's clock; negative: in the future.
        age_seconds: i64,
        /// What would be accepted.
        tolerance_seconds: u64,
    },
    /// Another secret, or another body.
    #[error("no signature in the header fits the body")]
    Mismatch,
}

/// Checks a body against its signature header. `now` is in seconds since the Unix epoch.
pub fn verify(
    header: Option<&str>,
    body: &[u8],
    secret: &str,
    now: i64,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    let header = header.ok_or(SignatureError::Missing)?;
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => time = Some(value),
            Some(("v1", value)) if signatures.len() < SIGNATURES_MAX => signatures.push(value),
            // Other schemes (v0 marks test events) are not ours to check.
            Some(_) | None => (),
        }
    }
    let time = time.ok_or(SignatureError::Malformed)?;
    let signed_at: i64 = time.parse().map_err(|_| SignatureError::Malformed)?;
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    // The signature first: only who knows the secret learns what time it is here.
    let fits = signatures
        .iter()
        .filter_map(|signature| hex::decode(signature).ok())
        .any(|signature| mac(secret, time, body).verify_slice(&signature).is_ok());
    if !fits {
        return Err(SignatureError::Mismatch);
    }
    let age_seconds = now.saturating_sub(signed_at);
    if age_seconds.unsigned_abs() > tolerance.as_secs() {
        return Err(SignatureError::OutOfTolerance {
            age_seconds,
            tolerance_seconds: tolerance.as_secs(),
        });
    }
    Ok(())
}

/// The header that a sender with this secret would send.
pub fn sign(body: &[u8], secret: &str, now: i64) -> String {
    let signature = mac(secret, &now.to_string(), body).finalize().into_bytes();
    format!("t={now},v1={}", hex::encode(signature))
}

fn mac(secret: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn check(header: &str, body: &[u8], now: i64) -> Result<(), SignatureError> {
        verify(Some(header), body, "whsec_test", now, FIVE_MINUTES)
    }

    #[test]
    fn the_algorithm_is_stripes() {
        // Computed with: printf '1800000000.{}' | openssl dgst -sha256 -hmac whsec_test
        let known = "t=1800000000,v1=482e6337ac5272392d375c6fdc4d52a7e615dc2facedab0ffe155ddfd6a56e66";
        assert_eq!(sign(b"{}", "whsec_test", NOW), known);
    }

    #[test]
    fn a_right_signature_within_the_tolerance_is_accepted() {
        let header = sign(b"{}", "whsec_test", NOW);
        for now in [NOW, NOW + 300, NOW - 300] {
            assert_eq!(check(&header, b"{}", now), Ok(()));
        }
        let rolled = format!("{},v1={},v0=abc", header, "00".repeat(32));
        assert_eq!(check(&rolled, b"{}", NOW), Ok(()));
    }

    #[test]
    fn everything_else_is_refused() {
        let header = sign(b"{}", "whsec_test", NOW);
        assert_eq!(
            verify(None, b"{}", "whsec_test", NOW, FIVE_MINUTES),
            Err(SignatureError::Missing)
        );
        assert_eq!(check(&header, b"{ }", NOW), Err(SignatureError::Mismatch));
        assert_eq!(
            check(&sign(b"{}", "other", NOW), b"{}", NOW),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(
            check(&header.replace(&NOW.to_string(), "1800000001"), b"{}", NOW),
            Err(SignatureError::Mismatch)
        );
        let old = SignatureError::OutOfTolerance {
            age_seconds: 301,
            tolerance_seconds: 300,
        };
        assert_eq!(check(&header, b"{}", NOW + 301), Err(old));
        assert!(matches!(
            check(&header, b"{}", NOW - 301),
            Err(SignatureError::OutOfTolerance { .. })
        ));
        for malformed in ["", "t=1", "v1=00", "t=,v1=00", "t=x,v1=00", "nonsense"] {
            assert_eq!(
                check(malformed, b"{}", NOW),
                Err(SignatureError::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(check("t=1800000000,v1=zz", b"{}", NOW), Err(SignatureError::Mismatch));
        assert_eq!(
            check("t=9223372036854775807,v1=00", b"{}", NOW),
            Err(SignatureError::Mismatch)
        );
    }
}
