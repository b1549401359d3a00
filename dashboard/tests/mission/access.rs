//! Who gets in, and what every response carries.

use dashboard::Role;
use dashboard::operators::{self, Change};
use reqwest::{Method, StatusCode};

use crate::client::PASSWORD;
use crate::control::Control;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_open_without_a_login() {
    let control = Control::start().await;
    let mut browser = control.browser();
    let answer = browser.get("/").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/login");
    assert_eq!(browser.get("/nowhere").await.status(), StatusCode::NOT_FOUND);

    let answer = browser.get("/login").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let text = answer.text().await.unwrap();
    assert!(!text.contains("<script") && !text.contains("style="), "{text}");

    let style = browser.get("/assets/mission.css").await;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    let script = browser.get("/assets/mission.js").await;
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(browser.get("/live").await.status(), StatusCode::SEE_OTHER);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_a_new_token_and_ends_with_the_logout() {
    let control = Control::start().await;
    operators::add(&control.database.pool, "ada", Role::Admin, PASSWORD)
        .await
        .unwrap();
    let mut browser = control.browser();
    // Somebody put a token of their own into the browser.
    browser.cookie = Some("sagaline_session=0000".to_owned());
    let answer = browser.log_in("ada", PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let first = browser.cookie.clone().unwrap();
    assert_ne!(first, "sagaline_session=0000");
    let home = browser.page("/").await;
    assert!(home.contains("ada (admin)"), "{home}");

    browser.log_in("ada", PASSWORD).await;
    assert_ne!(browser.cookie.clone().unwrap(), first);
    let second = browser.cookie.clone();
    browser.cookie = Some(first);
    assert_eq!(
        browser.get("/").await.status(),
        StatusCode::SEE_OTHER,
        "the old token is over"
    );

    browser.cookie = second.clone();
    browser.post("/logout", &[]).await;
    browser.cookie = second;
    assert_eq!(browser.get("/").await.status(), StatusCode::SEE_OTHER);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_unused_and_after_a_shift() {
    let control = Control::start().await;
    let mut browser = control.logged_in("ada", Role::Viewer).await;
    browser.page("/").await;
    for age in [
        "seen_at = now() - interval '61 minutes'",
        "seen_at = now(), expires_at = now()",
    ] {
        let text = sqlx::AssertSqlSafe(format!("update ops.sessions set {age}"));
        sqlx::raw_sql(text).execute(&control.database.pool).await.unwrap();
        assert_eq!(browser.get("/").await.status(), StatusCode::SEE_OTHER, "{age}");
    }
    let mut browser = control.browser();
    browser.log_in("ada", PASSWORD).await;
    operators::change(&control.database.pool, "test", "ada", Change::Disabled(true))
        .await
        .unwrap();
    assert_eq!(browser.get("/").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.log_in("ada", PASSWORD).await.status(), StatusCode::UNAUTHORIZED);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_delay_the_next_one() {
    let control = Control::start().await;
    operators::add(&control.database.pool, "ada", Role::Viewer, PASSWORD)
        .await
        .unwrap();
    let mut browser = control.browser();
    for _ in 0..3 {
        assert_eq!(browser.log_in("ada", "wrong").await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        browser.log_in("ada", PASSWORD).await.status(),
        StatusCode::UNAUTHORIZED,
        "too soon"
    );
    sqlx::raw_sql("update ops.users set next_login_at = now()")
        .execute(&control.database.pool)
        .await
        .unwrap();
    assert_eq!(browser.log_in("ada", PASSWORD).await.status(), StatusCode::SEE_OTHER);
    let failures: i32 = sqlx::query_scalar("select failed_logins from ops.users")
        .fetch_one(&control.database.pool)
        .await
        .unwrap();
    assert_eq!(failures, 0);
    assert_eq!(browser.log_in("nobody", "x").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        browser.log_in("a\0b", "x").await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let page = browser
        .log_in("<img src=x onerror=alert(1)>", "x")
        .await
        .text()
        .await
        .unwrap();
    assert!(!page.contains("<img"), "{page}");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_sites_are_refused() {
    let control = Control::start().await;
    let browser = control.logged_in("ada", Role::Admin).await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = format!("{}/logout", browser.base);
    let post = || {
        client
            .request(Method::POST, &url)
            .header("cookie", browser.cookie.as_deref().unwrap())
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("x-nothing", "1"),
    ] {
        let answer = post().header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let answer = post().header("origin", &browser.base).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_link_lets_in_once() {
    let control = Control::start().await;
    let link = operators::one_time_link(&control.database.pool, "dev", Role::Admin)
        .await
        .unwrap();
    let token = link.split_once("token=").unwrap().1;
    let mut browser = control.browser();
    // Looking at it doesn't use it up.
    browser.page(&link).await;
    let answer = browser.post("/login/link", &[("token", token)]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(browser.page("/").await.contains("dev (admin)"));
    let again = control.browser().post("/login/link", &[("token", token)]).await;
    assert_eq!(again.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        control.browser().log_in("dev", "").await.status(),
        StatusCode::UNAUTHORIZED,
        "there is no password"
    );
    control.stop().await;
}
