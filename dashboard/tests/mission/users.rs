//! Users on the settings page: made, changed, and let in no more.

use dashboard::Role;
use dashboard::operators::{self, Change};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::Program;
use crate::client::PASSWORD;
use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

/// The path of the link that a page shows.
fn link(page: &str) -> String {
    let (_, rest) = page.split_once("/login/link?token=").expect("a link is shown");
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_users_who_come_by_a_link_and_set_a_password() {
    let control = Control::start().await;
    let mut ada = control.logged_in("ada", Role::Admin).await;
    let made = ada
        .post("/settings/users", &[("name", "olga"), ("role", "operator")])
        .await;
    assert_eq!(made.status(), StatusCode::OK);
    let page = made.text().await.unwrap();
    harmless(&page);
    let token = link(&page);
    assert!(!ada.page("/settings").await.contains(&token), "it is shown once");
    let mut olga = control.browser();
    assert_eq!(
        olga.post("/login/link", &[("token", &token)]).await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(olga.page("/").await.contains("olga (operator)"));
    let short = [("new", "short")];
    assert_eq!(
        olga.post("/settings/password", &short).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let new = "another horse and battery";
    assert_eq!(
        olga.post("/settings/password", &[("new", new)]).await.status(),
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        olga.get("/").await.status(),
        StatusCode::SEE_OTHER,
        "her sessions have ended"
    );
    assert_eq!(olga.log_in("olga", new).await.status(), StatusCode::SEE_OTHER);
    // Now there is one, it has to be known.
    let wrong = [("current", "wrong"), ("new", PASSWORD)];
    assert_eq!(
        olga.post("/settings/password", &wrong).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let right = [("current", new), ("new", PASSWORD)];
    assert_eq!(
        olga.post("/settings/password", &right).await.status(),
        StatusCode::SEE_OTHER
    );

    for (name, role) in [
        ("olga", "viewer"),
        (HOSTILE, "viewer"),
        ("vera", "queen"),
        ("", "viewer"),
    ] {
        let answer = ada.post("/settings/users", &[("name", name), ("role", role)]).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{name} {role}");
        harmless(&answer.text().await.unwrap());
    }
    let again = ada
        .post("/settings/users/change", &[("name", "olga"), ("word", "link")])
        .await;
    let token = link(&again.text().await.unwrap());
    assert_eq!(
        control
            .browser()
            .post("/login/link", &[("token", &token)])
            .await
            .status(),
        StatusCode::SEE_OTHER
    );
    let trail = ada.page("/audit?who=ada").await;
    for action in ["add user", "make login link"] {
        assert!(trail.contains(&format!("<td>{action}</td>")), "{action}: {trail}");
    }
    assert!(!trail.contains(&token), "no secret is in the trail");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_change_users_and_one_admin_stays() {
    let control = Control::start().await;
    let pool = &control.database.pool;
    let mut ada = control.logged_in("ada", Role::Admin).await;
    for role in [Role::Viewer, Role::Operator, Role::Approver] {
        let mut other = control.logged_in(role.as_str(), role).await;
        let change = [("name", role.as_str()), ("word", "role"), ("role", "admin")];
        let answer = other.post("/settings/users/change", &change).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{role}");
        let add = [("name", "x"), ("role", "admin")];
        assert_eq!(
            other.post("/settings/users", &add).await.status(),
            StatusCode::FORBIDDEN,
            "{role}"
        );
        assert!(!other.page("/settings").await.contains("/settings/users"), "{role}");
    }
    let demote = [("name", "ada"), ("word", "role"), ("role", "viewer")];
    let disable = [("name", "ada"), ("word", "disable")];
    for form in [&demote[..], &disable[..]] {
        let answer = ada.post("/settings/users/change", form).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text().await.unwrap().contains("the last admin"));
    }
    for form in [
        [("name", "nobody"), ("word", "disable")],
        [("name", "ada"), ("word", "explode")],
    ] {
        let answer = ada.post("/settings/users/change", &form).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{form:?}");
    }
    // Two admins who remove each other at the same moment: one of them stays.
    for round in 0..5 {
        operators::change(pool, "test", "viewer", Change::Role(Role::Admin))
            .await
            .unwrap();
        let (one, other) = tokio::join!(
            operators::change(pool, "test", "ada", Change::Role(Role::Viewer)),
            operators::change(pool, "test", "viewer", Change::Disabled(true)),
        );
        assert!(one.is_ok() != other.is_ok(), "round {round}: {one:?} {other:?}");
        if one.is_ok() {
            operators::change(pool, "test", "ada", Change::Role(Role::Admin))
                .await
                .unwrap();
        } else {
            operators::change(pool, "test", "viewer", Change::Disabled(false))
                .await
                .unwrap();
        }
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_is_out_at_once_with_sessions_tokens_and_links() {
    let control = Control::start().await;
    let mut ada = control.logged_in("ada", Role::Admin).await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let program = Program::new(&control, "vera", Role::Viewer).await;
    let unused = operators::invite_again(&control.database.pool, "test", "olga")
        .await
        .unwrap();
    olga.page("/").await;
    // A role counts from the next request on.
    ada.post(
        "/settings/users/change",
        &[("name", "olga"), ("word", "role"), ("role", "viewer")],
    )
    .await;
    assert!(olga.page("/").await.contains("olga (viewer)"));
    for name in ["olga", "vera"] {
        let done = ada
            .post("/settings/users/change", &[("name", name), ("word", "disable")])
            .await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER);
    }
    assert_eq!(olga.get("/").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(olga.log_in("olga", PASSWORD).await.status(), StatusCode::UNAUTHORIZED);
    let answer = program.send(reqwest::Method::GET, "/sagas", None, None).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let page = ada.page("/settings").await;
    assert!(page.contains("✕ disabled") && page.contains("Let in again"), "{page}");
    ada.post("/settings/users/change", &[("name", "olga"), ("word", "enable")])
        .await;
    assert_eq!(
        olga.get("/").await.status(),
        StatusCode::SEE_OTHER,
        "an old session stays over"
    );
    let token = unused.split_once("token=").unwrap().1;
    let answer = olga.post("/login/link", &[("token", token)]).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "an old link too");
    assert_eq!(olga.log_in("olga", PASSWORD).await.status(), StatusCode::SEE_OTHER);
    let export = ada.page("/audit/export?format=json&action=disable+user").await;
    let rows: serde_json::Value = serde_json::from_str(&export).unwrap();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["details"]["user"] == "olga");
    let row = row.unwrap();
    assert_eq!(row["before"], json!({"role": "viewer", "disabled": false}));
    assert_eq!(row["after"], json!({"role": "viewer", "disabled": true}));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_and_changed_by_the_api_by_admins_only() {
    let control = Control::start().await;
    let ada = Program::new(&control, "ada", Role::Admin).await;
    for role in [Role::Viewer, Role::Operator, Role::Approver] {
        let other = Program::new(&control, role.as_str(), role).await;
        let answer = other.send(reqwest::Method::GET, "/users", None, None).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{role}");
        for (path, body) in [
            ("/users", json!({"name": "x", "role": "admin"})),
            ("/users/ada", json!({"disabled": true})),
            ("/users/ada/link", json!({})),
        ] {
            assert_eq!(other.post(path, body).await.0, StatusCode::FORBIDDEN, "{role} {path}");
        }
    }
    let (status, made) = ada.post("/users", json!({"name": "olga", "role": "operator"})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let mut olga = control.browser();
    let token = link(made["link"].as_str().unwrap());
    let came = olga.post("/login/link", &[("token", &token)]).await;
    assert_eq!(came.status(), StatusCode::SEE_OTHER);
    assert!(olga.page("/").await.contains("olga (operator)"));
    let (status, again) = ada.post("/users/olga/link", json!({})).await;
    assert!(
        status == StatusCode::CREATED && again["link"] != made["link"],
        "{again}"
    );

    for (path, body) in [
        ("/users", json!({"name": "olga", "role": "viewer"})),
        ("/users", json!({"name": HOSTILE, "role": "viewer"})),
        ("/users", json!({"name": "zoe", "role": "queen"})),
        ("/users/olga", json!({})),
        ("/users/olga", json!({"role": "viewer", "disabled": true})),
        ("/users/nobody", json!({"disabled": true})),
        ("/users/nobody/link", json!({})),
        ("/users/ada", json!({"disabled": true})),
        ("/users/ada", json!({"role": "viewer"})),
    ] {
        let (status, problem) = ada.post(path, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {body}: {problem}");
    }
    let (status, now) = ada.post("/users/olga", json!({"role": "approver"})).await;
    assert_eq!((status, &now["role"]), (StatusCode::OK, &json!("approver")));
    assert!(olga.page("/").await.contains("olga (approver)"));
    let (status, now) = ada.post("/users/olga", json!({"disabled": true})).await;
    assert_eq!((status, &now["disabled"]), (StatusCode::OK, &json!(true)));
    assert_eq!(olga.get("/").await.status(), StatusCode::SEE_OTHER, "she is out");
    ada.post("/users/olga", json!({"disabled": false})).await;
    let users = ada.get("/users").await;
    let known = users["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["name"] == "olga");
    assert_eq!(known.unwrap()["disabled"], false, "{users}");
    let trail = ada.get("/audit?who=ada").await;
    let actions: Vec<&Value> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["action"])
        .collect();
    assert_eq!(
        actions,
        [
            "enable user",
            "disable user",
            "change role",
            "make login link",
            "add user"
        ]
    );
    assert!(!trail.to_string().contains(&token), "no secret is in the trail");
    control.stop().await;
}
