//! Coming in by an identity provider, and not coming in.

use std::time::Duration;

use dashboard::{Options, Role, SignOn, operators};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::client::{Browser, PASSWORD};
use crate::control::Control;
use crate::identity::{CLIENT, Identity, SECRET, Signed, Somebody};
use crate::sagas::{HOSTILE, harmless};

/// Where browsers reach mission control, as far as the provider knows.
const URL: &str = "https://ops.example";

const LIMIT: Duration = Duration::from_secs(30);

/// Makes a token about somebody wrong.
type Spoil = fn(&mut Somebody);

async fn house() -> (Control, Identity) {
    let identity = Identity::start("127.0.0.1").await;
    let options = options(identity.issuer());
    (Control::start_with(options).await, identity)
}

fn options(issuer: String) -> Options {
    Options {
        sign_on: Some(SignOn {
            issuer,
            client_id: CLIENT.to_owned(),
            client_secret: Some(SECRET.to_owned()),
            url: URL.to_owned(),
            claim: "realm.groups".to_owned(),
            roles: "ops=operator staff=viewer sre=admin".parse().unwrap(),
        }),
        ..Options::default()
    }
}

/// To the provider's page and through it; gives the path that it leads back to.
async fn through(browser: &mut Browser) -> String {
    let start = browser.get("/login/sign-on").await;
    assert_eq!(start.status(), StatusCode::SEE_OTHER);
    let cookie = start.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("; Path=/login/sign-on; HttpOnly; SameSite=Lax; Max-Age=600"),
        "{cookie}"
    );
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let door = start.headers()["location"].to_str().unwrap();
    let answer = client.get(door).send().await.unwrap();
    let back = answer.headers()["location"].to_str().unwrap();
    back.strip_prefix(URL).unwrap().to_owned()
}

async fn come(browser: &mut Browser) -> Response {
    let path = through(browser).await;
    browser.get(&path).await
}

