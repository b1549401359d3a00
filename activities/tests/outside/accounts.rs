//! Mails about accounts, over real SMTP conversations.

use std::net::SocketAddr;

use activities::Registry;
use activities::accounts;
use activities::notifications::{MailConfig, Mailer, SmtpSink};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::TestDatabase;
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::support::{read, run_batch};

struct Office {
    database: TestDatabase,
    sink: SmtpSink,
    registry: Registry,
}

impl Office {
    async fn open() -> Office {
        let database = testkit::migrated_database().await;
        let sink = SmtpSink::start(SocketAddr::from(([127, 0, 0, 1], 0)), 10)
            .await
            .unwrap();
        let mailer = Mailer::new(&MailConfig {
            url: sink.url(),
            from: "Sagaline <tickets@sagaline.example>".into(),
        });
        let mut registry = Registry::new();
        let shop = "https://shop.example".to_owned();
        accounts::register(&mut registry, database.pool.clone(), mailer.unwrap(), shop).unwrap();
        Office {
            database,
            sink,
            registry,
        }
    }

    async fn account(&self) -> Uuid {
        let query = "insert into ticketing.accounts (id, email, email_key, password_hash, name)
                     values (gen_random_uuid(), 'Ada@example.org', 'ada@example.org', '$argon2id$x', 'Ada') returning id";
        sqlx::query_scalar(query).fetch_one(&self.database.pool).await.unwrap()
    }

    async fn send(&self, saga: Uuid, account: Uuid, kind: &str) -> Outcome {
        self.send_to(saga, account, kind, "Ada@example.org", Value::Null).await
    }

    async fn send_to(&self, saga: Uuid, account: Uuid, kind: &str, to: &str, language: Value) -> Outcome {
        let user = format!("usr_{}", account.simple());
        let input = json!({"userId": user, "to": to, "kind": kind, "language": language});
        run_batch(&self.registry, "notifications", "accounts.mail", vec![(saga, input)])
            .await
            .remove(0)
    }

    /// Purposes of the links to this token.
    async fn purposes(&self, token: &str) -> Vec<String> {
        let query = "select purpose from ticketing.account_links where token_hash = $1 and expires_at > now()";
        let query = sqlx::query_scalar(query).bind(Sha256::digest(token).to_vec());
        query.fetch_all(&self.database.pool).await.unwrap()
    }
}

/// What follows this in the last mail, up to the end of the token.
fn token_after(office: &Office, prefix: &str) -> String {
    let data = office.sink.messages().pop().unwrap().data;
    let text = data.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = text.split_once(prefix).unwrap_or_else(|| panic!("{prefix} in {text}"));
    rest.chars().take(43).collect()
}

#[tokio::test]
async fn the_mail_has_a_link_of_which_only_a_digest_is_kept() {
    let office = Office::open().await;
    let account = office.account().await;
    for (kind, prefix, purpose) in [
        (
            "registered",
            "https://shop.example/confirmations?token=",
            "confirmation",
        ),
        (
            "confirmation",
            "https://shop.example/confirmations?token=",
            "confirmation",
        ),
        (
            "password_reset",
            "https://shop.example/password-resets/",
            "password_reset",
        ),
    ] {
        let sent = office.send(Uuid::now_v7(), account, kind).await;
        let output: Value = read(sent).unwrap();
        assert_eq!(output["to"], "Ada@example.org");
        let token = token_after(&office, prefix);
        assert_eq!(office.purposes(&token).await, [purpose]);
        assert!(!output.to_string().contains(&token), "the saga must not know it");
    }
}

/// The last mail as its reader sees it, more or less.
fn last_mail(office: &Office) -> String {
    let data = office.sink.messages().pop().unwrap().data;
    data.replace("=\r\n", "").replace("=3D", "=").replace("=C3=A4", "ä")
}

