//! In by an identity provider on another site: what cookies do on that way, only a browser knows.

use dashboard::{Options, SignOn};

use crate::browser;
use crate::control::Control;
use crate::identity::{CLIENT, Identity, SECRET, Signed, Somebody};

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_in_by_the_identity_provider() {
    let identity = Identity::start("localhost").await;
    identity.expect(Somebody::new("u-1", "zoe", "ops"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        sign_on: Some(SignOn {
            issuer: identity.issuer(),
            client_id: CLIENT.to_owned(),
            client_secret: Some(SECRET.to_owned()),
            url: format!("http://{}", listener.local_addr().unwrap()),
            claim: "realm.groups".to_owned(),
            roles: "ops=operator".parse().unwrap(),
        }),
        ..Options::default()
    };
    let control = Control::start_on(listener, options).await;
    let Some(chrome) = browser(&control.base).await else {
        return control.stop().await;
    };
    chrome.open("/login").await;
    chrome.check("login-provider").await;
    chrome.click("Log in by the identity provider").await;
    chrome.shows("zoe (operator)").await;
    // There is nothing of a password for who has none here.
    chrome.click("Settings").await;
    chrome.shows("A new token of yours").await;
    assert!(!chrome.text().await.contains("Your password"));
    // Somebody for whom no role is meant is told so where they can log in otherwise.
    chrome.click("Log out").await;
    chrome.shows("Password").await;
    identity.expect(Somebody::new("u-2", "max", "nothing"));
    chrome.click("Log in by the identity provider").await;
    chrome.shows("no role here is meant for you").await;
    chrome.check("login-refused").await;
    // Tokens that the provider has not signed let nobody in; those with its next key do.
    for signed in [Signed::Another, Signed::Nobody] {
        identity.expect(Somebody {
            signed,
            ..Somebody::new("u-1", "zoe", "ops")
        });
        chrome.open("/login").await;
        chrome.click("Log in by the identity provider").await;
        chrome.shows("is not signed by the identity provider").await;
    }
    identity.change_key();
    identity.expect(Somebody::new("u-1", "zoe", "ops"));
    chrome.open("/login").await;
    chrome.click("Log in by the identity provider").await;
    chrome.shows("zoe (operator)").await;
    chrome.stop().await;
    control.stop().await;
}
