//! What buyers are offered: prices, house seats, the best seats, pictures, search.

use super::*;

#[tokio::test]
async fn fees_and_taxes_are_itemised_and_paid() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada
        .published(HALL, |body| {
            body["pricing"]["fees"] = json!([{"name": "Service", "amount": 4.50, "per": "seat"}, {"name": "Delivery", "amount": 2, "per": "order"}]);
            body["pricing"]["taxes"] = json!([{"name": "Sales tax", "rate": 8.875}]);
            body["seatsPerOrderMax"] = json!(2);
        })
        .await;
    let quote = async |body: Value| {
        Answer::of(
            shop.request(Method::POST, &format!("/events/{event}/quote"))
                .json(&body),
        )
        .await
    };
    let answer = quote(json!({"seatIds": ["Floor-A-3", "Floor-B-3"]})).await;
    // 220.50 + 9.00 + 2.00 = 231.50; 8.875 % of it are 20.545625.
    assert_eq!(
        answer.text,
        r#"{"seats":220.50,"fees":[{"name":"Service","amount":9.00},{"name":"Delivery","amount":2.00}],"taxes":[{"name":"Sales tax","rate":8.875,"amount":20.55,"included":false}],"total":252.05}"#
    );
    assert_eq!(
        quote(json!({"seatIds": ["Floor-A-3", "Floor-A-3", "Z"]}))
            .await
            .invalid(),
        ["/seatIds/1"]
    );
    assert_eq!(quote(json!({"seatIds": ["Z"]})).await.invalid(), ["/seatIds/0"]);
    assert_eq!(quote(json!({"seatIds": []})).await.invalid(), ["/seatIds"]);
    let wish =
        |total: Value, seats: &[&str]| json!({"userId": "u", "eventId": event, "seatIds": seats, "totalAmount": total});
    let seats = ["Floor-A-3", "Floor-B-3"];
    let short = Answer::of(shop.booking(&wish(json!(220.50), &seats))).await;
    assert_eq!(short.invalid(), ["/totalAmount"]);
    assert!(short.text.contains("252.05"), "{}", short.text);
    let booked = Answer::of(shop.booking(&wish(json!(252.05), &seats))).await;
    assert_eq!(booked.status, 202, "{}", booked.text);
    assert!(
        booked.text.contains(r#""breakdown":{"seats":220.50,"#),
        "{}",
        booked.text
    );
    let input = shop
        .engine
        .starts()
        .into_iter()
        .find(|start| start.workflow == "booking")
        .unwrap()
        .input;
    assert_eq!(
        (&input["totalCents"], &input["chargesCents"]),
        (&json!(25_205), &json!(3_155))
    );
    let three = ["Floor-A-3", "Floor-A-4", "Floor-B-3"];
    assert_eq!(
        Answer::of(shop.booking(&wish(json!(1), &three))).await.invalid(),
        ["/seatIds"]
    );
    assert_eq!(
        shop.get(&format!("/events/{event}")).await.json()["fees"][0]["name"],
        "Service"
    );
}

