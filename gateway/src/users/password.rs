//! Passwords: Argon2id with the crate's defaults (19 MiB, two passes), off the async threads, a few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{HASH_RETRY, HASH_WAIT, HASHES_WAITING_MAX};
use crate::problem::{Kind, Problem};

/// What a login is measured against that names nobody, so that it takes as long as any other.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FnYWxpbmUtbm9ib2R5$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Bounds how many passwords are hashed at once, and how many wait for it.
#[derive(Debug)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    places: Semaphore,
}

impl Hasher {
    /// At most so many at once.
    pub fn new(hashes_max: usize) -> Hasher {
        let hashes_max = hashes_max.clamp(1, Semaphore::MAX_PERMITS / 2);
        Hasher {
            turns: Arc::new(Semaphore::new(hashes_max)),
            places: Semaphore::new(hashes_max + HASHES_WAITING_MAX),
        }
    }

    /// A new password's hash.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        let hashed = self.run(move || hash(&password)).await?;
        hashed.map_err(|error| internal(&error))
    }

    /// Whether it is the password; without a hash it never is, after the same time.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        self.run(move || {
            let known = hash.is_some();
            matches(&password, hash.as_deref().unwrap_or(NOBODY)) && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(HASH_WAIT, self.turns.clone().acquire_owned()).await;
        let turn: OwnedSemaphorePermit = turn.map_err(|_| busy())?.map_err(|error| internal(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept to the end, also where the client has hung up: the work goes on, and must be counted.
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| internal(&error))
    }
}

fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

fn matches(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn busy() -> Problem {
    metrics::counter!("sagaline_gateway_hashes_shed_total").increment(1);
    let detail = "more people are logging in than can be let in at once; try again shortly";
    Problem::new(Kind::Overloaded, detail).retry_after(HASH_RETRY)
}

fn internal(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "a password could not be hashed");
    Problem::new(
        Kind::Internal,
        "the request failed because of a defect of ours; it has been recorded",
    )
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
    }

    #[tokio::test]
    async fn no_more_wait_than_there_are_places() {
        let hasher = Hasher::new(1);
        let turn = hasher.turns.clone().acquire_owned().await.unwrap();
        let crowd = (0..HASHES_WAITING_MAX + 10).map(|_| hasher.verify("password".to_owned(), None));
        let crowd = futures::future::join_all(crowd).await;
        // Most of them after a wait, the last ones at once: nobody got a turn.
        assert!(
            crowd
                .iter()
                .all(|answer| answer.as_ref().err().unwrap().kind() == Kind::Overloaded)
        );
        drop(turn);
        assert!(!hasher.verify("password".to_owned(), None).await.unwrap());
    }
}
