//! Messages over real conversations: SMTP, and the providers' HTTP APIs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use activities::Registry;
use activities::notifications::push::{Fcm, FcmConfig};
use activities::notifications::sink::SinkFault;
use activities::notifications::slack::Slack;
use activities::notifications::sms::{Twilio, TwilioConfig};
use activities::notifications::{
    self, Channel, GoogleCredentials, MailConfig, Mailer, Provider, SmtpSink, TicketPrinter,
};
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use sandbox::messaging::{Fault, GONE, INVALID_NUMBER, Messaging, MessagingOptions, OPTED_OUT};
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::support::{read, run_batch};

const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Every provider, and everything that sends.
struct Office {
    database: TestDatabase,
    sink: SmtpSink,
    providers: Messaging,
    registry: Registry,
}

/// A message that was written down.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
struct Row {
    status: String,
    provider_id: Option<String>,
    problem: Option<String>,
    attempts: i32,
}

impl Office {
    async fn open() -> Office {
        let providers = Messaging::start(MessagingOptions::default(), SocketAddr::from(ANYWHERE))
            .await
            .unwrap();
        let credentials = GoogleCredentials::Metadata(providers.url());
        Office::with(providers, credentials).await
    }

    async fn with(providers: Messaging, credentials: GoogleCredentials) -> Office {
        let database = testkit::migrated_database().await;
        let sink = SmtpSink::start(SocketAddr::from(ANYWHERE), 10).await.unwrap();
        let pool = &database.pool;
        let mut registry = Registry::new();
        notifications::register(&mut registry, pool.clone(), Channel::ALL.into_iter().collect()).unwrap();
        let all: [(Channel, Arc<dyn Provider>); 4] = [
            (Channel::Email, Arc::new(mailer(&sink.url()))),
            (Channel::Sms, Arc::new(twilio(&providers))),
            (Channel::Push, Arc::new(fcm(&providers, credentials))),
            (Channel::Slack, Arc::new(Slack::new(&providers.slack_url()).unwrap())),
        ];
        for (channel, provider) in all {
            notifications::register_channel(&mut registry, pool.clone(), channel, provider, None).unwrap();
        }
        Office {
            database,
            sink,
            providers,
            registry,
        }
    }

    /// Writes down what this wish calls for; gives the messages' ids by channel.
    async fn wish(&self, wish: Value) -> BTreeMap<String, Uuid> {
        let saga = Uuid::now_v7();
        let outcome = run_batch(
            &self.registry,
            "notifications",
            "notifications.request",
            vec![(saga, wish)],
        )
        .await;
        read::<Value>(outcome.into_iter().next().unwrap()).unwrap();
        let rows: Vec<(String, Uuid)> =
            sqlx::query_as("select channel, id from ticketing.notifications order by created_at")
                .fetch_all(&self.database.pool)
                .await
                .unwrap();
        rows.into_iter().collect()
    }

    /// Writes down a mail to this address.
    async fn mail_to(&self, address: &str) -> Uuid {
        let mut wish = wish("user_1");
        wish["email"] = json!(address);
        self.wish(wish).await["email"]
    }

    /// Writes down an SMS to this number, or a push message to this device.
    async fn reach(&self, phone: Option<&str>, device: Option<&str>) -> BTreeMap<String, Uuid> {
        let account = Uuid::now_v7();
        self.prefers(account, "en", &["sms", "push"], phone).await;
        if let Some(token) = device {
            self.owns(account, token).await;
        }
        self.wish(wish(&format!("usr_{}", account.simple()))).await
    }

    async fn prefers(&self, account: Uuid, language: &str, channels: &[&str], phone: Option<&str>) {
        let row = "insert into ticketing.notification_preferences (account_id, language, channels, phone) values ($1, $2, $3, $4)";
        let query = sqlx::query(row).bind(account).bind(language).bind(channels).bind(phone);
        query.execute(&self.database.pool).await.unwrap();
    }