#[tokio::test]
async fn mails_about_accounts_are_written_in_their_users_language() {
    let office = Office::open().await;
    let account = office.account().await;
    let english = office.send(Uuid::now_v7(), account, "registered").await;
    read::<Value>(english).unwrap();
    assert!(last_mail(&office).contains("please confirm that this is your address"));
    // Their browser asked for German.
    let to = "Ada@example.org";
    let german = office
        .send_to(Uuid::now_v7(), account, "password_reset", to, json!("de"))
        .await;
    read::<Value>(german).unwrap();
    let mail = last_mail(&office);
    assert!(
        mail.contains("Subject: Ein neues Passwort") && mail.contains("Guten Tag,") && !mail.contains("Ada,"),
        "{mail}"
    );
    // What they have said counts more.
    sqlx::query(
        "insert into ticketing.notification_preferences (account_id, language, channels) values ($1, 'en', '{}')",
    )
    .bind(account)
    .execute(&office.database.pool)
    .await
    .unwrap();
    let english = office
        .send_to(Uuid::now_v7(), account, "password_changed", to, json!("de"))
        .await;
    read::<Value>(english).unwrap();
    let mail = last_mail(&office);
    assert!(
        mail.contains("Subject: Your password was changed") && !mail.contains("https://"),
        "{mail}"
    );
    let klingon = office
        .send_to(Uuid::now_v7(), account, "registered", to, json!("tlh"))
        .await;
    assert!(
        matches!(&klingon, Outcome::Failed { code, .. } if code == "invalid_input"),
        "{klingon:?}"
    );
}

#[tokio::test]
async fn a_new_address_is_kept_with_the_link_that_is_sent_there() {
    let office = Office::open().await;
    let account = office.account().await;
    let to = "new@example.org";
    read::<Value>(
        office
            .send_to(Uuid::now_v7(), account, "email_change", to, json!("de"))
            .await,
    )
    .unwrap();
    let token = token_after(&office, "https://shop.example/email-changes?token=");
    assert_eq!(office.purposes(&token).await, ["email_change"]);
    let kept: String = sqlx::query_scalar("select email from ticketing.account_links where token_hash = $1")
        .bind(Sha256::digest(&token).to_vec())
        .fetch_one(&office.database.pool)
        .await
        .unwrap();
    assert_eq!(kept, to);
    // The old one is told, without a link, though it may be nobody's by now.
    read::<Value>(
        office
            .send_to(Uuid::now_v7(), account, "email_changed", "old@example.org", Value::Null)
            .await,
    )
    .unwrap();
    let mail = last_mail(&office);
    assert!(
        mail.contains("another address now") && !mail.contains("https://"),
        "{mail}"
    );
}

#[tokio::test]
async fn a_repeated_task_sends_nothing_again() {
    let office = Office::open().await;
    let (saga, account) = (Uuid::now_v7(), office.account().await);
    let first: Value = read(office.send(saga, account, "registered").await).unwrap();
    let second: Value = read(office.send(saga, account, "registered").await).unwrap();
    assert_eq!(first, second);
    assert_eq!(office.sink.total(), 1);
    let links: i64 = sqlx::query_scalar("select count(*) from ticketing.account_links")
        .fetch_one(&office.database.pool)
        .await
        .unwrap();
    assert_eq!(links, 1);
}

#[tokio::test]
async fn what_is_not_to_be_had_is_said() {
    let office = Office::open().await;
    let Outcome::Failed { code, retryable, .. } = office.send(Uuid::now_v7(), Uuid::now_v7(), "registered").await
    else {
        panic!("nobody's account");
    };
    assert_eq!((code.as_str(), retryable), ("no_account", false));
    // A link to an account is sent to its own address, whoever asks for another.
    let account = office.account().await;
    let user = format!("usr_{}", account.simple());
    let input = json!({"userId": user, "to": "mallory@example.org", "kind": "password_reset"});
    let outcome = run_batch(
        &office.registry,
        "notifications",
        "accounts.mail",
        vec![(Uuid::now_v7(), input)],
    )
    .await;
    assert!(
        matches!(&outcome[0], Outcome::Failed { code, .. } if code == "no_account"),
        "{outcome:?}"
    );
    let input = json!({"userId": "user_1", "to": "a@example.org", "kind": "registered"});
    let outcome = run_batch(
        &office.registry,
        "notifications",
        "accounts.mail",
        vec![(Uuid::now_v7(), input)],
    )
    .await;
    assert!(
        matches!(&outcome[0], Outcome::Failed { code, .. } if code == "invalid_input"),
        "{outcome:?}"
    );
    assert_eq!(office.sink.total(), 0);
}
