//! One public gateway, and services that run apart behind it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gateway::{Options, Service};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_util::sync::CancellationToken;

use crate::engine::FakeEngine;
use crate::shop::{self, Answer, LIMIT, wish};
use crate::users;

/// One gateway of several over the same database.
struct Part {
    base: String,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Part {
    async fn serve(options: Options, database: &TestDatabase, engine: &Arc<FakeEngine>) -> Part {
        Part::serve_at("127.0.0.1:0", options, database, engine).await
    }

    async fn serve_at(address: &str, options: Options, database: &TestDatabase, engine: &Arc<FakeEngine>) -> Part {
        let listener = TcpListener::bind(address).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let deps = gateway::Deps {
            pool: database.pool.clone(),
            engine: engine.clone(),
            analytics: database.pool.clone().into(),
            actions: analytics::actions::Recorder::off(),
        };
        let server = tokio::spawn(gateway::serve(options, deps, listener, stop.clone()));
        Part { base, stop, server }
    }

    /// Stops it, and waits until it has.
    async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, &mut self.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    fn port(&self) -> &str {
        self.base.rsplit(':').next().unwrap()
    }
}

/// The settings of a gateway that serves these; whoever is on this machine may say where requests come from.
fn serving(services: &[Service]) -> Options {
    Options {
        services: services.iter().copied().collect(),
        trusted_proxies: "127.0.0.0/8".parse().unwrap(),
        ..users::options()
    }
}

/// The settings of a gateway that passes these on, and serves nothing else.
fn passing(urls: &[(Service, &str)]) -> Options {
    let parts: Vec<String> = urls.iter().map(|(service, url)| format!("{service}={url}")).collect();
    Options {
        services: BTreeSet::new(),
        service_urls: parts.join(",").parse().unwrap(),
        ..users::options()
    }
}

/// Requests to a gateway.
struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(part: &Part) -> Client {
        Client {
            http: shop::http_client(),
            base: part.base.clone(),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).timeout(LIMIT)
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }
}

