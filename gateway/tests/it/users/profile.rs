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

/// A request of whoever has these tokens.
async fn ask(shop: &Shop, method: Method, path: &str, tokens: &Value, body: &Value) -> Answer {
    let request = shop.request(method, path).bearer_auth(access(tokens));
    Answer::of(request.header("accept-language", "de-AT, en;q=0.5").json(body)).await
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it_and_all_others_are_logged_out() {
    let shop = open().await;
    let here = somebody(&shop, EMAIL).await;
    let elsewhere = log_in(&shop, EMAIL, PASSWORD).await.json();
    let reset = link(&shop.pool, "password_reset", HOUR).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"currentPassword": current, "newPassword": new});
        ask(&shop, Method::PUT, "/users/me/password", &here, &body).await
    };
    assert_eq!(
        change("not the password", "another password").await.invalid(),
        ["/currentPassword"]
    );
    assert_eq!(change(PASSWORD, "short").await.invalid(), ["/newPassword"]);
    let nothing = ask(&shop, Method::PUT, "/users/me/password", &here, &json!({"password": 1})).await;
    assert_eq!(nothing.invalid(), ["/currentPassword", "/newPassword", "/password"]);
    let nobody = shop.request(Method::PUT, "/users/me/password").json(&json!({}));
    Answer::of(nobody).await.problem(401, "no-token");
    log_in(&shop, EMAIL, PASSWORD).await;

    // Both at once, by the same present password: one of them is right.
    let both = tokio::join!(
        change(PASSWORD, "another password"),
        change(PASSWORD, "a third password")
    );
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    let new = if statuses[0] == 204 {
        "another password"
    } else {
        "a third password"
    };
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 422]);
    let me = async |tokens: &Value| as_user(&shop, Method::GET, "/users/me", access(tokens)).await;
    assert_eq!(me(&here).await.status, 200, "this session goes on");
    me(&elsewhere).await.problem(401, "no-token");
    refresh(&shop, &elsewhere["refreshToken"])
        .await
        .problem(401, "no-token");
    assert_eq!(refresh(&shop, &here["refreshToken"]).await.status, 200);
    log_in(&shop, EMAIL, PASSWORD).await.problem(401, "wrong-credentials");
    assert_eq!(log_in(&shop, EMAIL, new).await.status, 201);
    send(
        &shop,
        &format!("/password-resets/{reset}"),
        &json!({"password": "a fourth password"}),
    )
    .await
    .problem(404, "not-found");

    let told = told(&shop, 8).await;
    let of = |kind: &str| told.iter().filter(|input| input["kind"] == kind).collect::<Vec<_>>();
    let changed = of("password_changed");
    assert_eq!(
        (changed.len(), &changed[0]["email"], &changed[0]["language"]),
        (1, &json!(EMAIL), &json!("de"))
    );
    assert!(
        of("logout").iter().all(|input| input["reason"] == "password_changed"),
        "{told:?}"
    );
    assert_eq!(of("logout").len(), 2);
    assert!(
        !told.iter().any(|input| input.to_string().contains("password\"")),
        "{told:?}"
    );
}

#[tokio::test]
async fn guessing_the_present_password_ends_soon() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let body = json!({"email": "new@example.org", "password": "not the password"});
    // One attempt was the login.
    for _ in 0..9 {
        let wrong = ask(&shop, Method::POST, "/users/me/email-changes", &tokens, &body).await;
        assert_eq!(wrong.invalid(), ["/password"]);
    }
    let refused = ask(&shop, Method::POST, "/users/me/email-changes", &tokens, &body).await;
    refused.problem(429, "too-many-attempts");
}

/// Puts a link to another address there, as the mail's activity does.
async fn email_link(pool: &PgPool, account_email: &str, email: &str, life_s: f64) -> String {
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    sqlx::query(
        "insert into ticketing.account_links (token_hash, account_id, purpose, expires_at, email)
         select $1, id, 'email_change', now() + make_interval(secs => $2), $3 from ticketing.accounts where email = $4",
    )
    .bind(Sha256::digest(&token).to_vec())
    .bind(life_s)
    .bind(email)
    .bind(account_email)
    .execute(pool)
    .await
    .unwrap();
    token
}