    async fn owns(&self, account: Uuid, token: &str) {
        let row = "insert into ticketing.notification_devices (token, id, account_id, name) values ($1, $2, $3, 'd')";
        let query = sqlx::query(row).bind(token).bind(Uuid::now_v7()).bind(account);
        query.execute(&self.database.pool).await.unwrap();
    }

    async fn deliver(&self, channel: &str, id: Uuid) -> Outcome {
        let activity = format!("notifications.{channel}");
        let input = json!({ "notificationId": id });
        run_batch(&self.registry, channel, &activity, vec![(Uuid::now_v7(), input)])
            .await
            .remove(0)
    }

    async fn row(&self, id: Uuid) -> Row {
        sqlx::query_as("select status, provider_id, problem, attempts from ticketing.notifications where id = $1")
            .bind(id)
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
    }
}

fn mailer(url: &str) -> Mailer {
    let from = "Sagaline <tickets@sagaline.example>".to_owned();
    Mailer::new(&MailConfig {
        url: url.to_owned(),
        from,
    })
    .unwrap()
}

fn twilio(providers: &Messaging) -> Twilio {
    let options = providers.options();
    Twilio::new(&TwilioConfig {
        base_url: providers.url(),
        account_sid: options.account_sid.clone(),
        auth_token: options.auth_token.clone(),
        from: "+15005550006".to_owned(),
        callback_url: "https://shop.example/webhooks/twilio".to_owned(),
    })
    .unwrap()
}

fn fcm(providers: &Messaging, credentials: GoogleCredentials) -> Fcm {
    Fcm::new(&FcmConfig {
        base_url: providers.url(),
        project: providers.options().project.clone(),
        credentials,
    })
    .unwrap()
}

fn wish(user: &str) -> Value {
    json!({
        "bookingId": Uuid::now_v7(), "userId": user, "email": "buyer@example.org", "kind": "booking_confirmed",
        "data": { "event": "The Tour", "venue": "Garden", "date": "2027-06-12T19:00:00-04:00", "seats": ["A15", "A16"],
                  "totalCents": 80_000, "currency": "usd", "confirmationNumber": "SL-12345-67890" },
    })
}

/// How an attempt ended, in a word.
fn end(outcome: &Outcome) -> (&str, bool) {
    match outcome {
        Outcome::Succeeded { .. } => ("sent", false),
        Outcome::Failed { code, retryable, .. } => (code, *retryable),
        Outcome::Unknown { .. } => ("unknown", true),
        other => panic!("{other:?}"),
    }
}