#[tokio::test]
async fn services_run_apart_behind_one_address_and_one_that_is_killed_takes_no_other_along() {
    let shop = shop::open_with(users::options()).await;
    let (database, engine) = (shop.database(), &shop.engine);
    let users = Part::serve(serving(&[Service::Users, Service::Notifications]), database, engine).await;
    let events = Part::serve(serving(&[Service::Events]), database, engine).await;
    let rest = [
        Service::Bookings,
        Service::Payments,
        Service::Tickets,
        Service::Analytics,
    ];
    let rest = Part::serve(serving(&rest), database, engine).await;
    let front = Part::serve(
        passing(&[
            (Service::Users, &users.base),
            (Service::Notifications, &users.base),
            (Service::Events, &events.base),
            (Service::Bookings, &rest.base),
            (Service::Payments, &rest.base),
            (Service::Tickets, &rest.base),
            (Service::Analytics, &rest.base),
        ]),
        database,
        engine,
    )
    .await;
    let client = Client::of(&front);

    // A buyer notices nothing: they register, log in, look, and book as themselves.
    let ada = json!({"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"});
    assert_eq!(client.post("/users", &ada).await.status, 201);
    let login = json!({"email": "ada@example.com", "password": "correct horse battery"});
    let tokens = client.post("/sessions", &login).await.json();
    let token = tokens["accessToken"].as_str().unwrap();
    let seen = client.get("/events/tour").await;
    assert_eq!(
        (seen.status.as_u16(), seen.json()["name"].as_str()),
        (200, Some("The Tour"))
    );
    let mut mine = wish();
    mine.as_object_mut().unwrap().remove("userId");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = client
        .request(Method::POST, "/bookings")
        .bearer_auth(token)
        .header("x-request-id", "mine-1")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let booked = Answer::of(request.json(&mine)).await;
    assert_eq!(
        (booked.status.as_u16(), booked.header("x-request-id")),
        (202, "mine-1"),
        "{}",
        booked.text
    );
    let started = engine
        .starts()
        .into_iter()
        .find(|start| start.workflow == "booking")
        .unwrap();
    assert_eq!(started.input["userId"], tokens["userId"]);
    assert!(
        started.traceparent.unwrap().contains(trace),
        "one trace over all of them"
    );
    // Each answers for itself, and is believed: also that something isn't there, or isn't right.
    client.get("/events/nothing").await.problem(404, "not-found");
    client.get("/nothing").await.problem(404, "no-such-route");
    let put = Answer::of(client.request(Method::PUT, "/bookings")).await;
    put.problem(405, "method-not-allowed");
    assert_eq!(
        client.post("/users", &json!({})).await.invalid(),
        ["/email", "/password", "/name"]
    );
    let big = client
        .request(Method::POST, "/users")
        .header("content-type", "application/json");
    Answer::of(big.body("x".repeat(1 << 20)))
        .await
        .problem(413, "too-large");
    // Alone, a service has no other routes.
    let alone = Client::of(&events);
    alone.get("/users/me").await.problem(404, "no-such-route");
    assert_eq!(alone.get("/events").await.status, 200);
    assert!(
        alone.get("/openapi.json").await.json()["paths"]
            .get("/bookings")
            .is_none()
    );
    // Together they are the whole API.
    let api = client.get("/openapi.json").await.json();
    assert_eq!(api["paths"], serde_json::to_value(gateway::openapi()).unwrap()["paths"]);
    let ready = client.get("/health/ready").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["degraded"]),
        (200, &json!(false)),
        "{}",
        ready.text
    );
    assert!(ready.json()["dependencies"].get("database").is_none(), "{}", ready.text);

    // One is killed: its routes say so, the others go on.
    let port = events.port().to_owned();
    events.stop().await;
    let away = client.get("/events/tour").await;
    let problem = away.problem(503, "unavailable");
    assert_eq!(away.header("retry-after"), "2");
    assert!(problem["detail"].as_str().unwrap().contains("events"), "{problem}");
    client
        .post("/events/tour/quote", &json!({}))
        .await
        .problem(503, "unavailable");
    let me = client.request(Method::GET, "/users/me").bearer_auth(token);
    assert_eq!(Answer::of(me).await.status, 200);
    let path = format!("/bookings/{}", booked.json()["bookingId"].as_str().unwrap());
    assert_eq!(
        Answer::of(client.request(Method::GET, &path).bearer_auth(token))
            .await
            .status,
        200
    );
    testkit::eventually("its absence shows", LIMIT, async || {
        let ready = client.get("/health/ready").await;
        let told = ready.json();
        let states = &told["dependencies"]["services"];
        ready.status == 200
            && told["degraded"] == true
            && states["events"]["state"] == "down"
            && states["users"]["state"] == "up"
    })
    .await;
    // It comes back, and so do its routes.
    let _events = Part::serve_at(
        &format!("127.0.0.1:{port}"),
        serving(&[Service::Events]),
        database,
        engine,
    )
    .await;
    testkit::eventually("its routes are back", LIMIT, async || {
        client.get("/events/tour").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn streams_and_web_sockets_pass_through_and_end_with_the_gateway() {
    let shop = shop::open_with(users::options()).await;
    let (database, engine) = (shop.database(), &shop.engine);
    let behind = Part::serve(serving(&[Service::Events, Service::Analytics]), database, engine).await;
    let urls = [
        (Service::Events, behind.base.as_str()),
        (Service::Analytics, behind.base.as_str()),
    ];
    let front = Part::serve(passing(&urls), database, engine).await;
    let client = Client::of(&front);

    let listed = client.get("/events/tour/seats").await;
    let version = listed.header("seats-version").to_owned();
    let live = client.request(Method::GET, &format!("/events/tour/seats/live?after={version}"));
    let live = live.send().await.unwrap();
    assert_eq!(
        (live.status().as_u16(), &live.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let mut stream = live.bytes_stream();
    sqlx::query("update ticketing.seats set status = 'held', booking_id = gen_random_uuid(), held_until = now() + interval '1 hour' where event_id = 'tour' and seat_id = 'A15'")
        .execute(&shop.pool)
        .await
        .unwrap();
    let mut told = String::new();
    let heard = async {
        while !told.contains("A15") {
            told += &String::from_utf8_lossy(&stream.next().await.unwrap().unwrap());
        }
    };
    tokio::time::timeout(LIMIT, heard)
        .await
        .expect("a change comes through at once");

    let url = format!("{}/ws/metrics", front.base.replace("http://", "ws://"));
    let (mut socket, _) = connect_async(&url).await.unwrap();
    for _ in 0..2 {
        let message = tokio::time::timeout(LIMIT, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(message.to_text().unwrap().contains("metrics-update"));
    }
    // What is no handshake is refused as it would be there.
    assert_eq!(client.get("/ws/metrics").await.status, 400);

    // The front stops: nobody is left hanging.
    front.stop.cancel();
    let over = async {
        while let Some(Ok(_)) = stream.next().await {}
        while let Some(Ok(_)) = socket.next().await {}
    };
    tokio::time::timeout(LIMIT, over).await.expect("both end");
}

/// A server that is no service of ours: it does this with each connection.
async fn odd<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    base
}

#[tokio::test]
async fn a_service_that_is_slow_or_talks_nonsense_is_a_problem_of_its_own_routes() {
    let shop = shop::open_with(users::options()).await;
    let (database, engine) = (shop.database(), &shop.engine);
    let nonsense = odd(|mut stream| async move {
        let mut asked = [0; 1024];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(b"I am no server\r\n\r\n").await;
    })
    .await;
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = held.clone();
    let silent = odd(move |stream| {
        keep.lock().unwrap().push(stream);
        std::future::ready(())
    })
    .await;
    let options = Options {
        request_time_limit: Duration::from_millis(200),
        requests_max: 8,
        ..passing(&[(Service::Users, &nonsense), (Service::Bookings, &silent)])
    };
    let options = Options {
        services: [Service::Events].into(),
        ..options
    };
    let front = Part::serve(options, database, engine).await;
    let client = Client::of(&front);
    let broken = client.post("/users", &json!({})).await;
    let problem = broken.problem(502, "bad-gateway");
    assert!(
        problem["detail"].as_str().unwrap().contains("Idempotency-Key"),
        "{problem}"
    );
    assert_eq!(broken.header("retry-after"), "2");
    client.get("/users/me").await.problem(502, "bad-gateway");

    // Half of the requests that there is room for may wait for a slow one; the others are sent away, and other services go on.
    let body = json!({});
    let crowd = futures::future::join_all((0..6).map(|_| client.post("/bookings", &body))).await;
    let of = |status: u16| crowd.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(504) + of(503), 6);
    assert!(of(504) <= 4, "{}", of(504));
    let late = client.post("/bookings", &json!({})).await;
    late.problem(504, "gateway-timeout");
    assert_eq!(late.header("retry-after"), "2");
    assert_eq!(client.get("/events").await.status, 200);
    drop(held);
}

#[tokio::test]
async fn where_a_request_comes_from_is_said_by_the_gateway_alone() {
    let shop = shop::open_with(users::options()).await;
    let (database, engine) = (shop.database(), &shop.engine);
    let users = Part::serve(serving(&[Service::Users]), database, engine).await;
    let front = Part::serve(passing(&[(Service::Users, &users.base)]), database, engine).await;
    let client = Client::of(&front);
    let ada = json!({"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"});
    assert_eq!(client.post("/users", &ada).await.status, 201);
    let login = json!({"email": "ada@example.com", "password": "correct horse battery"});
    // The front trusts nobody: what its clients say of themselves goes no further.
    let claimed = client
        .request(Method::POST, "/sessions")
        .header("x-forwarded-for", "203.0.113.9");
    let tokens = Answer::of(claimed.json(&login)).await.json();
    let sessions = client
        .request(Method::GET, "/sessions")
        .bearer_auth(tokens["accessToken"].as_str().unwrap());
    assert_eq!(Answer::of(sessions).await.json()["sessions"][0]["address"], "127.0.0.1");
    // One that believes its balancer hands on what that says.
    let options = Options {
        trusted_proxies: "127.0.0.0/8".parse().unwrap(),
        ..passing(&[(Service::Users, &users.base)])
    };
    let front = Part::serve(options, database, engine).await;
    let client = Client::of(&front);
    let told = client
        .request(Method::POST, "/sessions")
        .header("x-forwarded-for", "198.51.100.7, 203.0.113.9");
    let tokens = Answer::of(told.json(&login)).await.json();
    let sessions = client
        .request(Method::GET, "/sessions")
        .bearer_auth(tokens["accessToken"].as_str().unwrap());
    assert_eq!(
        Answer::of(sessions).await.json()["sessions"][0]["address"],
        "203.0.113.9"
    );
}
