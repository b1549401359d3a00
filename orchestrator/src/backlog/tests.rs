use serde_json::Value;
use uuid::Uuid;
use workflows::ids::SagaId;
use workflows::protocol::Role;

use super::*;
use crate::options::UNANSWERED_MIN;

const SECOND: i64 = 1_000;
const TIME: i64 = 30 * SECOND;

fn task(number: u128, deadline_ms: i64) -> Task {
    Task {
        token: Token {
            saga: SagaId(Uuid::from_u128(number)),
            step: "pay".to_owned(),
            role: Role::Run,
            attempt: 1,
            epoch: 1,
        },
        workflow: "booking".to_owned(),
        activity: "payments.charge".to_owned(),
        key: String::new(),
        input: Value::Null,
        deadline: Timestamp(deadline_ms),
        traceparent: None,
    }
}

/// Sends tasks of these numbers; whether the queue is full then.
fn send(backlog: &Backlog, numbers: std::ops::Range<u128>, now_ms: i64) -> bool {
    let mut sent = Sent::default();
    for number in numbers {
        sent.note("payments", &task(number, now_ms + TIME));
    }
    !backlog.sent(sent, Timestamp(now_ms)).is_empty()
}

fn answer(backlog: &Backlog, numbers: std::ops::Range<u128>, outcome: &Outcome, now_ms: i64) {
    let results: Vec<TaskResult> = numbers
        .map(|number| TaskResult {
            token: task(number, 0).token,
            outcome: outcome.clone(),
        })
        .collect();
    backlog.answered(results.iter(), Timestamp(now_ms));
}

fn done() -> Outcome {
    Outcome::Succeeded { output: Value::Null }
}

fn left(backlog: &Backlog, queue: &str, now_ms: i64) -> usize {
    let mut rooms = backlog.rooms(Timestamp(now_ms));
    (0..100_000).take_while(|_| rooms.take(queue)).count()
}

#[test]
fn a_queue_is_full_at_its_limit_and_has_room_again_as_soon_as_tasks_are_answered() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    let limit = UNANSWERED_MIN as u128;
    assert!(!send(&backlog, 0..limit - 1, 0));
    assert!(send(&backlog, limit - 1..limit, 0), "the thousandth fills it");
    assert_eq!(left(&backlog, "payments", 0), 0);
    assert_eq!(left(&backlog, "seats", 0), UNANSWERED_MIN, "another queue has its own");
    answer(&backlog, 0..10, &done(), 1);
    assert_eq!(left(&backlog, "payments", 1), 10);
}

#[test]
fn what_is_sent_or_answered_twice_counts_once() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..100, 0);
    send(&backlog, 0..100, 1);
    assert_eq!(left(&backlog, "payments", 2), UNANSWERED_MIN - 100);
    answer(&backlog, 0..30, &done(), 3);
    answer(&backlog, 0..3, &done(), 4);
    assert_eq!(left(&backlog, "payments", 5), UNANSWERED_MIN - 70);
}

#[test]
fn what_is_let_through_has_its_room_already() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    let underway: Vec<Underway> = (0..10).map(|_| backlog.underway("payments")).collect();
    assert_eq!(left(&backlog, "payments", 0), UNANSWERED_MIN - 10);
    assert_eq!(backlog.room_for_held("payments", Timestamp(0)), UNANSWERED_MIN - 10);
    assert_eq!(left(&backlog, "seats", 0), UNANSWERED_MIN);
    drop(underway);
    assert_eq!(left(&backlog, "payments", 0), UNANSWERED_MIN);
}

#[test]
fn a_quick_queue_is_given_what_it_answers_in_three_seconds() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    for second in 0..4 {
        let first = second as u128 * 5_000;
        send(&backlog, first..first + 5_000, second * SECOND);
        answer(&backlog, first..first + 5_000, &done(), second * SECOND + 500);
    }
    assert_eq!(left(&backlog, "payments", 4 * SECOND), 15_000);
    // Five seconds later nothing is known of its pace any more.
    assert_eq!(left(&backlog, "payments", 9 * SECOND), UNANSWERED_MIN);
}

/// Ten seconds each, and two thousand at once: two hundred a second, whose three seconds are less than what is in their hands.
#[test]
fn a_queue_is_given_twice_what_its_workers_do_at_once() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    backlog.set_concurrency(vec![("payments".to_owned(), 2_000)]);
    assert_eq!(left(&backlog, "payments", 0), 4_000);
    backlog.set_concurrency(Vec::new());
    assert_eq!(left(&backlog, "payments", 0), UNANSWERED_MIN);
}