#[tokio::test]
async fn an_address_is_changed_by_a_link_that_was_sent_there_and_the_old_one_is_told() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    somebody(&shop, "eve@example.com").await;
    let wish = |email: &str, password: &str| json!({"email": email, "password": password});
    let wanted = async |email: &str, password: &str| {
        ask(
            &shop,
            Method::POST,
            "/users/me/email-changes",
            &tokens,
            &wish(email, password),
        )
        .await
    };
    assert_eq!(wanted("ada", PASSWORD).await.invalid(), ["/email"]);
    assert_eq!(
        wanted("new@example.org", "not the password").await.invalid(),
        ["/password"]
    );
    let taken = wanted("EVE@example.com", PASSWORD).await.problem(409, "conflict");
    assert_eq!(taken["errors"][0]["pointer"], "/email");
    let asked = wanted("New@Example.org", PASSWORD).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let me = async || as_user(&shop, Method::GET, "/users/me", access(&tokens)).await.json();
    assert_eq!(me().await["email"], EMAIL, "nothing has changed yet");
    let mut told_so_far = told(&shop, 5).await.into_iter();
    let asked = told_so_far.find(|input| input["kind"] == "email_change").unwrap();
    assert_eq!(
        (&asked["kind"], &asked["email"], &asked["language"]),
        (&json!("email_change"), &json!("New@Example.org"), &json!("de"))
    );

    let use_link = async |token: &str| send(&shop, "/email-changes", &json!({"token": token})).await;
    let late = email_link(&shop.pool, EMAIL, "new@example.org", -HOUR).await;
    let reset = link(&shop.pool, "password_reset", HOUR).await;
    for bad in [&late, &reset, "", "x", &"x".repeat(43)] {
        assert_eq!(use_link(bad).await.invalid(), ["/token"], "{bad}");
    }
    let good = email_link(&shop.pool, EMAIL, "New@Example.org", HOUR).await;
    let other = email_link(&shop.pool, EMAIL, "other@example.org", HOUR).await;
    let taken = email_link(&shop.pool, EMAIL, "Eve@example.com", HOUR).await;
    use_link(&taken).await.problem(409, "conflict");
    let page = shop.get(&format!("/email-changes?token={good}")).await;
    assert!(page.status == 200 && page.text.contains(&good), "{}", page.text);
    assert_eq!(shop.get("/email-changes?token=%22%3E%3Cscript%3E").await.status, 422);
    // Both at once: one is used, and the other with it.
    let both = tokio::join!(use_link(&good), use_link(&other));
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    let new = if statuses[0] == 204 {
        "New@Example.org"
    } else {
        "other@example.org"
    };
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 422]);
    let now = me().await;
    assert_eq!((&now["email"], &now["emailConfirmed"]), (&json!(new), &json!(true)));
    log_in(&shop, EMAIL, PASSWORD).await.problem(401, "wrong-credentials");
    assert_eq!(log_in(&shop, &new.to_uppercase(), PASSWORD).await.status, 201);
    // What was sent to the old address is good no more, and it is told.
    send(
        &shop,
        &format!("/password-resets/{reset}"),
        &json!({"password": "a fourth password"}),
    )
    .await
    .problem(404, "not-found");
    let told = told(&shop, 7).await;
    let changed: Vec<&Value> = told.iter().filter(|input| input["kind"] == "email_changed").collect();
    assert_eq!((changed.len(), &changed[0]["email"]), (1, &json!(EMAIL)));
    let schema = workflows::tickets::account::definition().input_schema;
    let kinds = schema["properties"]["kind"]["enum"].as_array().unwrap();
    assert!(told.iter().all(|input| kinds.contains(&input["kind"])), "{told:?}");
}
