//! Schedules: each due time fires once, whoever lives and whoever dies.

use std::time::Duration;

use orchestrator::client::*;
use orchestrator::schedules;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use workflows::event::Signal;
use workflows::ids::Timestamp;

use crate::harness::{TestOps, eventually};

/// Every minute; tests turn back its due time rather than wait.
fn spec(name: &str, workflow: &str, overlap: Overlap) -> ScheduleSpec {
    serde_json::from_value(json!({
        "name": name, "cron": "* * * * *", "workflow": workflow, "overlap": overlap,
        "input": {"about": name}, "catchUp": "1h"}))
    .unwrap()
}

/// Makes a schedule as if nobody had looked at it for that many minutes.
async fn neglect(ops: &TestOps, name: &str, minutes: i32) {
    sqlx::query(
        "update saga.schedules set next_due_at = date_trunc('minute', now()) - make_interval(mins => $2) where name = $1",
    )
    .bind(name)
    .bind(minutes)
    .execute(&ops.database.pool)
    .await
    .unwrap();
}

async fn outcomes(ops: &TestOps, name: &str) -> Vec<FiringOutcome> {
    let mut firings = ops.local.firings(name, 500).await.unwrap();
    firings.sort_by_key(|firing| firing.due_at);
    firings.into_iter().map(|firing| firing.outcome).collect()
}

