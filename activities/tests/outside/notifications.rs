//! E-mail over real SMTP conversations.

use std::net::SocketAddr;
use std::time::Duration;

use activities::Registry;
use activities::notifications::sink::SinkFault;
use activities::notifications::{self, MailConfig, Mailer, SmtpSink};
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::support::{read, run_batch};

struct Office {
    database: TestDatabase,
    sink: SmtpSink,
    registry: Registry,
}

impl Office {
    async fn open() -> Office {
        let database = testkit::migrated_database().await;
        let sink = SmtpSink::start(SocketAddr::from(([127, 0, 0, 1], 0)), 10)
            .await
            .unwrap();
        let mailer = Mailer::new(&MailConfig {
            url: sink.url(),
            from: "Sagaline <tickets@sagaline.example>".into(),
        });
        let mut registry = Registry::new();
        notifications::register(&mut registry, database.pool.clone(), mailer.unwrap());
        Office {
            database,
            sink,
            registry,
        }
    }

    async fn send(&self, booking: Uuid, input: Value) -> Outcome {
        run_batch(
            &self.registry,
            "notifications",
            "notifications.email",
            vec![(booking, input)],
        )
        .await
        .remove(0)
    }
}

fn input(booking: Uuid) -> Value {
    json!({
        "bookingId": booking, "to": "buyer@example.org", "template": "booking_confirmed",
        "data": { "event": "The Tour", "venue": "Garden", "date": "2027-06-12T19:00:00-04:00", "seats": ["A15", "A16"],
                  "totalCents": 80_000, "currency": "usd", "confirmationNumber": "SL-12345-67890" },
    })
}

fn code(outcome: &Outcome) -> (&str, bool) {
    match outcome {
        Outcome::Failed { code, retryable, .. } => (code, *retryable),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_goes_out_once_however_often_the_task_comes() {
    let office = Office::open().await;
    let booking = Uuid::now_v7();
    let first: Value = read(office.send(booking, input(booking)).await).unwrap();
    let second: Value = read(office.send(booking, input(booking)).await).unwrap();
    assert_eq!(first, second);
    assert_eq!(office.sink.total(), 1);
    let mail = office.sink.messages().remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to),
        ("tickets@sagaline.example", vec!["buyer@example.org".to_owned()])
    );
    assert_eq!(
        json!(mail.data.lines().find_map(|line| line.strip_prefix("Message-ID: "))),
        first["messageId"]
    );
    assert!(mail.data.contains("SL-12345-67890"));

    let other = Uuid::now_v7();
    let mut cancelled = input(other);
    cancelled["template"] = json!("booking_cancelled");
    cancelled["data"]["confirmationNumber"] = Value::Null;
    read::<Value>(office.send(other, cancelled).await).unwrap();
    assert_eq!(
        office.sink.messages()[1].header("subject").unwrap(),
        "Your booking for The Tour was cancelled"
    );
}

#[tokio::test]
async fn each_refusal_is_told_apart() {
    let office = Office::open().await;
    let booking = Uuid::now_v7();
    let with = |to: Value| {
        let mut input = input(booking);
        input["to"] = to;
        input
    };
    assert_eq!(
        code(&office.send(booking, with(Value::Null)).await),
        ("no_recipient", false)
    );
    assert_eq!(
        code(&office.send(booking, with(json!(" "))).await),
        ("no_recipient", false)
    );
    let injected = with(json!("a@example.org>\r\nRCPT TO:<b@example.org"));
    assert_eq!(code(&office.send(booking, injected).await), ("no_recipient", false));

    office
        .sink
        .fail_next(SinkFault::RefuseRecipient("550 5.1.1 no such user".into()));
    assert_eq!(
        code(&office.send(booking, input(booking)).await),
        ("smtp_rejected", false)
    );
    office
        .sink
        .fail_next(SinkFault::RefuseRecipient("450 4.2.1 come again".into()));
    assert_eq!(
        code(&office.send(booking, input(booking)).await),
        ("smtp_unavailable", true)
    );
    office
        .sink
        .fail_next(SinkFault::RefuseMessage("451 4.3.0 come again".into()));
    assert_eq!(
        code(&office.send(booking, input(booking)).await),
        ("smtp_unavailable", true)
    );
    office
        .sink
        .fail_next(SinkFault::RefuseMessage("535 5.7.8 who are you?".into()));
    assert_eq!(
        code(&office.send(booking, input(booking)).await),
        ("smtp_unavailable", true)
    );
    assert_eq!(office.sink.total(), 0);
    read::<Value>(office.send(booking, input(booking)).await).unwrap();
    assert_eq!(office.sink.total(), 1);
}

#[tokio::test]
async fn a_cut_after_the_message_is_unknown_and_a_repeat_has_the_same_id() {
    let office = Office::open().await;
    let booking = Uuid::now_v7();
    office.sink.fail_next(SinkFault::CutAfterMessage);
    let outcome = office.send(booking, input(booking)).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    read::<Value>(office.send(booking, input(booking)).await).unwrap();
    let ids: Vec<_> = office
        .sink
        .messages()
        .iter()
        .map(|mail| mail.header("message-id").unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn without_a_mail_server_another_attempt_is_worth_it() {
    let office = Office::open().await;
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = MailConfig {
        url: format!("smtp://{unused}"),
        from: "tickets@sagaline.example".into(),
    };
    let mut registry = Registry::new();
    notifications::register(
        &mut registry,
        office.database.pool.clone(),
        Mailer::new(&config).unwrap(),
    );
    let booking = Uuid::now_v7();
    let tasks = vec![(booking, input(booking))];
    let outcome = run_batch(&registry, "notifications", "notifications.email", tasks)
        .await
        .remove(0);
    assert_eq!(code(&outcome), ("smtp_unavailable", true));
}

#[tokio::test]
async fn while_one_attempt_is_at_it_another_does_not_send() {
    let office = Office::open().await;
    let booking = Uuid::now_v7();
    let query = "insert into ticketing.notifications_sent (key, booking_id, channel, recipient, template, message_id, status, leased_until)
                 values ($1, $2, 'email', 'r', 't', 'm', 'sending', now() + $3 * interval '1 second')
                 on conflict (key) do update set leased_until = excluded.leased_until";
    let lease = |seconds: i32| {
        let key = format!("{booking}/notifications.email/1");
        sqlx::query(query)
            .bind(key)
            .bind(booking)
            .bind(seconds)
            .execute(&office.database.pool)
    };
    lease(60).await.unwrap();
    let outcome = office.send(booking, input(booking)).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(office.sink.total(), 0);
    lease(-1).await.unwrap();
    read::<Value>(office.send(booking, input(booking)).await).unwrap();
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
