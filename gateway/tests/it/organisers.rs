//! Organisers: venues and their seats, events from draft to cancellation, house seats, and what buyers see of all that.

mod events;
mod offers;
mod reports;
mod venues;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::shop::{self, Answer, LIMIT, Shop};

const PASSWORD: &str = "correct horse battery";

/// An organiser of an organisation, logged in.
struct Organiser<'a> {
    shop: &'a Shop,
    token: String,
}

async fn user(shop: &Shop, email: &str) -> String {
    let registration = json!({"email": email, "password": PASSWORD, "name": "Ada"});
    let made = Answer::of(shop.request(Method::POST, "/users").json(&registration)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let login = json!({"email": email, "password": PASSWORD});
    let answer = Answer::of(shop.request(Method::POST, "/sessions").json(&login)).await;
    answer.json()["accessToken"].as_str().unwrap().to_owned()
}

async fn organiser<'a>(shop: &'a Shop, email: &str, organisation: &str) -> Organiser<'a> {
    let token = user(shop, email).await;
    gateway::add_organiser(&shop.pool, email, organisation).await.unwrap();
    Organiser { shop, token }
}

impl Organiser<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.shop.request(method, path).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(method, path).json(body)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn put_csv(&self, venue: &str, csv: String) -> Answer {
        let request = self.request(Method::PUT, &format!("/organiser/venues/{venue}/seats"));
        Answer::of(request.header("content-type", "text/csv").body(csv)).await
    }

    /// A venue with these seats.
    async fn venue(&self, csv: &str) -> String {
        let body = json!({"name": "Garden", "city": "New York", "timeZone": "America/New_York", "stage": {"x": 0.0, "y": 0.0}});
        let made = self.post("/organiser/venues", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let venue = made.json()["venueId"].as_str().unwrap().to_owned();
        let put = self.put_csv(&venue, csv.to_owned()).await;
        assert_eq!(put.status, 200, "{}", put.text);
        venue
    }

    /// A draft.
    async fn draft(&self, venue: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut body = event(venue);
        change(&mut body);
        let made = self.post("/organiser/events", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["eventId"].as_str().unwrap().to_owned()
    }

    async fn decide(&self, event: &str, body: &Value) -> Answer {
        self.post(&format!("/organiser/events/{event}/status"), body).await
    }

    /// A published event.
    async fn published(&self, csv: &str, change: impl FnOnce(&mut Value)) -> String {
        let venue = self.venue(csv).await;
        let event = self.draft(&venue, change).await;
        let published = self.decide(&event, &json!({"status": "published"})).await;
        assert_eq!(published.status, 200, "{}", published.text);
        event
    }
}

/// Two rows of four, the second of them dearer.
const HALL: &str = "section,row,number,x,y,marks\n\
    Floor,A,1,-3,5,wheelchair\nFloor,A,2,-1,5,companion\nFloor,A,3,1,5,\nFloor,A,4,3,5,\n\
    Floor,B,1,-3,7,\nFloor,B,2,-1,7,\nFloor,B,3,1,7,\nFloor,B,4,3,7,step_free\n";

fn event(venue: &str) -> Value {
    json!({
        "name": "The Long Tour", "venueId": venue, "performers": ["Ada & the Engines"], "attributes": {"doors": "18:00"},
        "startsAt": "2031-06-12T19:30:00-04:00", "currency": "USD",
        "pricing": {"tiers": [{"name": "Rest", "price": 100.00}, {"name": "B", "price": 120.50, "places": [{"section": "Floor", "rows": ["B"]}]}]}
    })
}

async fn wait_until_told(shop: &Shop) {
    testkit::eventually("the events' outbox is empty", LIMIT, async || {
        let left: i64 = sqlx::query_scalar("select count(*) from ticketing.event_changes")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
}

/// What was given to the engine about events: kinds and data.
fn told(shop: &Shop) -> Vec<Value> {
    let starts = shop.engine.starts().into_iter();
    starts
        .filter(|start| start.workflow == "event_change")
        .map(|start| start.input)
        .collect()
}

#[tokio::test]
async fn only_organisers_make_events_and_see_their_own() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let buyer = Organiser {
        shop: &shop,
        token: user(&shop, "fan@example.com").await,
    };
    let other = organiser(&shop, "other@example.com", "Others").await;
    let event = ada.published(HALL, |_| ()).await;
    let venue = ada.get(&format!("/organiser/events/{event}")).await.json()["venueId"]
        .as_str()
        .unwrap()
        .to_owned();
    let paths = [
        (Method::GET, "/organiser/venues".to_owned()),
        (Method::GET, format!("/organiser/venues/{venue}")),
        (Method::GET, "/organiser/events".to_owned()),
        (Method::GET, format!("/organiser/events/{event}")),
        (Method::POST, format!("/organiser/events/{event}/status")),
        (Method::POST, format!("/organiser/events/{event}/house-seats")),
    ];
    for (method, path) in paths {
        Answer::of(shop.request(method.clone(), &path))
            .await
            .problem(401, "no-token");
        Answer::of(buyer.request(method, &path)).await.problem(403, "forbidden");
    }
    // Another organisation's are not there.
    other
        .get(&format!("/organiser/venues/{venue}"))
        .await
        .problem(404, "not-found");
    other
        .get(&format!("/organiser/events/{event}"))
        .await
        .problem(404, "not-found");
    other
        .decide(&event, &json!({"status": "cancelled"}))
        .await
        .problem(404, "not-found");
    other.put_csv(&venue, HALL.to_owned()).await.problem(404, "not-found");
    let keep = json!({"seatIds": ["Floor-A-1"]});
    other
        .post(&format!("/organiser/events/{event}/house-seats"), &keep)
        .await
        .problem(404, "not-found");
    assert_eq!(
        other.post("/organiser/events", &self::event(&venue)).await.invalid(),
        ["/venueId"]
    );
    assert_eq!(other.get("/organiser/events").await.json(), json!({"events": []}));
    // Whoever is no organiser any more is none at once.
    gateway::remove_organiser(&shop.pool, "ADA@example.com").await.unwrap();
    ada.get("/organiser/events").await.problem(403, "forbidden");
    assert!(
        gateway::add_organiser(&shop.pool, "nobody@example.com", "X")
            .await
            .is_err()
    );
    assert_eq!(gateway::list_organisers(&shop.pool).await.unwrap().len(), 1);
}
