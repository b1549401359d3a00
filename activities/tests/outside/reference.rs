//! The reference workload's activities.

use activities::{Registry, reference};
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::TestDatabase;
use uuid::Uuid;

use crate::support::{read, run_batch};

async fn bench(seats: usize) -> (TestDatabase, Registry) {
    let database = testkit::database().await;
    let create = "create schema bench;
                  create table bench.seats (id text primary key, status text not null default 'available', booking_id text)";
    sqlx::raw_sql(create).execute(&database.pool).await.unwrap();
    let fill = "insert into bench.seats (id) select 's' || n from generate_series(1, $1) n";
    sqlx::query(fill)
        .bind(seats as i32)
        .execute(&database.pool)
        .await
        .unwrap();
    let mut registry = Registry::new();
    reference::register(&mut registry, database.pool.clone());
    (database, registry)
}

async fn run(registry: &Registry, activity: &str, tasks: &[(Uuid, &str, u64)]) -> Vec<String> {
    let input = |(saga, seat, n): &(Uuid, &str, u64)| (*saga, json!({"seatId": seat, "n": n}));
    let outcomes = run_batch(registry, "reference", activity, tasks.iter().map(input).collect()).await;
    outcomes
        .into_iter()
        .map(|outcome| read::<Value>(outcome).map_or_else(|(code, _)| code, |_| "ok".into()))
        .collect()
}

async fn seat(database: &TestDatabase, id: &str) -> (String, Option<String>) {
    let query = sqlx::query_as("select status, booking_id from bench.seats where id = $1");
    query.bind(id).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn a_seat_goes_to_one_saga_and_every_step_can_be_repeated() {
    let (database, registry) = bench(3).await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let tasks = [(one, "s1", 1), (two, "s1", 20), (two, "s2", 20), (two, "nowhere", 20)];
    let answers = run(&registry, "reference.reserve", &tasks).await;
    assert_eq!(answers[2..], ["ok", "seat_unavailable"]);
    assert_eq!(answers[..2].iter().filter(|answer| *answer == "ok").count(), 1);
    assert_eq!(run(&registry, "reference.reserve", &tasks).await, answers);

    let (winner, loser) = if answers[0] == "ok" { (one, two) } else { (two, one) };
    for _ in 0..2 {
        let tasks = [(winner, "s1", 1), (loser, "s1", 1), (loser, "s1", 1)];
        assert_eq!(
            run(&registry, "reference.confirm", &tasks).await,
            ["ok", "seat_unavailable", "seat_unavailable"]
        );
        assert_eq!(seat(&database, "s1").await, ("sold".into(), Some(winner.to_string())));
    }
    assert_eq!(
        run(&registry, "reference.charge", &[(one, "s1", 19), (two, "s2", 20)]).await,
        ["ok", "declined"]
    );
    assert_eq!(run(&registry, "reference.notify", &[(one, "s1", 19)]).await, ["ok"]);
    for _ in 0..2 {
        assert_eq!(
            run(&registry, "reference.release", &[(loser, "s1", 1), (two, "s2", 20)]).await,
            ["ok", "ok"]
        );
        assert_eq!(seat(&database, "s1").await.0, "sold", "another's seat stays");
        assert_eq!(seat(&database, "s2").await, ("available".into(), None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_that_meet_neither_oversell_nor_deadlock() {
    let (database, registry) = bench(20).await;
    let workers = (0..6).map(|worker| {
        let registry = registry.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let seats: Vec<String> = (0..20)
                    .map(|n| format!("s{}", (n * 7 + worker * 3 + round) % 20 + 1))
                    .collect();
                let tasks: Vec<(Uuid, &str, u64)> =
                    seats.iter().map(|seat| (Uuid::now_v7(), seat.as_str(), 1)).collect();
                let answers = run(&registry, "reference.reserve", &tasks).await;
                let won = tasks.into_iter().zip(answers).filter(|(_, answer)| answer == "ok");
                let won: Vec<(Uuid, &str, u64)> = won.map(|(task, _)| task).collect();
                assert!(
                    run(&registry, "reference.confirm", &won)
                        .await
                        .iter()
                        .all(|answer| answer == "ok")
                );
                run(&registry, "reference.release", &won).await;
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    let query = "select count(*) from bench.seats where status <> 'available'";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(query)
            .fetch_one(&database.pool)
            .await
            .unwrap(),
        0
    );
    sqlx::query("select pg_stat_force_next_flush()")
        .execute(&database.pool)
        .await
        .unwrap();
    let query = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(query)
            .fetch_one(&database.pool)
            .await
            .unwrap(),
        0
    );
}
