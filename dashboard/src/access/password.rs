//! Passwords: Argon2id with the crate's defaults (19 MiB, two passes), off the async threads, a few at a time.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::error::PageError;
use crate::limits::{HASH_WAIT, HASHES_MAX, PASSWORD_MAX, PASSWORD_MIN};

/// What a login is measured against that names nobody, so that it takes as long as any other.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FnYWxpbmUtbm9ib2R5$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Bounds how many passwords are hashed at once.
#[derive(Debug)]
pub struct Hasher {
    turns: Semaphore,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher {
            turns: Semaphore::new(HASHES_MAX),
        }
    }
}

impl Hasher {
    /// Whether it is the password; without a hash it never is, after the same time.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PageError> {
        let turn = tokio::time::timeout(HASH_WAIT, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| PageError::Busy)?.map_err(PageError::internal)?;
        let checked = tokio::task::spawn_blocking(move || {
            let known = hash.is_some();
            matches(&password, hash.as_deref().unwrap_or(NOBODY)) && known
        });
        checked.await.map_err(PageError::internal)
    }
}

fn matches(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    password.len() <= PASSWORD_MAX
        && hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A new password's hash; takes some 50 ms.
pub fn hash(password: &str) -> Result<String, String> {
    if password.chars().count() < PASSWORD_MIN {
        return Err(format!("a password has at least {PASSWORD_MIN} characters"));
    }
    if password.len() > PASSWORD_MAX {
        return Err(format!("a password has at most {PASSWORD_MAX} bytes"));
    }
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let one = hash("correct horse battery").unwrap();
        assert!(one.starts_with("$argon2id$"), "{one}");
        assert!(matches("correct horse battery", &one));
        assert!(!matches("correct horse batterz", &one));
        assert!(!matches("correct horse battery", NOBODY));
        assert!(
            PasswordHash::new(NOBODY).is_ok(),
            "otherwise nobody would be told apart by time"
        );
        assert!(hash("short").is_err());
    }
}
