//! Sessions: refreshing, listing, ending.

use super::*;

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let shop = open().await;
    let first = somebody(&shop, EMAIL).await;
    let other = log_in(&shop, EMAIL, PASSWORD).await.json();
    let second = refresh(&shop, &first["refreshToken"]).await;
    assert_eq!(second.status, 200, "{}", second.text);
    let second = second.json();
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    assert_eq!(second["sessionId"], first["sessionId"]);
    let third = refresh(&shop, &second["refreshToken"]).await.json();
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&third)).await.status,
        200
    );

    // Somebody has copied the first one.
    refresh(&shop, &first["refreshToken"]).await.problem(401, "no-token");
    refresh(&shop, &third["refreshToken"]).await.problem(401, "no-token");
    for tokens in [&first, &second, &third] {
        as_user(&shop, Method::GET, "/users/me", access(tokens))
            .await
            .problem(401, "no-token");
    }
    // The other session goes on.
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&other)).await.status,
        200
    );
    assert_eq!(refresh(&shop, &other["refreshToken"]).await.status, 200);
    let told = told(&shop, 4).await;
    let logout = told.iter().find(|input| input["kind"] == "logout").unwrap();
    assert_eq!(
        (&logout["sessionId"], &logout["reason"]),
        (&first["sessionId"], &json!("reused_token"))
    );
}

#[tokio::test]
async fn what_only_looks_like_a_refresh_token_ends_nothing() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let good = tokens["refreshToken"].as_str().unwrap();
    let (family, current) = good.split_once('.').unwrap();
    let foreign = URL_SAFE_NO_PAD.encode([7; 32]);
    for bad in [
        json!(""),
        json!("."),
        json!(family),
        json!(format!("{foreign}.{current}")),
        json!(format!("{family}.{current}.x")),
        json!(format!("{family}.{}", "x".repeat(10_000))),
        json!(access(&tokens)),
        json!("a\u{0}b"),
    ] {
        refresh(&shop, &bad).await.problem(401, "no-token");
    }
    for bad in [json!(null), json!(7), json!({})] {
        assert_eq!(refresh(&shop, &bad).await.invalid(), ["/refreshToken"]);
    }
    assert_eq!(refresh(&shop, &tokens["refreshToken"]).await.status, 200);
}

#[tokio::test]
async fn of_two_who_refresh_at_once_one_is_a_thief() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let token = &tokens["refreshToken"];
    let (one, two) = tokio::join!(refresh(&shop, token), refresh(&shop, token));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let got = if one.status == 200 { one } else { two };
    refresh(&shop, &got.json()["refreshToken"])
        .await
        .problem(401, "no-token");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    sqlx::raw_sql("update ticketing.sessions set expires_at = now()")
        .execute(&shop.pool)
        .await
        .unwrap();
    as_user(&shop, Method::GET, "/users/me", access(&tokens))
        .await
        .problem(401, "no-token");
    refresh(&shop, &tokens["refreshToken"]).await.problem(401, "no-token");
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_by_their_owner_alone() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    let phone =
        post(&shop, "/sessions", &json!({"email": EMAIL, "password": PASSWORD})).header("user-agent", "Phone/1");
    let phone = Answer::of(phone).await.json();
    let bob = somebody(&shop, "bob@example.com").await;
    let listed = as_user(&shop, Method::GET, "/sessions", access(&ada)).await.json();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    assert_eq!(
        (&sessions[0]["sessionId"], &sessions[0]["userAgent"]),
        (&phone["sessionId"], &json!("Phone/1"))
    );
    assert_eq!(
        (&sessions[0]["current"], &sessions[1]["current"]),
        (&json!(false), &json!(true))
    );
    assert!(!listed.to_string().contains("hash"), "{listed}");

    let path = format!("/sessions/{}", phone["sessionId"].as_str().unwrap());
    as_user(&shop, Method::DELETE, &path, access(&bob))
        .await
        .problem(404, "not-found");
    assert_eq!(as_user(&shop, Method::DELETE, &path, access(&ada)).await.status, 204);
    as_user(&shop, Method::DELETE, &path, access(&ada))
        .await
        .problem(404, "not-found");
    as_user(&shop, Method::GET, "/users/me", access(&phone))
        .await
        .problem(401, "no-token");
    for id in ["nonsense", "%00", "'", &Uuid::nil().to_string()] {
        let path = format!("/sessions/{id}");
        as_user(&shop, Method::DELETE, &path, access(&ada))
            .await
            .problem(404, "not-found");
    }
    assert_eq!(
        as_user(&shop, Method::GET, "/sessions", access(&bob)).await.json()["sessions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_account_has_only_so_many_sessions() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    sqlx::raw_sql(
        "insert into ticketing.sessions (id, account_id, family_hash, token_hash, refreshed_at, expires_at)
         select gen_random_uuid(), a.id, sha256(n::text::bytea), sha256('x'), now() - interval '1 hour', now() + interval '1 day'
         from ticketing.accounts a, generate_series(1, 60) n",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    assert_eq!(log_in(&shop, EMAIL, PASSWORD).await.status, 201);
    let count: i64 = sqlx::query_scalar("select count(*) from ticketing.sessions")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(count, 50);
    // Those that nobody uses have made room.
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&tokens)).await.status,
        200
    );
}
