//! Venues and their seats.

use super::*;

#[tokio::test]
async fn wrong_seats_are_named_and_change_nothing() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let venue = ada.venue(HALL).await;
    let put = async |csv: &str| ada.put_csv(&venue, csv.to_owned()).await;
    assert_eq!(put("section,row,number\nA,1,1\nA,1,1\n").await.invalid(), ["line 3"]);
    assert_eq!(put("section,seat\n").await.invalid(), ["line 1", "line 1", "line 1"]);
    assert_eq!(put("section,row,number\nA,1\n").await.invalid(), ["line 2"]);
    assert_eq!(
        put("section,row,number\nA\u{0},1,1\n").await.invalid(),
        ["line 2, section"]
    );
    // A million rows: said at the row where it is too much.
    let rows: String = (1..=1_000_000)
        .map(|n| format!("S,{},{}\n", n / 1_000, n % 1_000 + 1))
        .collect();
    let million = put(&format!("section,row,number\n{rows}")).await;
    assert_eq!(million.invalid(), ["line 100002"]);
    assert!(million.text.contains("at most 100000"), "{}", million.text);
    put(&"x".repeat(17 * 1024 * 1024)).await.problem(413, "too-large");
    let text = ada
        .request(Method::PUT, &format!("/organiser/venues/{venue}/seats"))
        .body("a");
    Answer::of(text).await.problem(415, "unsupported-media-type");
    let wrong = json!({"seats": [{"section": "A", "row": "1", "number": 1, "colour": "red"}]});
    let wrong = ada
        .send(Method::PUT, &format!("/organiser/venues/{venue}/seats"), &wrong)
        .await;
    assert_eq!(wrong.invalid(), ["/seats/0/colour"]);
    assert_eq!(ada.get(&format!("/organiser/venues/{venue}")).await.json()["seats"], 8);
    let right = json!({"seats": [{"section": "A", "row": "1", "number": 1}]});
    let right = ada
        .send(Method::PUT, &format!("/organiser/venues/{venue}/seats"), &right)
        .await;
    assert_eq!(
        (right.status.as_u16(), &right.json()["seats"]),
        (200, &json!(1)),
        "{}",
        right.text
    );
    let bad = json!({"name": "", "city": "x", "timeZone": "Mars"});
    assert_eq!(
        ada.post("/organiser/venues", &bad).await.invalid(),
        ["/name", "/timeZone"]
    );
}

#[tokio::test]
async fn a_stadium_is_imported_and_published() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let began = std::time::Instant::now();
    let rows = (0..80_000).map(|n| {
        format!(
            "S{},{},{},{},{},\n",
            n / 1_000,
            n / 40 % 25 + 1,
            n % 40 + 1,
            n % 40,
            n / 40
        )
    });
    let csv: String = std::iter::once("section,row,number,x,y,marks\n".to_owned())
        .chain(rows)
        .collect();
    let venue = ada.venue(&csv).await;
    println!("80,000 seats imported: {:?}", began.elapsed());
    let event = ada
        .draft(&venue, |body| {
            body["pricing"] = json!({"tiers": [{"name": "All", "price": 50}]})
        })
        .await;
    let published = ada.decide(&event, &json!({"status": "published"})).await;
    println!("and published: {:?}", began.elapsed());
    assert_eq!(published.status, 200, "{}", published.text);
    let count: i64 =
        sqlx::query_scalar("select count(*) from ticketing.seats where event_id = $1 and price_cents = 5000")
            .bind(&event)
            .fetch_one(&shop.pool)
            .await
            .unwrap();
    assert_eq!(count, 80_000);
    let picture = shop.get(&format!("/events/{event}/seats.svg")).await;
    assert_eq!(picture.status, 200);
    assert!(picture.text.len() < 4_000_000, "{}", picture.text.len());
    println!("and drawn: {:?}, {} bytes", began.elapsed(), picture.text.len());
}