#[test]
fn a_queue_whose_tasks_run_out_of_time_is_given_a_few_until_none_waits() {
    let late = ANSWER_LATE.as_millis() as i64;
    let minute = LATE_FOR.as_millis() as i64;
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..500, 0);
    assert_eq!(
        left(&backlog, "payments", TIME + late - 1),
        500,
        "answers may still come"
    );
    let over = TIME + late + SECOND;
    assert_eq!(left(&backlog, "payments", over), UNANSWERED_LATE_MIN);
    // As long as tasks wait for it, it is not tried with more.
    assert_eq!(
        backlog.room_for_held("payments", Timestamp(over + minute - SECOND)),
        UNANSWERED_LATE_MIN
    );
    assert_eq!(left(&backlog, "payments", over + minute + SECOND), UNANSWERED_LATE_MIN);
    assert_eq!(left(&backlog, "payments", over + 2 * minute), UNANSWERED_MIN);
}

#[test]
fn a_few_that_hang_make_no_queue_late() {
    let late = ANSWER_LATE.as_millis() as i64;
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..LATE_TASKS_MIN as u128 - 1, 0);
    assert_eq!(left(&backlog, "payments", TIME + late), UNANSWERED_MIN);
    // Nor do more, among many that were answered.
    send(&backlog, 1_000..1_010, TIME);
    send(&backlog, 10_000..11_000, 2 * TIME + late);
    answer(&backlog, 10_000..11_000, &done(), 2 * TIME + late);
    assert!(left(&backlog, "payments", 2 * TIME + late + 1) >= UNANSWERED_MIN);
}

#[test]
fn a_sign_of_life_gives_a_task_its_time_anew() {
    let late = ANSWER_LATE.as_millis() as i64;
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..100, 0);
    answer(&backlog, 0..100, &Outcome::Heartbeat {}, TIME - SECOND);
    assert_eq!(left(&backlog, "payments", TIME + late), UNANSWERED_MIN - 100);
    assert_eq!(left(&backlog, "payments", 2 * TIME + late), UNANSWERED_LATE_MIN);
}

/// Workers that send their answers anywhere: each replica gets those of others, and is never told of many of its own.
#[test]
fn where_answers_go_to_others_nothing_is_limited() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    assert!(send(&backlog, 0..UNANSWERED_MIN as u128, 0));
    answer(&backlog, 0..100, &done(), 1);
    answer(&backlog, 5_000..5_011, &done(), 1);
    assert_eq!(left(&backlog, "payments", 1), 100, "a few may be repetitions");
    answer(&backlog, 5_011..5_100, &done(), 2);
    assert_eq!(left(&backlog, "payments", 2), 100_000);
    assert!(!send(&backlog, 20_000..22_000, 3));
    // Partitions have moved: what was sent before is answered elsewhere, and costs no room here.
    backlog.forget(true);
    assert_eq!(left(&backlog, "payments", 7 * SECOND), UNANSWERED_MIN);
}

/// More replicas than partitions: this one sends what its callers begin, and others hear what comes of it.
#[test]
fn a_replica_that_reads_no_answers_limits_nothing() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    assert!(send(&backlog, 0..UNANSWERED_MIN as u128, 0));
    backlog.forget(false);
    assert!(!send(&backlog, 0..2 * UNANSWERED_MIN as u128, 1));
    assert!(backlog.has_room("payments", Timestamp(1)));
    assert_eq!(left(&backlog, "payments", 1), 100_000);
    backlog.forget(true);
    assert_eq!(left(&backlog, "payments", 2), UNANSWERED_MIN);
}

/// A clock that goes back, or stands still for long, loses nothing.
#[test]
fn seconds_may_be_missing_or_come_twice() {
    let mut recent = Recent::default();
    for _ in 0..7 {
        recent.add(100 * SECOND);
    }
    assert_eq!(recent.at(99 * SECOND)[0], 7);
    assert_eq!(*recent.at(102 * SECOND), [0, 0, 7, 0, 0]);
    assert_eq!((recent.sum(102 * SECOND), recent.best(102 * SECOND)), (7, 7));
    assert_eq!(*recent.at(1_000 * SECOND), [0; SECONDS]);
}