/// A gateway that prints what is to be printed; none: it has no tickets.
async fn gateway(document: Option<&'static [u8]>) -> String {
    use axum::http::{HeaderMap, StatusCode};
    let print = move |axum::extract::Path(booking): axum::extract::Path<Uuid>, headers: HeaderMap| async move {
        let expected = format!("Permit {}", tickets::permit("secret", booking));
        match document {
            _ if headers["authorization"] != expected.as_str() => Err(StatusCode::UNAUTHORIZED),
            Some(document) => Ok(document),
            None => Err(StatusCode::CONFLICT),
        }
    };
    let router = axum::Router::new().route("/internal/bookings/{booking}/tickets.pdf", axum::routing::get(print));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(ANYWHERE)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Sends a message by mail, with tickets from this gateway.
async fn mail_with_tickets(office: &Office, gateway: &str, id: Uuid) -> Outcome {
    let mut registry = Registry::new();
    let printer = Some(TicketPrinter::new(gateway, "secret").unwrap());
    let mailer: Arc<dyn Provider> = Arc::new(mailer(&office.sink.url()));
    let pool = office.database.pool.clone();
    notifications::register_channel(&mut registry, pool, Channel::Email, mailer, printer).unwrap();
    let tasks = vec![(Uuid::now_v7(), json!({ "notificationId": id }))];
    run_batch(&registry, "email", "notifications.email", tasks)
        .await
        .remove(0)
}

#[tokio::test]
async fn a_confirmation_has_its_tickets_with_it() {
    let office = Office::open().await;
    let printing = gateway(Some(b"%PDF-1.7\n\xff\xfe tickets")).await;
    let id = office.mail_to("buyer@example.org").await;
    let first: Value = read(mail_with_tickets(&office, &printing, id).await).unwrap();
    let second: Value = read(mail_with_tickets(&office, &printing, id).await).unwrap();
    assert_eq!((first, office.sink.total()), (second, 1));
    let mail = office.sink.messages().remove(0);
    assert!(
        mail.header("content-type").unwrap().starts_with("multipart/mixed"),
        "{}",
        mail.data
    );
    for part in [
        "multipart/alternative",
        "text/html",
        "application/pdf",
        "filename=\"tickets.pdf\"",
        "JVBERi0xLjcK",
    ] {
        assert!(mail.data.contains(part), "{part} in {}", mail.data);
    }
}

#[tokio::test]
async fn a_mail_without_tickets_is_a_mail_all_the_same() {
    let office = Office::open().await;
    // Given back since.
    let id = office.mail_to("one@example.org").await;
    assert_eq!(
        end(&mail_with_tickets(&office, &gateway(None).await, id).await),
        ("sent", false)
    );
    // What is no document, or too large for a mail.
    let id = office.mail_to("two@example.org").await;
    let again = mail_with_tickets(&office, &gateway(Some(b"<html>")).await, id).await;
    assert_eq!(end(&again), ("provider_unavailable", true));
    let large = Vec::leak([b"%PDF-".as_slice(), &[b' '; 1_000_000]].concat());
    assert_eq!(
        end(&mail_with_tickets(&office, &gateway(Some(large)).await, id).await),
        ("sent", false)
    );
    for mail in office.sink.messages() {
        assert!(!mail.data.contains("application/pdf"), "{}", mail.data);
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_is_waited_for_and_not_for_ever() {
    let office = Office::open().await;
    let unused = tokio::net::TcpListener::bind(SocketAddr::from(ANYWHERE)).await.unwrap();
    let away = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let id = office.mail_to("buyer@example.org").await;
    for _ in 1..8 {
        assert_eq!(
            end(&mail_with_tickets(&office, &away, id).await),
            ("provider_unavailable", true)
        );
    }
    assert_eq!(office.sink.total(), 0);
    assert_eq!(end(&mail_with_tickets(&office, &away, id).await), ("sent", false));
    assert_eq!(office.sink.total(), 1);
}

#[tokio::test]
async fn a_message_goes_out_once_however_often_the_task_comes() {
    let office = Office::open().await;
    let id = office.mail_to("buyer@example.org").await;
    let first: Value = read(office.deliver("email", id).await).unwrap();
    let second: Value = read(office.deliver("email", id).await).unwrap();
    assert_eq!(first, second);
    assert_eq!(office.sink.total(), 1);
    let mail = office.sink.messages().remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to.join(",")),
        ("tickets@sagaline.example", "buyer@example.org".to_owned())
    );
    assert_eq!(json!(mail.header("message-id")), first["messageId"]);
    assert!(mail.data.contains("SL-12345-67890") && mail.data.contains("text/html"));
    assert_eq!(office.row(id).await.status, "sent");
    assert_eq!(
        end(&office.deliver("email", Uuid::now_v7()).await),
        ("no_message", false)
    );
    // A message of another channel is none of this one's.
    assert_eq!(end(&office.deliver("sms", id).await), ("no_message", false));
}

#[tokio::test]
async fn a_wish_comes_to_messages_by_every_channel_its_user_wants_in_their_language() {
    let office = Office::open().await;
    let account = Uuid::now_v7();
    office
        .prefers(account, "de", &["email", "sms", "push"], Some("+4915112345678"))
        .await;
    office.owns(account, "device-1").await;
    let messages = office.wish(wish(&format!("usr_{}", account.simple()))).await;
    assert_eq!(messages.keys().collect::<Vec<_>>(), ["email", "push", "sms"]);
    for (channel, id) in &messages {
        assert_eq!(end(&office.deliver(channel, *id).await), ("sent", false), "{channel}");
        // The same again is no second message.
        assert_eq!(end(&office.deliver(channel, *id).await), ("sent", false), "{channel}");
        assert_eq!(office.row(*id).await.status, "sent");
    }
    assert_eq!((office.sink.total(), office.providers.total()), (1, 2));
    let mail = office.sink.messages().remove(0);
    assert!(
        mail.data.contains("Content-Language: de") || mail.data.contains("Buchung"),
        "{}",
        mail.data
    );
    for captured in office.providers.messages() {
        assert!(
            captured.text.contains("SL-12345-67890") && captured.text.contains("Plätze"),
            "{captured:?}"
        );
        let [to, said] = match captured.channel {
            "sms" => ["+4915112345678", &captured.source["StatusCallback"].to_string()].map(str::to_owned),
            _ => [
                "device-1",
                &captured.source["message"]["android"]["notification"]["tag"].to_string(),
            ]
            .map(str::to_owned),
        };
        assert_eq!(captured.to, to);
        assert!(said.contains(&messages[captured.channel].to_string()), "{said}");
    }
}

#[tokio::test]
async fn each_refusal_is_told_apart() {
    let office = Office::open().await;
    let injected = office.mail_to("a@example.org>\r\nRCPT TO:<b@example.org").await;
    assert_eq!(end(&office.deliver("email", injected).await), ("no_recipient", false));
    let refused = office.mail_to("nobody@example.org").await;
    office
        .sink
        .fail_next(SinkFault::RefuseRecipient("550 5.1.1 no such user".into()));
    assert_eq!(end(&office.deliver("email", refused).await), ("rejected", false));
    let row = office.row(refused).await;
    assert_eq!(row.status, "failed");
    assert!(row.problem.unwrap().contains("no such user"));

    let id = office.mail_to("buyer@example.org").await;
    for fault in [
        SinkFault::RefuseRecipient("450 4.2.1 come again".into()),
        SinkFault::RefuseMessage("451 4.3.0 come again".into()),
        SinkFault::RefuseMessage("535 5.7.8 who are you?".into()),
    ] {
        office.sink.fail_next(fault);
        assert_eq!(end(&office.deliver("email", id).await), ("provider_unavailable", true));
    }
    assert_eq!(office.sink.total(), 0);
    read::<Value>(office.deliver("email", id).await).unwrap();
    assert_eq!((office.sink.total(), office.row(id).await.attempts), (1, 4));
}

#[tokio::test]
async fn a_cut_after_the_message_is_unknown_and_a_repeat_has_the_same_id() {
    let office = Office::open().await;
    let id = office.mail_to("buyer@example.org").await;
    office.sink.fail_next(SinkFault::CutAfterMessage);
    assert_eq!(end(&office.deliver("email", id).await), ("unknown", true));
    read::<Value>(office.deliver("email", id).await).unwrap();
    let sent = office.sink.messages();
    let ids: Vec<_> = sent.iter().map(|mail| mail.header("message-id").unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_provider_that_is_slow_empty_or_talks_nonsense_is_asked_again() {
    let office = Office::open().await;
    let messages = office.reach(Some("+12125550123"), Some("device-1")).await;
    for channel in ["sms", "push"] {
        for (fault, expected) in [
            (Fault::TooMany, ("rate_limited", true)),
            (Fault::Busy, ("provider_unavailable", true)),
            (Fault::Broken, ("unknown", true)),
            (Fault::Nonsense, ("unknown", true)),
        ] {
            office.providers.fail_next(fault);
            assert_eq!(
                end(&office.deliver(channel, messages[channel]).await),
                expected,
                "{channel} {fault:?}"
            );
            assert_eq!(office.row(messages[channel]).await.status, "queued");
        }
        assert_eq!(end(&office.deliver(channel, messages[channel]).await), ("sent", false));
    }
    assert_eq!(office.providers.total(), 2);
}

#[tokio::test]
async fn nobody_is_written_to_who_can_not_or_will_not_be() {
    let office = Office::open().await;
    for (number, code) in [(INVALID_NUMBER, "no_recipient"), (OPTED_OUT, "unregistered")] {
        let id = office.reach(Some(number), None).await["sms"];
        assert_eq!(end(&office.deliver("sms", id).await), (code, false));
        assert_eq!(office.row(id).await.status, "failed");
    }
    let gone = format!("{GONE}-1");
    let id = office.reach(None, Some(&gone)).await["push"];
    assert_eq!(end(&office.deliver("push", id).await), ("unregistered", false));
    let devices: i64 = sqlx::query_scalar("select count(*) from ticketing.notification_devices")
        .fetch_one(&office.database.pool)
        .await
        .unwrap();
    assert_eq!(devices, 0, "the device is known no more");
    assert_eq!(office.providers.total(), 0);
}

#[tokio::test]
async fn push_messages_go_with_a_service_accounts_token_that_is_fetched_again_when_it_is_refused() {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2_048).unwrap();
    let options = MessagingOptions {
        service_account_key: Some(key.to_public_key().to_pkcs1_der().unwrap().into_vec()),
        ..MessagingOptions::default()
    };
    let providers = Messaging::start(options, SocketAddr::from(ANYWHERE)).await.unwrap();
    let account = json!({
        "type": "service_account", "client_email": "shop@sagaline.example",
        "private_key": key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
        "token_uri": format!("{}/token", providers.url()),
    });
    let office = Office::with(providers, GoogleCredentials::ServiceAccount(account.to_string())).await;
    let first = office.reach(None, Some("device-1")).await["push"];
    assert_eq!(end(&office.deliver("push", first).await), ("sent", false));
    office.providers.forget_tokens();
    let second = office.reach(None, Some("device-2")).await["push"];
    assert_eq!(
        end(&office.deliver("push", second).await),
        ("provider_unavailable", true)
    );
    assert_eq!(end(&office.deliver("push", second).await), ("sent", false));
}

#[tokio::test]
async fn operations_are_told_by_slack() {
    let office = Office::open().await;
    let wish = json!({"kind": "cancellation_finished", "data": {"event": "<!channel> Tour", "bookings": 50_000}});
    let messages = office.wish(wish).await;
    assert_eq!(end(&office.deliver("slack", messages["slack"]).await), ("sent", false));
    assert_eq!(
        office.providers.messages()[0].text,
        "&lt;!channel&gt; Tour is called off: 50000 bookings settled."
    );
}

#[tokio::test]
async fn without_a_provider_another_attempt_is_worth_it() {
    let office = Office::open().await;
    let unused = tokio::net::TcpListener::bind(SocketAddr::from(ANYWHERE)).await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let mut registry = Registry::new();
    let mailer: Arc<dyn Provider> = Arc::new(mailer(&format!("smtp://{address}")));
    let slack: Arc<dyn Provider> = Arc::new(Slack::new(&format!("http://{address}/x")).unwrap());
    let pool = &office.database.pool;
    notifications::register_channel(&mut registry, pool.clone(), Channel::Email, mailer, None).unwrap();
    notifications::register_channel(&mut registry, pool.clone(), Channel::Slack, slack, None).unwrap();
    let mail = office.mail_to("buyer@example.org").await;
    let told = office
        .wish(json!({"kind": "cancellation_finished", "data": {"event": "Tour"}}))
        .await;
    for (channel, id) in [("email", mail), ("slack", told["slack"])] {
        let tasks = vec![(Uuid::now_v7(), json!({ "notificationId": id }))];
        let outcome = run_batch(&registry, channel, &format!("notifications.{channel}"), tasks)
            .await
            .remove(0);
        assert_eq!(end(&outcome), ("provider_unavailable", true), "{channel}");
    }
}

#[tokio::test]
async fn while_one_attempt_is_at_it_another_does_not_send() {
    let office = Office::open().await;
    let id = office.mail_to("buyer@example.org").await;
    let lease = |seconds: i32| {
        sqlx::query("update ticketing.notifications set leased_until = now() + $2 * interval '1 second' where id = $1")
            .bind(id)
            .bind(seconds)
            .execute(&office.database.pool)
    };
    lease(60).await.unwrap();
    assert_eq!(end(&office.deliver("email", id).await), ("unknown", true));
    assert_eq!(office.sink.total(), 0);
    lease(-1).await.unwrap();
    read::<Value>(office.deliver("email", id).await).unwrap();
    assert_eq!(office.sink.total(), 1);
}

#[test]
fn a_bad_configuration_is_named() {
    let config = |url: &str, from: &str| {
        Mailer::new(&MailConfig {
            url: url.into(),
            from: from.into(),
        })
        .err()
    };
    assert!(
        config("ftp://host", "a@example.org")
            .unwrap()
            .to_string()
            .contains("URL")
    );
    assert!(
        config("smtp://host", "nobody")
            .unwrap()
            .to_string()
            .contains("\"nobody\"")
    );
}

#[tokio::test]
async fn the_sink_keeps_its_manners_and_its_limits() {
    let sink = SmtpSink::start(SocketAddr::from(([127, 0, 0, 1], 0)), 2).await.unwrap();
    let (reader, mut writer) = tokio::net::TcpStream::connect(sink.address())
        .await
        .unwrap()
        .into_split();
    let mut lines = BufReader::new(reader).lines();
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("220"));
    let talk = [
        ("HELO me", "250"),
        ("DATA", "503"),
        ("RCPT TO:<b@example.org>", "503"),
        ("MAIL FROM:a@example.org", "501"),
        ("mail from:<a@example.org> SIZE=10", "250"),
        ("MAIL FROM:<a@example.org>", "503"),
        ("RSET", "250"),
        ("WHAT", "502"),
    ];
    let one_message = [
        ("MAIL FROM:<a@example.org>", "250"),
        ("RCPT TO:<b@example.org>", "250"),
        ("DATA", "354"),
    ];
    let body = [("Subject: s\r\n\r\n..dotted\r\n.", "250")];
    let three = [one_message.as_slice(), &body].concat().repeat(3);
    for (say, hear) in talk.into_iter().chain(three) {
        writer.write_all(format!("{say}\r\n").as_bytes()).await.unwrap();
        let answer = lines.next_line().await.unwrap().unwrap();
        assert!(answer.starts_with(hear), "{say}: {answer}");
    }
    tokio::time::timeout(Duration::from_secs(5), sink.wait_for(3))
        .await
        .unwrap();
    assert_eq!(sink.messages().len(), 2, "the oldest is forgotten");
    assert_eq!(sink.messages()[0].data, "Subject: s\r\n\r\n.dotted\r\n");

    writer
        .write_all("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n".as_bytes())
        .await
        .unwrap();
    for _ in 0..1_100 {
        writer
            .write_all(format!("{}\r\n", "x".repeat(998)).as_bytes())
            .await
            .unwrap();
    }
    writer.write_all(b".\r\n").await.unwrap();
    let mut answer = String::new();
    for _ in 0..4 {
        answer = lines.next_line().await.unwrap().unwrap();
    }
    assert!(answer.starts_with("552"), "{answer}");
    writer
        .write_all(format!("{}\r\n", "y".repeat(10_000)).as_bytes())
        .await
        .unwrap();
    assert!(
        !matches!(lines.next_line().await, Ok(Some(_))),
        "an endless line ends the conversation"
    );
    assert_eq!(sink.total(), 3);
}
