//! Signed codes: JSON Web Signatures (RFC 7515) by Ed25519 (RFC 8037), with the public keys as a JSON Web Key Set (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// A code is no longer than this, in bytes. Ours have some 400: ids of events and seats have at most 128 characters, and a QR code of
/// this size is still read from paper.
pub const CODE_BYTES_MAX: usize = 1_500;
/// Bytes of what stands for a booking: as many as its id has.
const HOLDER_BYTES: usize = 16;
/// Bytes of a private key.
pub const SEED_BYTES: usize = 32;
/// Who signs, and for whom: a signature for anything else is no ticket.
const ISSUER: &str = "sagaline";
const AUDIENCE: &str = "door";
const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "JWT";

/// A seat of an event that somebody has paid for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The event.
    pub event_id: String,
    /// The seat.
    pub seat_id: String,
    /// Stands for the booking that has paid; see [`holder`].
    pub holder: String,
}

/// What stands for a booking in a ticket of its. Many see a ticket who may not see the booking, and for a guest's the id is all that is asked
/// for: nobody finds the id by this, and the shop, which knows whose a seat is, makes it again and compares.
pub fn holder(booking_id: Uuid, event_id: &str, seat_id: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(b"sagaline ticket\0");
    digest.update(booking_id.as_bytes());
    for text in [event_id, seat_id] {
        digest.update(text.as_bytes());
        digest.update([0]);
    }
    URL_SAFE_NO_PAD.encode(&digest.finalize()[..HOLDER_BYTES])
}

/// What a code says. No time: the same ticket always has the same code.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    event: String,
    seat: String,
    holder: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Why a code is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// It isn't of the form that codes have.
    #[error("this is no ticket's code")]
    NoCode,
    /// Signed with a key that isn't ours, or not any more.
    #[error("the code was not signed by this shop")]
    UnknownKey,
    /// Changed, or made by somebody else.
    #[error("the code's signature is not valid: it was changed, or is not this shop's")]
    BadSignature,
}

/// A key that signs.
pub struct TicketKey {
    id: String,
    key: SigningKey,
}

impl TicketKey {
    /// From its private half.
    pub fn new(id: impl Into<String>, seed: &[u8; SEED_BYTES]) -> TicketKey {
        TicketKey {
            id: id.into(),
            key: SigningKey::from_bytes(seed),
        }
    }
}

/// The keys of a shop: the first one signs, tickets signed with the others are good too.
pub struct TicketKeys {
    sign: TicketKey,
    verify: Vec<(String, VerifyingKey)>,
}

impl TicketKeys {
    /// These keys; none: there must be one at least.
    pub fn new(keys: Vec<TicketKey>) -> Option<TicketKeys> {
        let verify = keys
            .iter()
            .map(|key| (key.id.clone(), key.key.verifying_key()))
            .collect();
        let sign = keys.into_iter().next()?;
        Some(TicketKeys { sign, verify })
    }