/// It says so on the login's page, and nobody is logged in.
async fn refused(browser: &mut Browser, answer: Response, words: &str) {
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{words}");
    let cookies: Vec<&str> = answer
        .headers()
        .get_all("set-cookie")
        .into_iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(
        cookies.iter().all(|cookie| !cookie.contains("sagaline_session=")),
        "{cookies:?}"
    );
    let page = answer.text().await.unwrap();
    harmless(&page);
    assert!(
        page.contains(words) && page.contains("action=\"/login\""),
        "{words}: {page}"
    );
    assert_eq!(browser.get("/").await.status(), StatusCode::SEE_OTHER, "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_provider_knows_is_let_in_with_the_role_that_it_says() {
    let (control, identity) = house().await;
    let mut ada = control.browser();
    let page = ada.page("/login").await;
    assert!(page.contains("href=\"/login/sign-on\""), "{page}");
    identity.expect(Somebody::new("u-1", "Ada.L", "ops"));
    let path = through(&mut ada).await;
    let before = ada.cookie.clone();
    let answer = ada.get(&path).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookies = answer.headers().get_all("set-cookie").into_iter();
    let cookies: Vec<String> = cookies.map(|value| value.to_str().unwrap().to_owned()).collect();
    assert!(cookies[0].starts_with("sagaline_session=") && cookies[0].contains("SameSite=Strict"));
    assert!(cookies[1].starts_with("sagaline_sign_on=;") && cookies[1].contains("Max-Age=0"));
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("You are logged in as ada.l") && page.contains("url=/"),
        "{page}"
    );
    assert!(ada.page("/").await.contains("ada.l (operator)"));

    // The same answer again: its code is used up.
    let mut thief = control.browser();
    thief.cookie = before;
    let again = thief.get(&path).await;
    refused(&mut thief, again, "does not take this login any more").await;

    // There is no other way in for them.
    let pool = &control.database.pool;
    assert!(operators::set_password(pool, "test", "ada.l", PASSWORD).await.is_err());
    assert!(operators::invite_again(pool, "test", "ada.l").await.is_err());
    let new = [("new", PASSWORD)];
    let status = ada.post("/settings/password", &new).await.status();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let status = control.browser().log_in("ada.l", "").await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    // The most that the provider says counts, from the next login on; names are who they were.
    for (groups, role) in [
        (["staff", "ops"], "operator"),
        (["staff", "x"], "viewer"),
        (["ops", "sre"], "admin"),
    ] {
        let mut somebody = Somebody::new("u-1", "renamed", "");
        somebody.groups = groups.map(str::to_owned).to_vec();
        identity.expect(somebody);
        let mut browser = control.browser();
        assert_eq!(come(&mut browser).await.status(), StatusCode::OK);
        assert!(browser.page("/").await.contains(&format!("ada.l ({role})")), "{role}");
    }
    identity.expect(Somebody::new("u-2", HOSTILE, "staff"));
    let mut hostile = control.browser();
    let page = come(&mut hostile).await.text().await.unwrap();
    harmless(&page);
    assert!(
        page.contains("logged in as img-src-x-onerror-alert-1---evil--"),
        "{page}"
    );
    let trail: Vec<(String, String)> = sqlx::query_as("select operator, action from ops.audit order by id")
        .fetch_all(pool)
        .await
        .unwrap();
    let has = |operator: &str, action: &str| {
        trail
            .iter()
            .filter(|row| (row.0.as_str(), row.1.as_str()) == (operator, action))
            .count()
    };
    assert_eq!(has("(identity provider)", "add user"), 2, "{trail:?}");
    assert_eq!(has("(identity provider)", "change role"), 2, "{trail:?}");
    assert_eq!(has("ada.l", "login by identity provider"), 4, "{trail:?}");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_answer_lets_anybody_in() {
    let (control, identity) = house().await;
    let good = Somebody::new("u-1", "zoe", "ops");
    let wrong: [(&str, Spoil); 8] = [
        ("was made for another login", |who| who.nonce = Some("n".to_owned())),
        ("is meant for another program", |who| {
            who.audience = "another".to_owned()
        }),
        ("has expired", |who| who.expires = -1),
        ("comes from another identity provider", |who| {
            who.issuer = Some("https://evil.example".to_owned());
        }),
        ("is not signed by the identity provider", |who| {
            who.signed = Signed::Another
        }),
        ("is not signed by the identity provider", |who| {
            who.signed = Signed::Nobody
        }),
        ("no role here is meant for you", |who| {
            who.groups = vec!["OPS".to_owned()]
        }),
        ("no role here is meant for you", |who| who.groups = Vec::new()),
    ];
    for (words, spoil) in wrong {
        let mut somebody = good.clone();
        spoil(&mut somebody);
        identity.expect(somebody);
        let mut browser = control.browser();
        let answer = come(&mut browser).await;
        refused(&mut browser, answer, words).await;
    }
    identity.expect(good.clone());

    // Another browser's answer: its state isn't this one's.
    let mut browser = control.browser();
    let mut victim = control.browser();
    let foreign = through(&mut browser).await;
    through(&mut victim).await;
    let answer = victim.get(&foreign).await;
    refused(&mut victim, answer, "does not belong to this browser").await;
    let answer = victim.get(&foreign).await;
    refused(&mut victim, answer, "was not begun in this browser").await;
    for (query, words) in [
        ("", "does not belong to this browser"),
        (
            "?error=access_denied&error_description=<img+src=x>",
            "did not let you in",
        ),
    ] {
        through(&mut victim).await;
        let answer = victim.get(&format!("/login/sign-on/back{query}")).await;
        refused(&mut victim, answer, words).await;
    }
    let path = through(&mut victim).await;
    let answer = victim.get(&format!("{path}&iss=https://evil.example")).await;
    refused(&mut victim, answer, "comes from another identity provider").await;
    let users: Vec<String> = sqlx::query_scalar("select name from ops.users")
        .fetch_all(&control.database.pool)
        .await
        .unwrap();
    assert!(users.is_empty(), "{users:?}");

    // A name that is taken, whoever says that it is theirs; somebody who has been disabled; somebody who has lost their role.
    let mut ada = control.logged_in("ada", Role::Admin).await;
    identity.expect(Somebody::new("u-7", "ada", "sre"));
    let mut browser = control.browser();
    let answer = come(&mut browser).await;
    refused(&mut browser, answer, "Your name is another user&#39;s here").await;
    identity.expect(good.clone());
    let mut zoe = control.browser();
    assert_eq!(come(&mut zoe).await.status(), StatusCode::OK);
    assert!(zoe.page("/").await.contains("zoe (operator)"));
    let made = "insert into ops.api_tokens (user_id, name, role, token_hash, expires_at)
                select id, 'script', 'operator', sha256('script'), now() + interval '1 day' from ops.users where name = 'zoe'";
    sqlx::query(made).execute(&control.database.pool).await.unwrap();
    identity.expect(Somebody::new("u-1", "zoe", "nothing"));
    let mut browser = control.browser();
    let answer = come(&mut browser).await;
    refused(&mut browser, answer, "no role here is meant for you").await;
    assert_eq!(
        zoe.get("/").await.status(),
        StatusCode::SEE_OTHER,
        "it has ended everywhere"
    );
    let left: (String, i64) = sqlx::query_as(
        "select u.role, count(t.id) filter (where t.revoked_at is null) from ops.users u
         join ops.api_tokens t on t.user_id = u.id where u.name = 'zoe' group by u.role",
    )
    .fetch_one(&control.database.pool)
    .await
    .unwrap();
    assert_eq!(
        left,
        ("viewer".to_owned(), 0),
        "their tokens too, and they count as nobody"
    );
    identity.expect(good);
    let disable = [("name", "zoe"), ("word", "disable")];
    ada.post("/settings/users/change", &disable).await;
    let mut browser = control.browser();
    let answer = come(&mut browser).await;
    refused(&mut browser, answer, "You are let in no more").await;
    let trail = ada.page("/audit/export?format=json&action=failed+login").await;
    let trail: Value = serde_json::from_str(&trail).unwrap();
    assert_eq!(trail[0]["operator"], json!("zoe"), "{trail}");
    assert!(!trail.to_string().contains("secret access"));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_may_change_its_keys() {
    let (control, identity) = house().await;
    let mut somebody = Somebody::new("u-1", "zoe", "ops");
    identity.expect(somebody.clone());
    assert_eq!(come(&mut control.browser()).await.status(), StatusCode::OK);
    identity.change_key();
    // The old key's signature is believed until the provider is asked again; the new one's is a reason to ask, though not at once.
    somebody.signed = Signed::Another;
    identity.expect(somebody);
    testkit::eventually("the new key is known", LIMIT, async || {
        come(&mut control.browser()).await.status() == StatusCode::OK
    })
    .await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_or_its_answer_there_are_passwords() {
    let control = Control::start().await;
    let mut browser = control.logged_in("ada", Role::Admin).await;
    assert!(!browser.page("/login").await.contains("/login/sign-on"));
    for path in ["/login/sign-on", "/login/sign-on/back?code=x&state=y"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    control.stop().await;

    // A port where nobody listens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let control = Control::start_with(options(nobody)).await;
    let mut browser = control.logged_in("ada", Role::Admin).await;
    assert!(browser.page("/").await.contains("ada (admin)"));
    let answer = control.browser().get("/login/sign-on").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("does not answer as it should") && page.contains("action=\"/login\""),
        "{page}"
    );
    control.stop().await;
}
