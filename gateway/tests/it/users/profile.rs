//! Profiles, and links that confirm an address or replace a password.

use super::*;

#[tokio::test]
async fn a_profile_is_changed_where_it_may_be() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let patch = async |body: Value| {
        let request = shop
            .request(Method::PATCH, "/users/me")
            .bearer_auth(access(&tokens))
            .json(&body);
        Answer::of(request).await
    };
    assert_eq!(
        patch(json!({"name": "Augusta <b>Ada</b>"})).await.json()["name"],
        "Augusta <b>Ada</b>"
    );
    let changed = patch(json!({"phone": null})).await.json();
    assert_eq!(
        (changed.get("phone"), &changed["name"]),
        (None, &json!("Augusta <b>Ada</b>"))
    );
    assert_eq!(
        patch(json!({"phone": "+4930 1234567"})).await.json()["phone"],
        "+49301234567"
    );
    assert_eq!(patch(json!({})).await.status, 200);
    for (body, pointer) in [
        (json!({"name": null}), "/name"),
        (json!({"name": "  "}), "/name"),
        (json!({"phone": "x"}), "/phone"),
        (json!({"email": "other@example.com"}), "/email"),
        (json!({"emailConfirmed": true}), "/emailConfirmed"),
        (json!({"userId": "usr_1"}), "/userId"),
        (json!({"password": "a new password"}), "/password"),
    ] {
        assert_eq!(patch(body.clone()).await.invalid(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn an_address_is_confirmed_by_a_link_once() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let asked = as_user(&shop, Method::POST, "/users/me/confirmations", access(&tokens)).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let told = told(&shop, 3).await;
    assert_eq!(told[2]["kind"], "confirmation");

    let confirm = async |token: &str| send(&shop, "/confirmations", &json!({"token": token})).await;
    let late = link(&shop.pool, "confirmation", -HOUR).await;
    let other = link(&shop.pool, "password_reset", HOUR).await;
    for bad in [&late, &other, "", "x", "a\u{0}", &"x".repeat(43)] {
        assert_eq!(confirm(bad).await.invalid(), ["/token"], "{bad}");
    }
    let good = link(&shop.pool, "confirmation", HOUR).await;
    // Mail programs look at links by themselves: that uses nothing up.
    let page = shop.get(&format!("/confirmations?token={good}")).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.text.contains(&good) && page.text.contains("<button>"));
    assert_eq!(shop.get("/confirmations?token=%22%3E%3Cscript%3E").await.status, 422);
    let form = shop.request(Method::POST, "/confirmations").form(&[("token", &good)]);
    let done = Answer::of(form).await;
    assert_eq!(
        (done.status.as_u16(), done.text.contains("is confirmed")),
        (200, true),
        "{}",
        done.text
    );
    assert_eq!(confirm(&good).await.invalid(), ["/token"]);
    let me = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    assert_eq!(me.json()["emailConfirmed"], true);
    as_user(&shop, Method::POST, "/users/me/confirmations", access(&tokens))
        .await
        .problem(409, "refused");
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_and_everybody_is_logged_out() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let reset = async |token: &str, password: &str| {
        send(
            &shop,
            &format!("/password-resets/{token}"),
            &json!({"password": password}),
        )
        .await
    };
    let late = link(&shop.pool, "password_reset", -HOUR).await;
    let other = link(&shop.pool, "confirmation", HOUR).await;
    for bad in [&late, &other, "x", "%00", &"x".repeat(43)] {
        reset(bad, "another password").await.problem(404, "not-found");
    }
    let (one, two) = (
        link(&shop.pool, "password_reset", HOUR).await,
        link(&shop.pool, "password_reset", HOUR).await,
    );
    assert_eq!(reset(&one, "short").await.invalid(), ["/password"]);
    let page = shop.get(&format!("/password-resets/{one}")).await;
    assert!(
        page.status == 200 && page.text.contains("type=\"password\""),
        "{}",
        page.text
    );
    // Both at once: one is used, and the other with it.
    let both = tokio::join!(reset(&one, "another password"), reset(&two, "another password"));
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    reset(&one, "a third password").await.problem(404, "not-found");
    reset(&two, "a third password").await.problem(404, "not-found");

    as_user(&shop, Method::GET, "/users/me", access(&tokens))
        .await
        .problem(401, "no-token");
    refresh(&shop, &tokens["refreshToken"]).await.problem(401, "no-token");
    log_in(&shop, EMAIL, PASSWORD).await.problem(401, "wrong-credentials");
    let tokens = log_in(&shop, EMAIL, "another password").await.json();
    let me = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    assert_eq!(
        me.json()["emailConfirmed"],
        true,
        "whoever reads the mail has the address"
    );
    let told = told(&shop, 4).await;
    let logout = told.iter().find(|input| input["kind"] == "logout").unwrap();
    assert_eq!(logout["reason"], "password_reset");
}
