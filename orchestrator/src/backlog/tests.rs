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

#[test]
fn a_queue_is_full_at_its_limit_and_has_room_again_as_soon_as_tasks_are_answered() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    let limit = UNANSWERED_MIN as u128;
    assert!(!send(&backlog, 0..limit - 1, 0));
    assert!(send(&backlog, limit - 1..limit, 0), "the thousandth fills it");
    assert_eq!(backlog.room("payments", Timestamp(0)).left(), 0);
    assert_eq!(backlog.room("seats", Timestamp(0)).left(), UNANSWERED_MIN, "another queue has its own");
    answer(&backlog, 0..10, &done(), 1);
    let room = backlog.room("payments", Timestamp(1));
    assert_eq!((room.unanswered, room.limit), (UNANSWERED_MIN - 10, UNANSWERED_MIN));
}

#[test]
fn a_batch_takes_no_more_than_there_is_room_for() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..UNANSWERED_MIN as u128 - 2, 0);
    let mut rooms = backlog.rooms(Timestamp(0));
    let taken = |rooms: &mut Rooms, queue| (0..2 * UNANSWERED_MIN).filter(|_| rooms.take(queue)).count();
    assert_eq!(taken(&mut rooms, "payments"), 2);
    assert_eq!(taken(&mut rooms, "seats"), UNANSWERED_MIN);
}

#[test]
fn what_is_sent_or_answered_twice_counts_once() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..10, 0);
    send(&backlog, 0..10, 1);
    assert_eq!(backlog.room("payments", Timestamp(2)).unanswered, 10);
    answer(&backlog, 0..3, &done(), 3);
    answer(&backlog, 0..3, &done(), 4);
    answer(&backlog, 500..600, &done(), 4);
    assert_eq!(backlog.room("payments", Timestamp(5)).unanswered, 7);
}

#[test]
fn a_quick_queue_is_given_what_it_answers_in_three_seconds() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    for second in 0..4 {
        let first = second as u128 * 5_000;
        send(&backlog, first..first + 5_000, second * SECOND);
        answer(&backlog, first..first + 5_000, &done(), second * SECOND + 500);
    }
    assert_eq!(backlog.room("payments", Timestamp(4 * SECOND)).limit, 15_000);
    // Five seconds later nothing is known of its pace any more.
    assert_eq!(backlog.room("payments", Timestamp(9 * SECOND)).limit, UNANSWERED_MIN);
}

#[test]
fn a_queue_whose_tasks_run_out_of_time_is_given_a_few_for_a_minute() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..500, 0);
    let before = backlog.room("payments", Timestamp(TIME - 1));
    assert_eq!((before.unanswered, before.limit, before.late), (500, UNANSWERED_MIN, false));
    let after = backlog.room("payments", Timestamp(TIME + SECOND));
    assert_eq!((after.unanswered, after.limit, after.late), (0, UNANSWERED_LATE_MIN, true));
    // Two hundred at once is what its workers say: so many, twice, are no backlog.
    backlog.set_concurrency(vec![("payments".to_owned(), 200)]);
    assert_eq!(backlog.room("payments", Timestamp(TIME + SECOND)).limit, 400);
    backlog.set_concurrency(Vec::new());
    assert_eq!(backlog.room("payments", Timestamp(TIME + SECOND)).limit, UNANSWERED_LATE_MIN);
    let later = TIME + 2 * SECOND + LATE_FOR.as_millis() as i64;
    assert_eq!(backlog.room("payments", Timestamp(later)).limit, UNANSWERED_MIN);
}

#[test]
fn a_sign_of_life_gives_a_task_its_time_anew() {
    let backlog = Backlog::new(UNANSWERED_MIN);
    send(&backlog, 0..1, 0);
    answer(&backlog, 0..1, &Outcome::Heartbeat {}, TIME - SECOND);
    let room = backlog.room("payments", Timestamp(TIME + SECOND));
    assert_eq!((room.unanswered, room.late), (1, false));
    let room = backlog.room("payments", Timestamp(2 * TIME));
    assert_eq!((room.unanswered, room.late), (0, true));
}

/// A clock that goes back, or stands still for long, loses nothing.
#[test]
fn seconds_may_be_missing_or_come_twice() {
    let mut queue = Queue::default();
    queue.at(100 * SECOND);
    queue.answers[0] = 7;
    queue.at(99 * SECOND);
    assert_eq!(queue.answers[0], 7);
    queue.at(102 * SECOND);
    assert_eq!(queue.answers, [0, 0, 7, 0, 0]);
    queue.at(1_000 * SECOND);
    assert_eq!(queue.answers, [0; SECONDS]);
}
