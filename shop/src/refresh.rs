//! The next tokens of a session. A refresh token is good once, and using it twice ends the session: of several tabs that come with the same one, one
//! asks the gateway, and the others get what it got.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::api::{Api, Ask, Caller, Failure};
use crate::limits::{REFRESH_KEPT, REFRESHES_MAX};
use crate::types::Tokens;

/// Refreshes of a moment ago, by their token's digest.
#[derive(Clone, Default)]
pub struct Refreshes(Arc<Mutex<HashMap<[u8; 32], Refresh>>>);

#[derive(Clone)]
struct Refresh {
    began: Instant,
    tokens: Arc<OnceCell<Tokens>>,
}

impl Refreshes {
    /// The tokens that this one gives. Goes on to its end when the browser hangs up: the tokens must not be lost.
    pub async fn next(&self, api: &Api, caller: &Caller, token: &str) -> Result<Tokens, Failure> {
        let cell = self.of(token);
        let ask = Ask::post("/sessions/refresh", &json!({ "refreshToken": token }));
        let (api, caller) = (api.clone(), caller.clone());
        let (known, digest) = (self.clone(), digest(token));
        let asked = tokio::spawn(async move {
            let tokens = cell.get_or_try_init(|| api.ask::<Tokens>(&caller, ask)).await.cloned();
            // Whoever comes with tokens that are nobody's must not fill the book.
            if tokens.is_err() {
                known.lock().remove(&digest);
            }
            tokens
        });
        asked.await.map_err(Failure::odd)?
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Refresh>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, token: &str) -> Arc<OnceCell<Tokens>> {
        let mut known = self.lock();
        if known.len() >= REFRESHES_MAX {
            known.retain(|_, refresh| refresh.began.elapsed() < REFRESH_KEPT);
        }
        // Still too many: who comes twice with the same token at this moment has to log in again.
        if known.len() >= REFRESHES_MAX {
            return Arc::default();
        }
        let fresh = || Refresh {
            began: Instant::now(),
            tokens: Arc::default(),
        };
        let refresh = known.entry(digest(token)).or_insert_with(fresh);
        if refresh.began.elapsed() >= REFRESH_KEPT {
            *refresh = fresh();
        }
        refresh.tokens.clone()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