async fn sagas_of(ops: &TestOps, name: &str) -> Vec<SagaSummary> {
    let tag = Some(("schedule".to_owned(), name.to_owned()));
    ops.local
        .list(ListFilter {
            tag,
            limit: Some(500),
            ..ListFilter::default()
        })
        .await
        .unwrap()
        .items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_fire_each_due_time_once() {
    let ops = TestOps::start().await;
    let other = ops.another_engine().await;
    for n in 0..20 {
        let name = format!("s{n}");
        ops.local
            .create_schedule(spec(&name, "instant", Overlap::Allow))
            .await
            .unwrap();
        neglect(&ops, &name, 4).await;
    }
    let stop = CancellationToken::new();
    let runners: Vec<_> = [&ops.engine, &other]
        .map(|engine| tokio::spawn(schedules::run(engine.clone(), stop.clone())))
        .into();
    for n in 0..20 {
        let name = format!("s{n}");
        eventually("five due times have fired", || async {
            let outcomes = outcomes(&ops, &name).await;
            (outcomes.len() >= 5 && outcomes.iter().all(|it| *it == FiringOutcome::Started)).then_some(())
        })
        .await;
    }
    stop.cancel();
    for runner in runners {
        runner.await.unwrap();
    }
    for n in 0..20 {
        let name = format!("s{n}");
        let firings = ops.local.firings(&name, 500).await.unwrap();
        let mut of_firings: Vec<_> = firings.iter().filter_map(|firing| firing.saga).collect();
        let mut of_sagas: Vec<_> = sagas_of(&ops, &name).await.iter().map(|saga| saga.id).collect();
        of_firings.sort();
        of_sagas.sort();
        assert_eq!(of_firings, of_sagas, "one saga for each due time");
    }
    other.shutdown().await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_claim_and_start_or_start_and_note_is_harmless() {
    let ops = TestOps::start().await;
    ops.local
        .create_schedule(spec("crash", "instant", Overlap::Allow))
        .await
        .unwrap();
    neglect(&ops, "crash", 2).await;
    // Died after the claim.
    schedules::claim_due(ops.engine.pool()).await.unwrap();
    assert_eq!(sagas_of(&ops, "crash").await.len(), 0);
    // Another one starts them, and dies before it can write that down.
    assert_eq!(schedules::start_claimed(&ops.engine, Duration::ZERO).await.unwrap(), 3);
    sqlx::query("update saga.firings set outcome = 'claimed', open = true")
        .execute(&ops.database.pool)
        .await
        .unwrap();
    // A third one finds them.
    assert_eq!(schedules::start_claimed(&ops.engine, Duration::ZERO).await.unwrap(), 3);
    assert_eq!(outcomes(&ops, "crash").await, [FiringOutcome::Started; 3]);
    assert_eq!(sagas_of(&ops, "crash").await.len(), 3);
    // A lease keeps others away as long as it lasts.
    neglect(&ops, "crash", -1).await;
    ops.local.run_schedule("crash").await.unwrap();
    sqlx::query("update saga.firings set outcome = 'claimed', open = true")
        .execute(&ops.database.pool)
        .await
        .unwrap();
    sqlx::query("update saga.firings set lease_until = now() + interval '1 hour'")
        .execute(&ops.database.pool)
        .await
        .unwrap();
    assert_eq!(schedules::start_claimed(&ops.engine, Duration::ZERO).await.unwrap(), 0);
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_is_recorded_as_missed() {
    let ops = TestOps::start().await;
    ops.local
        .create_schedule(spec("late", "instant", Overlap::Allow))
        .await
        .unwrap();
    neglect(&ops, "late", 600).await;
    schedules::tick(&ops.engine, schedules::LEASE).await.unwrap();
    let outcomes = outcomes(&ops, "late").await;
    assert_eq!(outcomes[0], FiringOutcome::Missed);
    let fired = outcomes[1..].iter().filter(|it| **it == FiringOutcome::Started).count();
    // The last hour's, to the minute that may pass meanwhile.
    assert!(
        (60..=62).contains(&fired) && fired == outcomes.len() - 1,
        "{outcomes:?}"
    );
    let next = ops.local.schedule("late").await.unwrap().unwrap().next_due_at.unwrap();
    assert!(next > ops.engine.now());
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firings_that_overlap_are_skipped_queued_or_allowed() {
    let ops = TestOps::start().await;
    for (name, overlap) in [
        ("skip", Overlap::Skip),
        ("queue", Overlap::Queue),
        ("allow", Overlap::Allow),
    ] {
        ops.local.create_schedule(spec(name, "patient", overlap)).await.unwrap();
        neglect(&ops, name, 2).await;
    }
    schedules::tick(&ops.engine, schedules::LEASE).await.unwrap();
    use FiringOutcome::{Queued, Skipped, Started};
    assert_eq!(outcomes(&ops, "skip").await, [Started, Skipped, Skipped]);
    assert_eq!(outcomes(&ops, "queue").await, [Started, Queued, Skipped]);
    assert_eq!(outcomes(&ops, "allow").await, [Started, Started, Started]);

    // Nothing changes while the first one runs.
    schedules::tick(&ops.engine, schedules::LEASE).await.unwrap();
    assert_eq!(outcomes(&ops, "queue").await[1], Queued);
    let first = sagas_of(&ops, "queue").await[0].id;
    let go = Signal {
        id: "go".to_owned(),
        name: "go".to_owned(),
        payload: json!({"words": "x"}),
    };
    ops.local.signal(first, go).await.unwrap();
    ops.local
        .wait(first, Until::Settled, Duration::from_secs(20))
        .await
        .unwrap();
    schedules::tick(&ops.engine, schedules::LEASE).await.unwrap();
    assert_eq!(outcomes(&ops, "queue").await[1], Started);
    assert_eq!(sagas_of(&ops, "queue").await.len(), 2);
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_fires_what_has_not_fired() {
    let ops = TestOps::start().await;
    ops.local
        .create_schedule(spec("fill", "instant", Overlap::Allow))
        .await
        .unwrap();
    let minute = 60_000;
    let to = Timestamp(ops.engine.now().0 / minute * minute);
    let from = Timestamp(to.0 - 10 * minute);
    let filled = ops.local.backfill_schedule("fill", from, to).await.unwrap();
    assert_eq!(filled.len(), 10);
    assert_eq!((filled[0].due_at, filled[0].origin), (from, FiringOrigin::Backfill));
    assert_eq!(outcomes(&ops, "fill").await, [FiringOutcome::Started; 10]);
    assert_eq!(ops.local.backfill_schedule("fill", from, to).await.unwrap(), []);
    assert_eq!(sagas_of(&ops, "fill").await.len(), 10);

    // Where sagas may not overlap, they run one after the other.
    ops.local
        .create_schedule(spec("line", "patient", Overlap::Skip))
        .await
        .unwrap();
    ops.local
        .backfill_schedule("line", Timestamp(to.0 - 2 * minute), to)
        .await
        .unwrap();
    assert_eq!(
        outcomes(&ops, "line").await,
        [FiringOutcome::Started, FiringOutcome::Queued]
    );

    for (from, to) in [
        (to, from),
        (from, Timestamp(to.0 + 24 * 60 * minute)),
        (Timestamp(0), to),
    ] {
        let error = ops.local.backfill_schedule("fill", from, to).await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid { .. }), "{error:?}");
    }
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_is_written_down() {
    let ops = TestOps::start().await;
    ops.local
        .create_schedule(spec("stale", "instant", Overlap::Skip))
        .await
        .unwrap();
    sqlx::query("update saga.schedules set workflow = 'gone'")
        .execute(&ops.database.pool)
        .await
        .unwrap();
    let fired = ops.local.run_schedule("stale").await.unwrap();
    assert_eq!(fired.outcome, FiringOutcome::Refused);
    assert!(fired.note.unwrap().contains("gone"));
    ops.stop().await;
}
