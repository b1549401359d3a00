//! The list of sagas, and what hostile texts do to it: nothing.

use dashboard::Role;
use reqwest::StatusCode;
use serde_json::json;

use crate::control::Control;

/// What people put where others will read it.
pub const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202e}evil\"'";

/// Nothing of it is markup.
pub fn harmless(page: &str) {
    let page = page.replacen("<script src=\"/assets/mission.js\" defer></script>", "", 1);
    for markup in ["<img", "<script", "onerror=alert(1)>", "style=\""] {
        assert!(!page.contains(markup), "{markup} in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_by_the_search() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    let waiting = control.saga("patient", json!({"about": "k1"})).await;
    let failed = control
        .saga("stubborn", json!({"about": HOSTILE, "card": "4242"}))
        .await;
    control.fail(failed, "work", HOSTILE, HOSTILE).await;

    let all = browser.page("/sagas").await;
    harmless(&all);
    assert!(
        all.contains(&waiting.to_string()) && all.contains(&failed.to_string()),
        "{all}"
    );
    for (search, which) in [
        ("status%3Afailed", failed),
        ("status%3Astuck+workflow%3Astubborn", failed),
        ("step%3Awork", failed),
        ("k1", waiting),
        ("workflow%3Apatient+started%3A%3C1h", waiting),
    ] {
        let page = browser.page(&format!("/sagas?q={search}")).await;
        let other = if which == failed { waiting } else { failed };
        assert!(page.contains(&which.to_string()), "{search}: {page}");
        assert!(!page.contains(&other.to_string()), "{search}: {page}");
    }
    let page = browser.page("/sagas?q=started%3A%3E1h").await;
    assert!(page.contains("No saga matches"), "{page}");
    let page = browser.page("/sagas?q=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E%3Ax").await;
    assert!(page.contains("is not a qualifier"), "{page}");
    harmless(&page);
    let answer = browser.get(&format!("/sagas?q={waiting}")).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], format!("/sagas/{waiting}"));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_the_last_one_ended() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    let mut ids = Vec::new();
    for n in 0..53 {
        ids.push(
            control
                .saga("patient", json!({"about": format!("k{n}")}))
                .await
                .to_string(),
        );
    }
    let first = browser.page("/sagas?q=workflow%3Apatient").await;
    let shown = ids.iter().filter(|id| first.contains(*id)).count();
    assert_eq!(shown, 50);
    let link = first.split("href=\"").find(|part| part.contains("after=")).unwrap();
    let link = link
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&")
        .replace("&#38;", "&");
    let second = browser.page(&link).await;
    for id in &ids {
        assert!(first.contains(id) != second.contains(id), "{id}");
    }
    assert!(!second.contains("rel=\"next\""));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_sorted_kept_and_exported() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let first = control.saga("patient", json!({"about": "=cmd|' /C calc'!A0"})).await;
    let second = control.saga("patient", json!({"about": HOSTILE})).await;
    let order = |page: &str| {
        (
            page.find(&first.to_string()).unwrap(),
            page.find(&second.to_string()).unwrap(),
        )
    };
    let newest = browser.page("/sagas?q=workflow%3Apatient").await;
    assert!(order(&newest).0 > order(&newest).1, "{newest}");
    let oldest = browser.page("/sagas?q=workflow%3Apatient+sort%3Aoldest").await;
    assert!(order(&oldest).0 < order(&oldest).1, "{oldest}");

    let csv = browser
        .get("/sagas/export?q=workflow%3Apatient+sort%3Aoldest&format=csv")
        .await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    assert!(
        csv.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let csv = csv.text().await.unwrap();
    assert!(csv.starts_with("id,workflow,version,status,businessKey,"), "{csv}");
    assert!(
        csv.contains(&format!("{first},patient,1,waiting,\"'=cmd|' /C calc'!A0\"")),
        "{csv}"
    );
    let json = browser.page("/sagas/export?q=workflow%3Apatient&format=json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["businessKey"], HOSTILE);
    assert_eq!(json[1]["id"], first.to_string());
    assert_eq!(browser.page("/sagas/export?q=nothing&format=json").await, "[\n]\n");
    for wrong in ["q=odd%3Ax&format=csv", "q=&format=exe", "q=a%00b&format=csv"] {
        let answer = browser.get(&format!("/sagas/export?{wrong}")).await;
        assert!(
            answer.status().is_client_error() || answer.text().await.is_err(),
            "{wrong}"
        );
    }

    let q = "workflow:patient sort:oldest";
    let save = [("word", "save"), ("name", HOSTILE), ("q", q)];
    assert_eq!(
        browser.post("/sagas/views", &save).await.status(),
        StatusCode::SEE_OTHER
    );
    let page = browser.page("/sagas?q=workflow%3Apatient+sort%3Aoldest").await;
    harmless(&page);
    assert!(
        page.contains("aria-current=\"true\"") && page.contains("onerror"),
        "{page}"
    );
    for (name, q) in [("", q), ("x", "odd:x")] {
        let form = [("word", "save"), ("name", name), ("q", q)];
        assert_eq!(
            browser.post("/sagas/views", &form).await.status(),
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    let mut viewer = control.logged_in("vera", Role::Viewer).await;
    assert_eq!(viewer.post("/sagas/views", &save).await.status(), StatusCode::FORBIDDEN);
    let forget = [("word", "delete"), ("name", HOSTILE), ("q", q)];
    assert_eq!(
        browser.post("/sagas/views", &forget).await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(!browser.page("/sagas").await.contains("class=\"views\""));
    assert!(browser.page("/audit").await.contains("save view"));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_over_its_pages() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    let new = |n: usize| orchestrator::NewSaga {
        workflow: "patient".to_owned(),
        input: json!({"about": format!("k{n}")}),
        ..orchestrator::NewSaga::default()
    };
    for started in control.engine.start_sagas((0..1_203).map(new).collect()).await {
        started.unwrap();
    }
    let csv = browser.page("/sagas/export?q=workflow%3Apatient&format=csv").await;
    let mut ids: Vec<&str> = csv.lines().skip(1).map(|line| &line[..36]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_203);
    control.stop().await;
}
