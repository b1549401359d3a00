//! Random tokens, and the digests that are kept of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Characters of 256 bits in base64.
const CHARS: usize = 43;

/// A secret of 256 bits, from the operating system's generator.
pub fn token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// What is kept of a token: the digest of its text. Enough, for the token can't be guessed.
pub fn digest(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Whether a text has the form of a token; if not, nobody need be asked, and it isn't shown to anybody.
pub fn is_token(text: &str) -> bool {
    text.len() == CHARS
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The two halves of a refresh token.
pub struct Refresh {
    /// Stays the same: names the session.
    pub family: String,
    /// Another one each time.
    pub current: String,
}

impl Refresh {
    /// The first one of a session.
    pub fn first() -> Refresh {
        Refresh {
            family: token(),
            current: token(),
        }
    }

    /// The one after this one.
    pub fn next(&self) -> Refresh {
        Refresh {
            family: self.family.clone(),
            current: token(),
        }
    }

    /// Reads one; none: it has another form.
    pub fn parse(text: &str) -> Option<Refresh> {
        let (family, current) = text.split_once('.')?;
        (is_token(family) && is_token(current)).then(|| Refresh {
            family: family.to_owned(),
            current: current.to_owned(),
        })
    }

    /// For the client.
    pub fn text(&self) -> String {
        format!("{}.{}", self.family, self.current)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tokens_differ_and_have_one_form() {
        let one = token();
        assert!(is_token(&one) && one != token(), "{one}");
        for bad in [
            "",
            "a",
            &one[1..],
            &format!("{}=", &one[1..]),
            &format!("{}\0", &one[1..]),
        ] {
            assert!(!is_token(bad), "{bad:?}");
        }
        assert_eq!(digest(&one).len(), 32);
    }

    #[test]
    fn the_next_token_is_of_the_same_family() {
        let first = Refresh::first();
        let next = Refresh::parse(&first.next().text()).unwrap();
        assert_eq!(next.family, first.family);
        assert_ne!(next.current, first.current);
        for bad in ["", ".", "a.b", &first.family, &format!("{}.x", first.text())] {
            assert!(Refresh::parse(bad).is_none(), "{bad:?}");
        }
    }
}
