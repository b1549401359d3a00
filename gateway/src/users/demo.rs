//! A buyer and an organiser for `sagaline dev`, whose tokens can be printed.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;

use super::random::{self, Refresh};
use super::store::accounts::{self, NewAccount};
use super::store::sessions;
use super::token::{AccessTokens, Bearer};
use super::{UserId, Users, request};
use crate::options::Options;
use crate::problem::Problem;

/// The demo buyer's address. `.example` is nobody's.
const BUYER: (&str, &str) = ("demo@sagaline.example", "Demo Buyer");
/// The demo organiser's.
const ORGANISER: (&str, &str) = (DEMO_ORGANISER, "Demo Organiser");
/// The demo organiser's address.
pub const DEMO_ORGANISER: &str = "organiser@sagaline.example";
/// How long the printed token is good: a day of trying things out.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A demo user.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Their id.
    pub user_id: String,
    /// An access token of theirs.
    pub token: String,
}

/// Makes the demo buyer, unless it is there, and an access token for them. Nobody knows their password.
pub async fn demo_buyer(pool: &PgPool, options: &Options) -> Result<Demo, String> {
    demo_user(pool, options, BUYER).await
}

/// The same for somebody who is to be made an organiser.
pub async fn demo_organiser(pool: &PgPool, options: &Options) -> Result<Demo, String> {
    demo_user(pool, options, ORGANISER).await
}

async fn demo_user(pool: &PgPool, options: &Options, (email, name): (&str, &str)) -> Result<Demo, String> {
    let says = |problem: Problem| problem.detail().to_owned();
    let text = |error: sqlx::Error| error.to_string();
    let email_key = request::email_key(email);
    if accounts::known(pool, &email_key).await.map_err(text)?.is_none() {
        let hash = Users::new(options).hasher.hash(random::token()).await.map_err(says)?;
        let account = NewAccount {
            user: UserId::random(),
            email,
            email_key: &email_key,
            password_hash: &hash,
            name,
            phone: None,
            data: json!({}),
        };
        accounts::insert_silently(pool, &account).await.map_err(text)?;
    }
    let known = accounts::known(pool, &email_key).await.map_err(text)?;
    let known = known.ok_or("the demo user was just made and is gone")?;
    let session = sessions::begin_demo(pool, known.id, &Refresh::first(), LIFE)
        .await
        .map_err(text)?;
    let bearer = Bearer {
        user: UserId(known.id),
        session,
        email: known.email,
    };
    Ok(Demo {
        user_id: bearer.user.to_string(),
        token: AccessTokens::new(options.token_secret.as_ref()).issue(&bearer, LIFE),
    })
}
