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
