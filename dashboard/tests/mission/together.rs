//! A deed and its row of the trail are one transaction: where the one can't be written, the other isn't either.

use dashboard::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::Program;
use crate::control::Control;
use crate::openapi::create_schedule;

/// A group's name, as fingerprints are; nobody asks whether it is there.
const GROUP: &str = "00112233445566ff";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_that_the_trail_does_not_take() {
    let control = Control::start().await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let mut browser = control.logged_in("otto", Role::Operator).await;
    create_schedule(&control).await;
    let view = |word, q| [("word", word), ("name", "mine"), ("q", q)];
    browser.post("/sagas/views", &view("save", "status:stuck")).await;

    let pool = &control.database.pool;
    let run = async |text: &'static str| sqlx::query(text).execute(pool).await.unwrap();
    run("alter table ops.audit add constraint full_up check (false) not valid").await;
    let range = json!({"reason": "x", "from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"});
    for (path, body) in [
        ("/schedules/nightly/pause", json!({"reason": "x"})),
        ("/schedules/nightly/run", json!({"reason": "x"})),
        ("/schedules/nightly/backfill", range.clone()),
        ("/queues/nobody", json!({"paused": true, "reason": "x"})),
    ] {
        let (status, answer) = olga.post(path, body).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {answer}");
    }
    let group = format!("/stuck/{GROUP}");
    for (path, form) in [
        ("/sagas/views", &view("save", "status:failed")[..]),
        ("/sagas/views", &view("delete", "")[..]),
        (&group, &[("word", "take")][..]),
    ] {
        let status = browser.post(path, form).await.status();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path} {form:?}");
    }
    assert_eq!(olga.get("/schedules/nightly").await["paused"], false);
    assert_eq!(olga.get("/schedules/nightly/firings").await["items"], json!([]));
    assert_eq!(olga.get("/queues").await["items"][0]["paused"], false);
    let kept: Vec<String> = sqlx::query_scalar("select search from ops.views")
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(kept, ["status:stuck"]);
    let said: i64 = sqlx::query_scalar("select count(*) from ops.stuck_groups")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(said, 0);

    run("alter table ops.audit drop constraint full_up").await;
    let (_, answer) = olga.post("/schedules/nightly/backfill", range).await;
    assert_eq!(answer["outcome"], "done: 4 firings");
    let (status, _) = olga
        .post(
            "/schedules/nightly/backfill",
            json!({"reason": "x", "from": "2026-01-05T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    olga.post("/queues/nobody", json!({"paused": true, "reason": "x"}))
        .await;
    browser.post("/sagas/views", &view("save", "status:failed")).await;
    browser.post("/sagas/views", &view("delete", "")).await;
    browser.post("/sagas/views", &view("delete", "")).await;
    browser.post(&group, &[("word", "take")]).await;
    browser.post(&group, &[("word", "resolve")]).await;
    let trail = olga.get("/audit?limit=8").await;
    let rows: Vec<[&Value; 4]> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ["action", "before", "after", "outcome"].map(|name| &row[name]))
        .collect();
    let (none, done) = (Value::Null, json!("done"));
    let taken = json!({"state": "acknowledged", "owner": "otto"});
    let resolved = json!({"state": "resolved", "owner": "otto"});
    let (open, paused) = (
        json!({"paused": false, "rate": null}),
        json!({"paused": true, "rate": null}),
    );
    assert_eq!(rows[0], [&json!("stuck group"), &taken, &resolved, &done]);
    assert_eq!(rows[1], [&json!("stuck group"), &none, &taken, &done]);
    // What was there no more was not deleted again.
    assert_eq!(rows[2], [&json!("delete view"), &json!("status:failed"), &none, &done]);
    assert_eq!(
        rows[3],
        [
            &json!("save view"),
            &json!("status:stuck"),
            &json!("status:failed"),
            &done
        ]
    );
    assert_eq!(rows[4], [&json!("pause queue"), &open, &paused, &done]);
    assert_eq!(rows[5][0], "schedule backfill");
    assert!(rows[5][3].as_str().unwrap().starts_with("refused: "), "{trail}");
    assert_eq!(rows[6][3], "done: 4 firings");
    control.stop().await;
}
