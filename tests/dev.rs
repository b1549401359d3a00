//! `sagaline dev` from outside: it starts on nothing, books, survives being killed, and leaves nothing behind.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use activities::notifications::SmtpSink;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use running::Dev;
use sandbox::messaging::{Messaging, MessagingOptions, UNREACHABLE};
use serde_json::{Value, json};
use testkit::eventually;

mod running;

/// How long a stop may take: draining, and Postgres writing everything out.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long a booking may take that somebody waits for.
const BOOKING_LIMIT: Duration = Duration::from_secs(60);

/// A payment that succeeds at once.
const GOOD_CARD: &str = "pm_card_visa";
/// A payment that takes the bank two seconds: long enough to be killed in the middle of it.
const SLOW_BANK: &str = "pm_sandbox_processing";

impl Dev {
    async fn get(&self, url: &str) -> Value {
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Books seats, waiting so many seconds for the outcome, and gives the answer's status code and body.
    async fn book(&self, seats: &[&str], total: f64, method: &str, wait: u32) -> (u16, Value) {
        let body = json!({
            "userId": "user_1", "eventId": "taylor_swift_nyc_2024", "seatIds": seats, "totalAmount": total,
            "paymentMethod": method, "email": "buyer@example.com",
        });
        let mut request = self.http.post(format!("{}/bookings", self.url("gateway"))).json(&body);
        if wait > 0 {
            request = request.header("prefer", format!("wait={wait}"));
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn booking(&self, id: &str) -> Value {
        self.get(&format!("{}/bookings/{id}", self.url("gateway"))).await
    }

    /// The other printed token makes a venue and an event, which is booked with its fees.
    async fn demo_organiser_sells(&self) {
        let (gateway, token) = (self.url("gateway"), self.url("organiser_token"));
        let send = async |path: &str, body: Value| -> Value {
            let request = self
                .http
                .post(format!("{gateway}{path}"))
                .bearer_auth(token)
                .json(&body);
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let body: Value = answer.json().await.unwrap();
            assert!(status.is_success(), "{path}: {body}");
            body
        };
        let venue = json!({"name": "Arena", "city": "Berlin", "timeZone": "Europe/Berlin"});
        let venue = send("/organiser/venues", venue).await["venueId"]
            .as_str()
            .unwrap()
            .to_owned();
        let seats = self
            .http
            .put(format!("{gateway}/organiser/venues/{venue}/seats"))
            .bearer_auth(token);
        let seats = seats
            .header("content-type", "text/csv")
            .body("section,row,number\nFloor,A,1\nFloor,A,2\nFloor,A,3\n");
        assert_eq!(seats.send().await.unwrap().status(), 200);
        let event = json!({
            "name": "The Long Tour", "venueId": venue, "startsAt": "2031-06-12T20:00:00+02:00", "currency": "eur",
            "pricing": {"tiers": [{"name": "All", "price": 100}], "fees": [{"name": "Service", "amount": 4.50, "per": "seat"}],
                        "taxes": [{"name": "VAT", "rate": 7}]},
        });
        let event = send("/organiser/events", event).await["eventId"]
            .as_str()
            .unwrap()
            .to_owned();
        send(
            &format!("/organiser/events/{event}/status"),
            json!({"status": "published"}),
        )
        .await;
        let best = send(&format!("/events/{event}/best-available"), json!({"count": 2})).await;
        let wish = json!({
            "userId": "user_1", "eventId": event, "seatIds": best["seatIds"], "totalAmount": best["breakdown"]["total"],
        });
        let booking = self
            .http
            .post(format!("{gateway}/bookings"))
            .header("prefer", "wait=20")
            .json(&wish);
        let booking: Value = booking.send().await.unwrap().json().await.unwrap();
        assert_eq!(
            (&booking["status"], &booking["totalAmount"]),
            (&json!("confirmed"), &json!(223.63)),
            "{booking}"
        );

        // A payment that has to be tried again leaves time to ask for more of it.
        let wish = json!({
            "userId": "user_1", "eventId": "taylor_swift_nyc_2024", "seatIds": ["B1"], "totalAmount": 400,
            "paymentMethod": "pm_sandbox_rateLimited",
        });
        let booking: Value = self
            .http
            .post(format!("{gateway}/bookings"))
            .json(&wish)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let id = booking["bookingId"].as_str().unwrap();
        eventually("its seats are held", BOOKING_LIMIT, async || {
            self.booking(id).await["holdExpiresAt"].is_string()
        })
        .await;
        let end =
            |booking: &Value| chrono::DateTime::parse_from_rfc3339(booking["holdExpiresAt"].as_str().unwrap()).unwrap();
        let before = self.booking(id).await;
        let extended = self
            .http
            .post(format!("{gateway}/bookings/{id}/extend"))
            .send()
            .await
            .unwrap();
        let extended: Value = extended.json().await.unwrap();
        let more = end(&extended) - end(&before);
        // The saga's time began a moment before the seats were held.
        assert!((290..=300).contains(&more.num_seconds()), "{more}: {extended}");
        let cancelled = self
            .http
            .delete(format!("{gateway}/bookings/{id}"))
            .send()
            .await
            .unwrap();
        assert!(cancelled.status().is_success());
    }

    /// A guest's language comes down to the mail, and what came of an SMS comes back from its provider.
    async fn a_guest_is_written_to_in_german_and_a_buyer_by_sms(&self, other: &Value) {
        let (gateway, token) = (self.url("gateway"), self.url("demo_token"));
        let body = json!({
            "userId": "user_2", "eventId": "taylor_swift_nyc_2024", "seatIds": ["A21"], "totalAmount": 400.00,
            "email": "gast@example.com", "language": "de",
        });
        let booking = self
            .http
            .post(format!("{gateway}/bookings"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(booking.status(), 202, "{}", booking.text().await.unwrap());
        eventually("the guest has a German mail", BOOKING_LIMIT, async || {
            mail_texts(&self.ready)
                .iter()
                .any(|mail| mail.contains("gast@example.com") && mail.contains("Ihre Buchung ist best"))
        })
        .await;
        let english = mail_texts(&self.ready)
            .iter()
            .filter(|mail| mail.contains("buyer@example.com"))
            .count();
        assert_eq!(english, 1, "{other}");

        let wish = json!({"language": "en", "channels": ["sms"], "phone": "+12125550123"});
        let set = self
            .http
            .put(format!("{gateway}/users/me/notifications"))
            .bearer_auth(token)
            .json(&wish);
        assert_eq!(set.send().await.unwrap().status(), 200);
        let body = json!({"eventId": "taylor_swift_nyc_2024", "seatIds": ["A22"], "totalAmount": 400.00});
        let booking = self
            .http
            .post(format!("{gateway}/bookings"))
            .bearer_auth(token)
            .json(&body);
        assert_eq!(booking.send().await.unwrap().status(), 202);
        let shop = sqlx::PgPool::connect(self.url("database")).await.unwrap();
        eventually("the SMS is delivered", BOOKING_LIMIT, async || {
            let delivered: i64 = sqlx::query_scalar(
                "select count(*) from ticketing.notifications where channel = 'sms' and status = 'delivered'",
            )
            .fetch_one(&shop)
            .await
            .unwrap();
            delivered == 1
        })
        .await;
        shop.close().await;
    }

    /// The printed token is a buyer's; registering sends a mail whose link confirms the address.
    async fn demo_buyer_books_and_somebody_registers(&self) {
        let (gateway, token) = (self.url("gateway"), self.url("demo_token"));
        let body = json!({"eventId": "taylor_swift_nyc_2024", "seatIds": ["A20"], "totalAmount": 400.00});
        let booking = self
            .http
            .post(format!("{gateway}/bookings"))
            .bearer_auth(token)
            .json(&body);
        let booking: Value = booking
            .header("prefer", "wait=20")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(booking["status"], "confirmed", "{booking}");
        let path = format!("{gateway}/bookings/{}", booking["bookingId"].as_str().unwrap());
        assert_eq!(self.http.get(&path).send().await.unwrap().status(), 404);
        assert_eq!(
            self.http.get(&path).bearer_auth(token).send().await.unwrap().status(),
            200
        );

        let body = json!({"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"});
        let registered = self
            .http
            .post(format!("{gateway}/users"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(registered.status(), 201);
        let mut link = None;
        eventually("the link is there", BOOKING_LIMIT, async || {
            link = mail_texts(&self.ready).iter().find_map(|text| confirmation(text));
            link.is_some()
        })
        .await;
        let body = json!({"token": link});
        let confirmed = self
            .http
            .post(format!("{gateway}/confirmations"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(confirmed.status(), 204);
    }

    /// `sagaline demo traffic` brings buyers, some of whom buy.
    async fn demo_traffic_buys(&self) {
        let traffic = tokio::process::Command::new(env!("CARGO_BIN_EXE_sagaline"))
            .args([
                "demo", "traffic", "--rate", "10", "--for", "5s", "--output", "json", "--shop",
            ])
            .arg(self.url("gateway"))
            .output();
        let done = traffic.await.unwrap();
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        let of = |what: &str| told[what].as_u64().unwrap();
        assert!(done.status.success() && of("failed") == 0, "{told}");
        assert!(of("bought") + of("gave_back") > 0 && of("looked") > 0, "{told}");
    }

    async fn until_confirmed(&self, id: &str) {
        eventually("the booking is confirmed", BOOKING_LIMIT, async || {
            self.booking(id).await["status"] == "confirmed"
        })
        .await;
    }

    /// Logs in to mission control by the printed link, and reads the page of a booking's saga.
    async fn saga_page(&self, id: &str) -> String {
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let browser = browser.build().unwrap();
        let (base, token) = self.url("dashboard").split_once("/login/link?token=").unwrap();
        let form = browser.post(format!("{base}/login/link")).form(&[("token", token)]);
        let answer = form.header("origin", base).send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        let page = browser.get(format!("{base}/sagas/{id}"));
        let page = page.header("cookie", cookie.split(';').next().unwrap());
        page.send().await.unwrap().text().await.unwrap()
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn interrupt(mut self) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT).unwrap();
        eventually("dev leaves after Ctrl-C", STOP_LIMIT, async || {
            self.process.try_wait().unwrap().is_some()
        })
        .await;
        assert!(self.process.wait().unwrap().success(), "an orderly end is a success");
    }
}

/// The postmaster of the data directory, while its pid file names one.
fn postmaster(data_dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
}

fn is_running(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

/// A directory that the server's user can enter too, should we be root.
fn data_root() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("sagaline-dev-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn mails(ready: &Value) -> usize {
    let dir = ready["mailbox"].as_str().unwrap();
    std::fs::read_dir(dir).map_or(0, |entries| entries.count())
}

/// The mails as people see them, more or less: soft line breaks and escaped equals signs undone.
fn mail_texts(ready: &Value) -> Vec<String> {
    let dir = ready["mailbox"].as_str().unwrap();
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|text| text.replace("=\r\n", "").replace("=3D", "="))
        .collect()
}

/// The token of the link that confirms an address.
fn confirmation(mail: &str) -> Option<String> {
    let (_, rest) = mail.split_once("/confirmations?token=")?;
    Some(rest.chars().take(43).collect())
}

#[tokio::test]
async fn it_books_survives_a_kill_and_leaves_nothing_behind() {
    let root = data_root();
    let data_dir = root.path().join("data");

    let dev = Dev::start(&data_dir, &[]).await;
    assert_eq!(dev.ready["ready"], true);
    assert!(dev.url("database").starts_with("postgres://") && !dev.url("brokers").is_empty());
    let (status, booking) = dev.book(&["A15", "A16"], 800.00, GOOD_CARD, 20).await;
    assert_eq!((status, &booking["status"]), (200, &json!("confirmed")), "{booking}");
    assert!(booking["confirmationNumber"].is_string(), "{booking}");
    eventually("the buyer has a mail", BOOKING_LIMIT, async || mails(&dev.ready) == 1).await;
    let mail = mail_texts(&dev.ready).remove(0);
    assert!(
        mail.contains("application/pdf") && mail.contains("JVBERi0"),
        "its tickets are with it: {mail}"
    );
    let metrics = reqwest::get(format!("{}/metrics", dev.url("ops")))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("sagaline_"), "{metrics}");

    dev.a_guest_is_written_to_in_german_and_a_buyer_by_sms(&booking).await;
    dev.demo_buyer_books_and_somebody_registers().await;
    dev.demo_organiser_sells().await;
    dev.demo_traffic_buys().await;

    // The plug is pulled while another booking waits for the bank.
    let (status, second) = dev.book(&["A17", "A18"], 800.00, SLOW_BANK, 0).await;
    assert_eq!(status, 202, "{second}");
    let second = second["bookingId"].as_str().unwrap().to_owned();
    let server = postmaster(&data_dir).expect("Postgres runs");
    dev.kill();
    eventually("Postgres follows its owner", STOP_LIMIT, async || !is_running(server)).await;

    let dev = Dev::start(&data_dir, &[]).await;
    dev.until_confirmed(&second).await;
    let first = dev.booking(booking["bookingId"].as_str().unwrap()).await;
    assert_eq!(first["status"], "confirmed", "the data survives a restart");
    // A booking is confirmed before the buyer's mail is out, and only then has the saga ended.
    eventually("operators see the saga's end", BOOKING_LIMIT, async || {
        let page = dev.saga_page(&second).await;
        page.contains("run to its end") && page.contains("bar-good")
    })
    .await;
    let (_, taken) = dev.book(&["A15"], 400.00, GOOD_CARD, 20).await;
    assert_eq!(taken["status"], "rejected", "{taken}");

    let server = postmaster(&data_dir).expect("Postgres runs");
    dev.interrupt().await;
    assert!(!is_running(server), "Ctrl-C stops Postgres too");
    assert_eq!(postmaster(&data_dir), None);
}

#[tokio::test]
async fn a_directory_with_other_files_is_left_alone() {
    let root = data_root();
    std::fs::write(root.path().join("thesis.txt"), "do not lose").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args([
            "dev",
            "--port",
            "0",
            "--ops-port",
            "0",
            "--dashboard-port",
            "0",
            "--fresh",
            "--data-dir",
        ])
        .arg(root.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("files that are not Sagaline's"));
    assert!(root.path().join("thesis.txt").exists());
}

/// Bookings whose buyer is told of them by e-mail, SMS and push.
const TOLD_BOOKINGS: usize = 60;
/// What each provider does to requests: one in five goes wrong.
const FAILING: f64 = 0.2;
/// What the mission asks for.
const DELIVERED_SHARE_MIN: f64 = 0.96;
/// How long messages may take while providers fail: three retries.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

/// Every provider fails one request in five; the bookings don't notice, and nearly every message arrives.
#[tokio::test]
async fn messages_arrive_though_providers_fail_and_no_booking_waits_for_them() {
    let here = ([127, 0, 0, 1], 0).into();
    let mails = SmtpSink::start(here, 10).await.unwrap();
    let options = MessagingOptions {
        callbacks: true,
        ..MessagingOptions::default()
    };
    let providers = Messaging::start(options, here).await.unwrap();
    let options = providers.options().clone();
    mails.put_off(FAILING);
    providers.fail(FAILING);
    let settings = [
        ("SMTP_URL", mails.url()),
        // One buyer books as fast as the platform can.
        ("SAGALINE_RATE_LIMITS", "off".to_owned()),
        ("SAGALINE_NOTIFICATION_CHANNELS", "email,sms,push".to_owned()),
        ("TWILIO_ACCOUNT_SID", options.account_sid),
        ("TWILIO_AUTH_TOKEN", options.auth_token),
        ("TWILIO_FROM", "+15005550006".to_owned()),
        ("TWILIO_BASE_URL", providers.url()),
        ("FCM_PROJECT", options.project),
        ("FCM_CREDENTIALS", providers.url()),
        ("FCM_BASE_URL", providers.url()),
    ];
    let root = data_root();
    let dev = Dev::start(&root.path().join("data"), &settings).await;
    let (gateway, token) = (dev.url("gateway"), dev.url("demo_token"));
    let mine =
        |method: reqwest::Method, path: &str| dev.http.request(method, format!("{gateway}{path}")).bearer_auth(token);
    let wish = json!({"language": "de", "channels": ["email", "sms", "push"], "phone": "+4915112345678"});
    let device = json!({"token": "demo-device", "name": "Telephone"});
    for (method, path, body) in [
        (reqwest::Method::PUT, "/users/me/notifications", wish),
        (reqwest::Method::POST, "/users/me/devices", device),
    ] {
        let answer = mine(method, path).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    let mut slowest = Duration::ZERO;
    for number in 0..TOLD_BOOKINGS {
        let seat = format!("{}{}", ['A', 'B', 'C'][number / 20], number % 20 + 1);
        let body = json!({
            "eventId": "taylor_swift_nyc_2024", "seatIds": [seat], "totalAmount": 400.00, "email": "buyer@example.com",
        });
        let began = std::time::Instant::now();
        let booking = mine(reqwest::Method::POST, "/bookings")
            .header("prefer", "wait=20")
            .json(&body);
        let booking: Value = booking.send().await.unwrap().json().await.unwrap();
        assert_eq!(booking["status"], "confirmed", "{booking}");
        slowest = slowest.max(began.elapsed());
    }
    let wanted = TOLD_BOOKINGS * 3;
    let began = std::time::Instant::now();
    let delivered = || mails.total() + providers.total();
    let share = || delivered() as f64 / wanted as f64;
    let at_once = share();
    eventually("nearly every message is delivered", DELIVERY_LIMIT, async || {
        share() >= DELIVERED_SHARE_MIN
    })
    .await;
    let reached = began.elapsed();
    eventually("every message is delivered", DELIVERY_LIMIT, async || {
        delivered() as usize >= wanted
    })
    .await;
    eprintln!(
        "{wanted} messages, {:.0} % of requests failing: {:.1} % delivered when the last booking was confirmed, {:.0} % {:.1} s later, \
         {:.1} % {:.1} s later; slowest booking {slowest:?}",
        FAILING * 100.0,
        at_once * 100.0,
        DELIVERED_SHARE_MIN * 100.0,
        reached.as_secs_f64(),
        share() * 100.0,
        began.elapsed().as_secs_f64(),
    );
    assert_eq!(delivered() as usize, wanted, "none went out twice");
    assert!(
        providers
            .messages()
            .iter()
            .all(|message| message.text.contains("Bestätigt"))
    );

    // Twilio says later what became of each.
    let shop = sqlx::PgPool::connect(dev.url("database")).await.unwrap();
    let of_sms = async |status: &str| -> i64 {
        sqlx::query_scalar("select count(*) from ticketing.notifications where channel = 'sms' and status = $1")
            .bind(status)
            .fetch_one(&shop)
            .await
            .unwrap()
    };
    eventually("every SMS is delivered", DELIVERY_LIMIT, async || {
        of_sms("delivered").await == TOLD_BOOKINGS as i64
    })
    .await;
    let unreachable = json!({"language": "de", "channels": ["sms"], "phone": UNREACHABLE});
    let answer = mine(reqwest::Method::PUT, "/users/me/notifications").json(&unreachable);
    assert!(answer.send().await.unwrap().status().is_success());
    let body = json!({"eventId": "taylor_swift_nyc_2024", "seatIds": ["D1"], "totalAmount": 400.00});
    let booking = mine(reqwest::Method::POST, "/bookings")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(booking.status(), 202, "{}", booking.text().await.unwrap());
    eventually("its SMS comes back", DELIVERY_LIMIT, async || {
        of_sms("failed").await == 1
    })
    .await;
    let problem: String = sqlx::query_scalar("select problem from ticketing.notifications where status = 'failed'")
        .fetch_one(&shop)
        .await
        .unwrap();
    assert_eq!(problem, "undelivered: 30003");
    shop.close().await;
    dev.interrupt().await;
}