    /// The code of a ticket.
    pub fn sign(&self, ticket: &Ticket) -> String {
        let header = Header {
            alg: ALGORITHM.to_owned(),
            kid: self.sign.id.clone(),
            typ: TYPE.to_owned(),
        };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            event: ticket.event_id.clone(),
            seat: ticket.seat_id.clone(),
            holder: ticket.holder.clone(),
        };
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.sign.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The ticket that a code is for.
    ///
    /// # Errors
    /// If it isn't a code of ours, bit by bit.
    pub fn verify(&self, code: &str) -> Result<Ticket, CodeError> {
        if code.len() > CODE_BYTES_MAX {
            return Err(CodeError::NoCode);
        }
        let (signed, signature) = code.rsplit_once('.').ok_or(CodeError::NoCode)?;
        let (header, claims) = signed.split_once('.').ok_or(CodeError::NoCode)?;
        let header: Header = read(header)?;
        if header.alg != ALGORITHM {
            return Err(CodeError::NoCode);
        }
        let (_, key) = self
            .verify
            .iter()
            .find(|(id, _)| *id == header.kid)
            .ok_or(CodeError::UnknownKey)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| CodeError::BadSignature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| CodeError::BadSignature)?;
        key.verify_strict(signed.as_bytes(), &signature)
            .map_err(|_| CodeError::BadSignature)?;
        let claims: Claims = read(claims)?;
        if claims.iss != ISSUER || claims.aud != AUDIENCE {
            return Err(CodeError::NoCode);
        }
        Ok(Ticket {
            event_id: claims.event,
            seat_id: claims.seat,
            holder: claims.holder,
        })
    }

    /// The public halves, for scanners that check codes by themselves: a JSON Web Key Set.
    pub fn public(&self) -> serde_json::Value {
        let key = |(id, key): &(String, VerifyingKey)| {
            serde_json::json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": ALGORITHM,
                "use": "sig",
                "kid": id,
                "x": URL_SAFE_NO_PAD.encode(key.as_bytes()),
            })
        };
        serde_json::json!({ "keys": self.verify.iter().map(key).collect::<Vec<_>>() })
    }
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("texts only"))
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, CodeError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| CodeError::NoCode)?;
    serde_json::from_slice(&bytes).map_err(|_| CodeError::NoCode)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn keys(ids: &[(&str, u8)]) -> TicketKeys {
        let key = |(id, seed): &(&str, u8)| TicketKey::new(*id, &[*seed; SEED_BYTES]);
        TicketKeys::new(ids.iter().map(key).collect()).unwrap()
    }

    fn ticket() -> Ticket {
        Ticket {
            event_id: "taylor_swift_nyc_2024".to_owned(),
            seat_id: "A15".to_owned(),
            holder: holder(Uuid::from_u128(7), "taylor_swift_nyc_2024", "A15"),
        }
    }

    #[test]
    fn a_code_gives_its_ticket_back_and_is_always_the_same() {
        let keys = keys(&[("one", 1)]);
        let code = keys.sign(&ticket());
        assert_eq!(keys.verify(&code), Ok(ticket()));
        assert_eq!(keys.sign(&ticket()), code);
        assert!(code.len() < 400, "{} bytes", code.len());
        let longest = Ticket {
            event_id: "e".repeat(128),
            seat_id: "s".repeat(128),
            ..ticket()
        };
        assert_eq!(keys.verify(&keys.sign(&longest)), Ok(longest));
    }

    #[test]
    fn a_code_does_not_tell_the_booking() {
        let booking = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let ours = holder(booking, "e", "A1");
        assert_ne!(ours, holder(booking, "e", "A2"));
        assert_ne!(holder(booking, "e1", "A"), holder(booking, "e", "1A"));
        let ticket = Ticket {
            event_id: "e".to_owned(),
            seat_id: "A1".to_owned(),
            holder: ours,
        };
        let code = keys(&[("one", 1)]).sign(&ticket);
        let claims = URL_SAFE_NO_PAD.decode(code.split('.').nth(1).unwrap()).unwrap();
        let claims = String::from_utf8(claims).unwrap();
        for told in [booking.to_string(), booking.simple().to_string()] {
            assert!(!claims.contains(&told), "{claims}");
        }
    }

    #[test]
    fn no_bit_of_a_code_can_be_changed() {
        let keys = keys(&[("one", 1)]);
        let code = keys.sign(&ticket()).into_bytes();
        for index in 0..code.len() {
            for bit in 0..8 {
                let mut changed = code.clone();
                changed[index] ^= 1 << bit;
                if let Ok(changed) = String::from_utf8(changed) {
                    assert!(keys.verify(&changed).is_err(), "byte {index}, bit {bit}: {changed}");
                }
            }
        }
    }

    #[test]
    fn keys_can_be_changed_and_others_keys_are_none() {
        let before = keys(&[("one", 1)]).sign(&ticket());
        let both = keys(&[("two", 2), ("one", 1)]);
        assert_eq!(both.verify(&before), Ok(ticket()));
        assert_eq!(keys(&[("two", 2)]).verify(&before), Err(CodeError::UnknownKey));
        // Somebody else's key under our key's name.
        assert_eq!(keys(&[("one", 3)]).verify(&before), Err(CodeError::BadSignature));
        assert_eq!(both.public()["keys"][0]["kid"], "two");
        assert!(TicketKeys::new(Vec::new()).is_none());
    }

    #[test]
    fn a_signature_for_something_else_is_no_ticket() {
        let keys = keys(&[("one", 1)]);
        let header = Header {
            alg: ALGORITHM.to_owned(),
            kid: "one".to_owned(),
            typ: TYPE.to_owned(),
        };
        let claims = serde_json::json!({
            "iss": ISSUER, "aud": "shop", "event": "e", "seat": "A1", "holder": "h",
        });
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(keys.sign.key.sign(signed.as_bytes()).to_bytes());
        assert_eq!(keys.verify(&format!("{signed}.{signature}")), Err(CodeError::NoCode));
        // No signature at all, and the header says that there is none.
        let none = part(&serde_json::json!({"alg": "none", "kid": "one", "typ": "JWT"}));
        let claims = signed.split_once('.').unwrap().1;
        assert_eq!(keys.verify(&format!("{none}.{claims}.")), Err(CodeError::NoCode));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,300}") {
            prop_assert!(keys(&[("one", 1)]).verify(&text).is_err());
        }

        #[test]
        fn every_ticket_survives_its_code(event in "\\PC{1,64}", seat in "\\PC{1,64}", booking in any::<u128>()) {
            let keys = keys(&[("one", 1)]);
            let holder = holder(Uuid::from_u128(booking), &event, &seat);
            let ticket = Ticket { event_id: event, seat_id: seat, holder };
            prop_assert_eq!(keys.verify(&keys.sign(&ticket)), Ok(ticket));
        }
    }
}
