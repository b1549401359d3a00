//! Signed places: who holds one can't make another.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Written for a place that is not given yet.
const NO_PLACE: &str = "-";

/// The token of a buyer's place in an event's line: `<place>.<HMAC-SHA-256 in hex>`.
pub fn sign(secret: &[u8], event_id: &str, user_id: &str, place: Option<i64>) -> String {
    let place = place.map_or_else(|| NO_PLACE.to_owned(), |place| place.to_string());
    let mac = mac(secret, event_id, user_id, &place).finalize().into_bytes();
    format!("{place}.{}", hex::encode(mac))
}

/// The place that a token of this buyer names; an error if it isn't one.
pub fn verify(secret: &[u8], event_id: &str, user_id: &str, token: &str) -> Result<Option<i64>, ()> {
    let (place, signature) = token.split_once('.').ok_or(())?;
    let signature = hex::decode(signature).map_err(|_| ())?;
    mac(secret, event_id, user_id, place)
        .verify_slice(&signature)
        .map_err(|_| ())?;
    if place == NO_PLACE {
        return Ok(None);
    }
    place.parse().map(Some).map_err(|_| ())
}

fn mac(secret: &[u8], event_id: &str, user_id: &str, place: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [event_id, user_id, place] {
        // With its length, so that no two triples read the same.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_signed_place_is_taken() {
        let token = sign(b"secret", "tour", "me", Some(17));
        assert_eq!(verify(b"secret", "tour", "me", &token), Ok(Some(17)));
        assert_eq!(
            verify(b"secret", "tour", "me", &sign(b"secret", "tour", "me", None)),
            Ok(None)
        );
        for (secret, event, user) in [
            (b"other!", "tour", "me"),
            (b"secret", "tou", "rme"),
            (b"secret", "tour", "you"),
        ] {
            assert_eq!(verify(secret, event, user, &token), Err(()));
        }
        let better = token.replacen("17", "1", 1);
        for forged in [better.as_str(), "", ".", "1.", "1.zz", "17"] {
            assert_eq!(verify(b"secret", "tour", "me", forged), Err(()), "{forged}");
        }
    }
}
