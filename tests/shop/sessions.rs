//! Accounts and sessions at the site; and the site apart from its gateway.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::buyer::{Buyer, number_on};
use crate::hall::TOUR;
use crate::running::Dev;

const PASSWORD: &str = " correct horse battery";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_at_the_site_is_made_used_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let mut buyer = Buyer::of(&dev);
    let account = [
        ("name", "Ada"),
        ("email", "ada@example.com"),
        ("password", PASSWORD),
        ("next", "/shop/orders"),
    ];
    let short = buyer
        .post(
            "/shop/register",
            &[("name", "Ada"), ("email", "ada"), ("password", "short")],
        )
        .await;
    assert_eq!(short.status, 422);
    assert!(
        short.text.contains("password") && short.text.contains("email"),
        "{}",
        short.text
    );
    let made = buyer.post("/shop/register", &account).await;
    assert_eq!(
        (made.status.as_u16(), made.to.as_str()),
        (303, "/shop/orders"),
        "{}",
        made.text
    );
    assert!(buyer.page("/shop/orders").await.contains("No orders yet"));
    let order = buyer.order(TOUR, &["A1"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    assert!(buyer.until("/shop/orders", "Confirmed").await.contains("The Eras Tour"));

    // Another browser of theirs has the order too; nobody else's has.
    let mut other = Buyer::of(&dev);
    assert_eq!(other.get(&order).await.status, 404);
    let wrong = other
        .post(
            "/shop/login",
            &[("email", "ada@example.com"), ("password", "wrong password")],
        )
        .await;
    assert!(wrong.status == 422 && wrong.text.contains("is wrong"));
    let login = [
        ("email", "ada@example.com"),
        ("password", PASSWORD),
        ("next", "//evil.example"),
    ];
    assert_eq!(other.post("/shop/login", &login).await.to, "/");
    assert!(other.page(&order).await.contains("SL-"));

    // A guest's order is the guest's, whoever is logged in, until it is looked up.
    let mut guest = Buyer::of(&dev);
    let theirs = guest.order(TOUR, &["A3"], "pm_card_visa").await;
    let number = number_on(&guest.until(&theirs, "going!").await);
    assert_eq!(other.get(&theirs).await.status, 404);
    let look_up = [("number", number.as_str()), ("email", "fan@example.com")];
    assert_eq!(other.post("/shop/orders", &look_up).await.to, theirs);
    assert!(other.page(&theirs).await.contains(&number));

    // Once the access token has ended, two tabs ask for the next one at the same time, and both go on.
    other.cookies.remove("sagaline_access");
    let mut tab = Buyer::of(&dev);
    tab.cookies = other.cookies.clone();
    let (one, two) = tokio::join!(other.get(&order), tab.get(&order));
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    assert_eq!(other.cookies, tab.cookies);
    assert!(other.cookies.contains_key("sagaline_access"));

    // A token that isn't good ends the login, rather than making a guest of somebody.
    tab.cookies
        .insert("sagaline_access".to_owned(), "usr_1:nonsense".to_owned());
    let ended = tab.get("/shop/orders").await;
    assert!(ended.status == 401 && ended.text.contains("Log in"));
    assert!(!tab.cookies.contains_key("sagaline_access") && !tab.cookies.contains_key("sagaline_refresh"));

    let session = other.cookies.clone();
    assert_eq!(other.post("/shop/logout", &[]).await.to, "/");
    assert_eq!(other.get(&order).await.status, 404);
    // Not only the cookie is gone.
    other.cookies = session;
    other.cookies.remove("sagaline_access");
    assert_eq!(other.get(&order).await.status, 404);
    pages_may_be_apart(&dev).await;
}

/// The same pages by a process of their own, which reaches the gateway by HTTP.
async fn pages_may_be_apart(dev: &Dev) {
    let process = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args([
            "shop",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--gateway-url",
            dev.url("gateway"),
        ])
        .env("SAGALINE_BANK_URL", dev.url("stripe"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(process);
    let stderr = BufReader::new(process.0.stderr.take().unwrap());
    let line = stderr
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("pages are served"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["address"].as_str().or(line["address"].as_str()).unwrap();
    let mut buyer = Buyer::at(&format!("http://{address}"));
    assert!(buyer.page("/").await.contains("The Eras Tour"));
    let order = buyer.order(TOUR, &["A2"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    let paper = buyer.get(&format!("{order}/tickets.pdf")).await;
    assert_eq!(paper.kind, "application/pdf");
}

/// Killed when dropped, also by a test that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