#[tokio::test]
async fn house_seats_are_kept_and_let_go() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let path = format!("/organiser/events/{event}/house-seats");
    let kept = ada.post(&path, &json!({"section": "Floor", "rows": ["B"]})).await;
    assert_eq!(kept.json()["seatIds"].as_array().unwrap().len(), 4, "{}", kept.text);
    let again = ada.post(&path, &json!({"seatIds": ["Floor-B-1", "Floor-A-1"]})).await;
    assert_eq!(again.json()["seatIds"], json!(["Floor-A-1"]));
    let seats = shop.get(&format!("/events/{event}/seats?status=held")).await.json();
    assert_eq!(seats["seats"].as_array().unwrap().len(), 5);
    let wish = json!({"userId": "u", "eventId": event, "seatIds": ["Floor-B-1"], "totalAmount": 120.5});
    Answer::of(shop.booking(&wish)).await.problem(409, "seats-unavailable");
    // All or none.
    sqlx::query("update ticketing.seats set status = 'sold', booking_id = gen_random_uuid() where event_id = $1 and seat_id = 'Floor-A-4'")
        .bind(&event)
        .execute(&shop.pool)
        .await
        .unwrap();
    let taken = ada.post(&path, &json!({"seatIds": ["Floor-A-3", "Floor-A-4"]})).await;
    assert_eq!(
        taken.problem(409, "seats-unavailable")["unavailableSeats"],
        json!(["Floor-A-4"])
    );
    for (body, pointers) in [
        (json!({}), vec![""]),
        (json!({"seatIds": ["Floor-A-3"], "section": "Floor"}), vec![""]),
        (json!({"seatIds": ["Floor-A-3"], "rows": ["A"]}), vec!["/rows"]),
        (json!({"seatIds": ["Z", "Z"]}), vec!["/seatIds/1"]),
        (json!({"seatIds": ["Z"]}), vec!["/seatIds/0"]),
        (json!({"section": "Moon"}), vec!["/section"]),
    ] {
        assert_eq!(ada.post(&path, &body).await.invalid(), pointers, "{body}");
    }
    let released = ada.post(&format!("{path}/release"), &json!({"section": "Floor"})).await;
    assert_eq!(
        released.json()["seatIds"].as_array().unwrap().len(),
        5,
        "{}",
        released.text
    );
    wait_until_told(&shop).await;
    let fact = told(&shop)
        .into_iter()
        .find(|it| it["kind"] == "seats_released")
        .unwrap();
    assert_eq!(fact["seatIds"].as_array().unwrap().len(), 5);
    testkit::eventually("they can be had", LIMIT, async || {
        Answer::of(shop.booking(&wish)).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn the_best_seats_are_found() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let best = async |body: Value| {
        Answer::of(
            shop.request(Method::POST, &format!("/events/{event}/best-available"))
                .json(&body),
        )
        .await
    };
    let found = best(json!({"count": 2})).await;
    assert_eq!(
        found.json()["seatIds"],
        json!(["Floor-A-3", "Floor-A-4"]),
        "{}",
        found.text
    );
    assert_eq!(found.json()["relaxed"], json!([]));
    assert!(found.text.contains(r#""total":200.00"#), "{}", found.text);
    // Whoever needs them gets the others.
    let accessible = best(json!({"count": 2, "accessible": true})).await.json();
    assert_eq!(accessible["seatIds"], json!(["Floor-A-1", "Floor-A-2"]));
    let three = best(json!({"count": 3})).await.json();
    assert_eq!(three["relaxed"], json!(["no_orphan"]));
    let apart = best(json!({"count": 5})).await.json();
    assert_eq!(apart["relaxed"], json!(["no_orphan", "adjacent", "same_row"]));
    best(json!({"count": 3, "maxPrice": 100.00}))
        .await
        .problem(409, "seats-unavailable");
    best(json!({"count": 1, "section": "Moon"}))
        .await
        .problem(409, "seats-unavailable");
    assert_eq!(best(json!({"count": 11})).await.invalid(), ["/count"]);
    assert_eq!(best(json!({"count": 0})).await.invalid(), ["/count"]);
    assert_eq!(
        best(json!({"count": 1, "maxPrice": "x"})).await.invalid(),
        ["/maxPrice"]
    );
    assert_eq!(best(json!({})).await.invalid().len(), 1);
    // Of a hall without coordinates too.
    let tour = shop
        .request(Method::POST, "/events/tour/best-available")
        .json(&json!({"count": 2}));
    assert_eq!(Answer::of(tour).await.json()["seatIds"], json!(["A15", "A16"]));
}

#[tokio::test]
async fn seats_are_drawn() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let csv = "section,row,number,x,y\n\"<b>&\"\"\",A,1,0,1\n\"<b>&\"\"\",A,2,1,1\n";
    let event = ada
        .published(csv, |body| {
            body["pricing"] = json!({"tiers": [{"name": "A", "price": 1}]})
        })
        .await;
    for path in [
        format!("/events/{event}/seats.svg"),
        "/events/tour/seats.svg?section=Ring".to_owned(),
    ] {
        let picture = shop.get(&path).await;
        assert_eq!(picture.header("content-type"), "image/svg+xml; charset=utf-8");
        assert_eq!(picture.text.matches("<rect").count(), 2, "{}", picture.text);
        assert!(
            !picture.text.contains("<b>") && !picture.text.contains("NaN"),
            "{}",
            picture.text
        );
        let again = shop
            .request(Method::GET, &path)
            .header("if-none-match", picture.header("etag"));
        assert_eq!(Answer::of(again).await.status, 304);
    }
    shop.get("/events/tour/seats.svg?section=Moon")
        .await
        .problem(404, "not-found");
    shop.get("/events/nowhere/seats.svg").await.problem(404, "not-found");
}

#[tokio::test]
async fn events_are_searched() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let ids = async |query: &str| {
        let answer = shop.get(&format!("/events?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let events = answer.json()["events"].as_array().unwrap().clone();
        events
            .iter()
            .map(|it| it["eventId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("text=engin").await, [event.as_str()]);
    assert_eq!(ids("text=TOUR%20long").await, [event.as_str()]);
    assert_eq!(ids("text=tour").await, ["tour".to_owned(), event.clone()]);
    assert_eq!(ids("text=tour&from=2031-01-01").await, [event.as_str()]);
    assert_eq!(ids("text=tour&to=2031-06-12T23:30:00Z").await, ["tour"]);
    assert_eq!(ids("city=new%20york&limit=200").await.len(), 3);
    assert!(ids("city=Paris").await.is_empty());
    assert!(ids("text=')%20%7C%20x%3A*").await.is_empty());
    let first = shop.get("/events?text=tour&city=New%20York&limit=1").await.json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(
        shop.get(next).await.json()["events"][0]["eventId"],
        json!(event),
        "{next}"
    );
    for query in [
        "text=%20",
        "text=!!",
        "from=soon",
        "to=2031-13-01",
        "text=a%20b%20c%20d%20e%20f%20g%20h%20i%20j%20k",
        "from=99999-01-01",
    ] {
        shop.get(&format!("/events?{query}")).await.problem(400, "malformed");
    }
    for path in ["/events?text=tour".to_owned(), format!("/events/{event}")] {
        let answer = shop.get(&path).await;
        let again = shop
            .request(Method::GET, &path)
            .header("if-none-match", answer.header("etag"));
        let again = Answer::of(again).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn searches_find_their_way_among_many_events() {
    let shop = shop::open().await;
    let many = "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency, status)
                select 'old-' || n, 'Evening ' || n, 'Hall', 'City ' || n % 500, timestamptz '2020-01-01' + make_interval(hours => n), 'UTC',
                       'usd', 'on_sale'
                from generate_series(1, 20000) n";
    sqlx::query(many).execute(&shop.pool).await.unwrap();
    sqlx::query("vacuum analyze ticketing.events")
        .execute(&shop.pool)
        .await
        .unwrap();
    let scans = async |index: &str| -> i64 {
        let scans = "select idx_scan from pg_stat_user_indexes where schemaname = 'ticketing' and indexrelname = $1";
        sqlx::query_scalar(scans)
            .bind(index)
            .fetch_one(&shop.pool)
            .await
            .unwrap()
    };
    for (search, found, index) in [
        ("text=evening%2017123", "old-17123", "events_words"),
        ("city=CITY%20123", "old-123", "events_city"),
    ] {
        let before = scans(index).await;
        // Often enough for a plan to be kept, were one kept.
        for _ in 0..12 {
            let page = shop.get(&format!("/events?{search}&limit=10")).await.json();
            assert_eq!(page["events"][0]["eventId"], found, "{search}");
        }
        testkit::eventually("the index was used each time", LIMIT, async || {
            scans(index).await >= before + 12
        })
        .await;
    }
}
