//! Sagas started by the clock.
//!
//! Each due time becomes one row of `saga.firings`, whose primary key (schedule, due time) makes it fire once over
//! all replicas. A firing goes: claimed (or queued, skipped, missed) in the transaction that moves its schedule on,
//! then leased by one replica, then started. The saga's id is chosen with the claim, and it is started with
//! the idempotency key `schedule/<name>/<due>`: a replica may die between any two of these steps, another
//! takes the firing over when its lease has run out and begins the same saga, or finds that it was begun.

pub mod calendar;
pub mod store;

use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use workflows::ids::Timestamp;

use crate::client::check::Problems;
use crate::client::{BACKFILL_MAX, ClientError, Firing, FiringOrigin, FiringOutcome, Overlap, Schedule, ScheduleSpec};
use crate::{Engine, EngineError, NewSaga};
use calendar::{CRON_CHARS_MAX, Calendar, CalendarError};
use store::{Claimed, Finished, NewFiring};

/// Schedules handled in one transaction.
const SCHEDULES_PER_TICK_MAX: i64 = 100;
/// Due times of one schedule handled in one transaction; the rest follows in the next, so that one schedule that
/// has much to make up for does not keep the others waiting.
const DUE_TIMES_PER_TICK_MAX: usize = 100;
/// Firings started at once: a part of one engine batch.
const STARTS_PER_TICK_MAX: i64 = 500;
/// A firing whose replica has not started it by then is taken over.
pub const LEASE: Duration = Duration::from_secs(15);
/// The longest sleep: schedules and ends of sagas on other replicas are seen after that.
const POLL_MAX: Duration = Duration::from_secs(1);
/// How long the history of firings is kept.
const KEEP_FIRINGS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often old firings are forgotten, and how many at a time.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
const PURGE_MAX: i64 = 5_000;
/// Characters of a schedule's name: with the due time behind it, it is an idempotency key.
const NAME_CHARS_MAX: usize = 100;
/// The label by which a schedule's sagas are found.
const TAG: &str = "schedule";
/// How the idempotency keys of scheduled starts begin: nobody else's should.
pub const KEYS: &str = "schedule/";

/// Fires schedules until `stop`. Run one in each orchestrator process; they share the work.
pub async fn run(engine: Engine, stop: CancellationToken) {
    let mut purged_at = Instant::now();
    let mut busy = true;
    loop {
        if busy && let Err(error) = tick(&engine, LEASE).await {
            tracing::warn!(%error, "schedules could not be looked at; trying again");
        }
        if purged_at.elapsed() >= PURGE_INTERVAL {
            purged_at = Instant::now();
            if let Err(error) = store::purge(engine.pool(), KEEP_FIRINGS, PURGE_MAX).await {
                tracing::warn!(%error, "old firings were not forgotten");
            }
        }
        // Most looks find nothing: one statement says so.
        let wait;
        (busy, wait) = match store::look(engine.pool()).await {
            Ok((busy, due_in)) => {
                let wait = due_in.map_or(POLL_MAX, |wait| wait.clamp(Duration::from_millis(10), POLL_MAX));
                // What is due by then is found by whoever looks then.
                (busy || wait < POLL_MAX, wait)
            }
            Err(_) => (true, POLL_MAX),
        };
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Everything that is due at this moment, once: claims due times, lets queued firings go ahead, starts what is
/// claimed. Gives how many sagas were started.
pub async fn tick(engine: &Engine, lease: Duration) -> Result<usize, ClientError> {
    claim_due(engine.pool()).await?;
    start_claimed(engine, lease).await
}

/// Turns due times into firings and moves their schedules on, in one transaction.
pub async fn claim_due(pool: &PgPool) -> Result<(), ClientError> {
    let mut transaction = pool.begin().await?;
    let due = store::lock_due(&mut transaction, SCHEDULES_PER_TICK_MAX).await?;
    store::close_settled(&mut transaction).await?;
    if !due.is_empty() {
        let names: Vec<String> = due.iter().map(|(schedule, _)| schedule.name.clone()).collect();
        // A statement of its own, after the locks: it sees what the last holder of the locks has written.
        let busy = store::busy(&mut transaction, &names).await?;
        let mut firings = Vec::new();
        let mut moves = Vec::new();
        for (schedule, now) in &due {
            let plan = plan(schedule, *now, busy.get(&schedule.name).copied())?;
            firings.extend(plan.firings);
            moves.push((schedule.name.clone(), plan.next_due_at, plan.last_due_at));
        }
        store::insert_firings(&mut transaction, FiringOrigin::Due, &firings, false).await?;
        store::move_on(&mut transaction, &moves).await?;
        count(&firings);
    }
    store::release_queued(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

fn count(firings: &[NewFiring]) {
    for firing in firings {
        match firing.outcome {
            FiringOutcome::Skipped => {
                metrics::counter!("sagaline_schedule_firings_total", "outcome" => "skipped").increment(1);
            }
            FiringOutcome::Missed => {
                metrics::counter!("sagaline_schedule_firings_total", "outcome" => "missed").increment(1);
                tracing::warn!(schedule = firing.schedule, due_at = %firing.due_at.to_rfc3339(), "due times were missed");
            }
            FiringOutcome::Claimed | FiringOutcome::Queued | FiringOutcome::Started | FiringOutcome::Refused => {}
        }
    }
}

/// What to do about a due schedule.
#[derive(Debug, PartialEq)]
struct Plan {
    firings: Vec<NewFiring>,
    next_due_at: Option<Timestamp>,
    last_due_at: Option<Timestamp>,
}

/// Decides about a schedule's due times up to `now`. `busy`: an earlier firing is in the way; and whether one waits.
fn plan(schedule: &Schedule, now: Timestamp, busy: Option<bool>) -> Result<Plan, ClientError> {
    let calendar = stored_calendar(schedule)?;
    let (mut in_the_way, mut queued) = (busy.is_some(), busy == Some(true));
    let mut firings: Vec<NewFiring> = Vec::new();
    let firing = |due_at, outcome, note: Option<&str>| {
        let note = note.map(str::to_owned);
        NewFiring {
            schedule: schedule.name.clone(),
            due_at,
            outcome,
            note,
        }
    };
    let oldest = Timestamp(
        now.0
            .saturating_sub(i64::try_from(schedule.catch_up.as_millis()).unwrap_or(i64::MAX)),
    );
    let mut next = schedule.next_due_at;
    let mut last = None;
    // One row stands for all that is too old: a schedule of every second and a week without us would be 600,000.
    if let Some(missed) = next.filter(|due| *due < oldest) {
        let note = format!(
            "nobody was there to fire it; neither for any due time before {}",
            oldest.to_rfc3339()
        );
        firings.push(firing(missed, FiringOutcome::Missed, Some(&note)));
        last = Some(missed);
        next = calendar.after(Timestamp(oldest.0 - 1));
    }
    while let Some(due) = next.filter(|due| *due <= now && firings.len() < DUE_TIMES_PER_TICK_MAX) {
        firings.push(match (schedule.overlap, in_the_way, queued) {
            (Overlap::Allow, _, _) | (_, false, _) => firing(due, FiringOutcome::Claimed, None),
            (Overlap::Queue, true, false) => {
                queued = true;
                firing(due, FiringOutcome::Queued, None)
            }
            (Overlap::Queue, true, true) => firing(
                due,
                FiringOutcome::Skipped,
                Some("an earlier firing's saga runs, and another one waits already"),
            ),
            (Overlap::Skip, true, _) => {
                firing(due, FiringOutcome::Skipped, Some("an earlier firing's saga still runs"))
            }
        });
        in_the_way = true;
        last = Some(due);
        next = calendar.after(due);
    }
    Ok(Plan {
        firings,
        next_due_at: next,
        last_due_at: last,
    })
}

/// Starts the sagas of claimed firings. Gives how many were started.
pub async fn start_claimed(engine: &Engine, lease: Duration) -> Result<usize, ClientError> {
    let claimed = store::lease_claimed(engine.pool(), lease, STARTS_PER_TICK_MAX).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    let results = engine.start_sagas(claimed.iter().map(new_saga).collect()).await;
    let finished: Vec<Finished> = claimed
        .into_iter()
        .zip(results)
        .filter_map(|(claimed, result)| finished(claimed, result))
        .collect();
    store::finish(engine.pool(), &finished).await?;
    Ok(finished
        .iter()
        .filter(|it| it.outcome == FiringOutcome::Started)
        .count())
}

fn new_saga(claimed: &Claimed) -> NewSaga {
    let mut tags = claimed.tags.clone();
    tags.insert(TAG.to_owned(), claimed.schedule.clone());
    NewSaga {
        id: Some(claimed.saga),
        workflow: claimed.workflow.clone(),
        version: claimed.version,
        input: claimed.input.clone(),
        idempotency_key: Some(format!("{KEYS}{}/{}", claimed.schedule, claimed.due_at.to_rfc3339())),
        business_key: None,
        tags,
        traceparent: None,
    }
}

/// What to write down about a start; none: nobody knows yet, and it is tried again when the lease has run out.
fn finished(claimed: Claimed, result: Result<crate::StartedSaga, EngineError>) -> Option<Finished> {
    let Claimed {
        schedule,
        due_at,
        saga,
        overlap,
        ..
    } = claimed;
    let due = due_at.to_rfc3339();
    let open = overlap != Overlap::Allow;
    match result {
        Ok(started) => {
            metrics::counter!("sagaline_schedule_firings_total", "outcome" => "started").increment(1);
            tracing::info!(schedule, due_at = due, saga = %started.id, "a schedule fired");
            Some(Finished {
                schedule,
                due_at,
                outcome: FiringOutcome::Started,
                saga: started.id,
                note: None,
                open,
            })
        }
        Err(EngineError::SagaExists(_)) => Some(Finished {
            schedule,
            due_at,
            outcome: FiringOutcome::Started,
            saga,
            note: None,
            open,
        }),
        Err(
            error @ (EngineError::Overloaded { .. }
            | EngineError::ShuttingDown
            | EngineError::Unavailable(_)
            | EngineError::Internal(_)),
        ) => {
            tracing::warn!(schedule, due_at = due, %error, "a schedule's saga was not started; trying again");
            None
        }
        Err(
            error @ (EngineError::UnknownWorkflow { .. }
            | EngineError::UnknownSaga(_)
            | EngineError::KeyReused { .. }
            | EngineError::Moved { .. }
            | EngineError::Refused(_)
            | EngineError::Invalid { .. }
            | EngineError::DefinitionConflict { .. }),
        ) => {
            metrics::counter!("sagaline_schedule_firings_total", "outcome" => "refused").increment(1);
            tracing::error!(schedule, due_at = due, %error, "a schedule's saga can't be started");
            let note = Some(error.to_string());
            Some(Finished {
                schedule,
                due_at,
                outcome: FiringOutcome::Refused,
                saga,
                note,
                open: false,
            })
        }
    }
}

/// Creates a schedule.
pub(crate) async fn create(engine: &Engine, spec: ScheduleSpec) -> Result<Schedule, ClientError> {
    let calendar = check(&spec)?;
    let deployed = engine.definitions().by_name(&spec.workflow, spec.version).await?;
    deployed.check_input(&spec.input)?;
    let next = if spec.paused {
        None
    } else {
        calendar.after(engine.now())
    };
    let created = store::insert(engine.pool(), &spec, next).await?;
    created.ok_or_else(|| ClientError::Conflict {
        message: format!(
            "schedule {:?} exists already: choose another name, or delete it first",
            spec.name
        ),
    })
}

fn check(spec: &ScheduleSpec) -> Result<Calendar, ClientError> {
    let mut problems = Problems::default();
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '_' | '-' | '.');
    if spec.name.is_empty() || spec.name.len() > NAME_CHARS_MAX || !spec.name.chars().all(plain) {
        let what = format!("use 1 to {NAME_CHARS_MAX} lower-case letters, digits, `_`, `-` and `.`");
        problems.add("/name", what);
    }
    problems.key("/workflow", &spec.workflow);
    problems.text("/cron", &spec.cron, CRON_CHARS_MAX);
    problems.json("/input", &spec.input, workflows::limits::INPUT_BYTES_MAX);
    problems.tags("/tags", &spec.tags);
    if spec.tags.contains_key(TAG) {
        problems.add(format!("/tags/{TAG}"), "is given by the schedule itself");
    }
    if spec.catch_up > KEEP_FIRINGS {
        problems.add("/catchUp", "is longer than 30 days, for which firings are remembered");
    }
    if spec
        .version
        .is_some_and(|version| version == 0 || i32::try_from(version).is_err())
    {
        problems.add("/version", "is not a version");
    }
    let calendar = Calendar::new(&spec.cron, &spec.time_zone);
    match &calendar {
        Ok(_) => {}
        Err(error @ CalendarError::Expression { .. }) => problems.add("/cron", error.to_string()),
        Err(error @ CalendarError::TimeZone { .. }) => problems.add("/timeZone", error.to_string()),
    }
    problems.done()?;
    calendar.map_err(|error| ClientError::invalid("/cron", error.to_string()))
}

fn stored_calendar(schedule: &Schedule) -> Result<Calendar, ClientError> {
    Calendar::new(&schedule.cron, &schedule.time_zone).map_err(|error| ClientError::Internal {
        message: format!("schedule {:?}: {error}", schedule.name),
    })
}

/// Pauses or resumes a schedule.
pub(crate) async fn pause(engine: &Engine, name: &str, paused: bool) -> Result<Schedule, ClientError> {
    let mut transaction = engine.pool().begin().await?;
    let (_was, schedule) = pause_within(engine, &mut transaction, name, paused).await?;
    transaction.commit().await?;
    Ok(schedule)
}

/// The same within the caller's transaction; gives whether it was paused, and the schedule as it is now.
pub async fn pause_within(
    engine: &Engine,
    transaction: &mut PgConnection,
    name: &str,
    paused: bool,
) -> Result<(bool, Schedule), ClientError> {
    let schedule = store::lock(transaction, name).await?.ok_or_else(|| unknown(name))?;
    if schedule.paused == paused {
        return Ok((paused, schedule));
    }
    let next = if paused {
        None
    } else {
        stored_calendar(&schedule)?.after(engine.now())
    };
    let now = store::set_paused(transaction, name, paused, next).await?;
    Ok((schedule.paused, now))
}

/// Fires a schedule now, whatever is in its way.
pub(crate) async fn run_now(engine: &Engine, name: &str) -> Result<Firing, ClientError> {
    let mut transaction = engine.pool().begin().await?;
    let firing = claim_now_within(engine, &mut transaction, name).await?;
    transaction.commit().await?;
    begun(engine, firing).await
}

/// Claims a firing of a schedule now, within the caller's transaction. Committed, some replica begins its saga; with [`begun`] this one does.
pub async fn claim_now_within(
    engine: &Engine,
    transaction: &mut PgConnection,
    name: &str,
) -> Result<Firing, ClientError> {
    store::lock(transaction, name).await?.ok_or_else(|| unknown(name))?;
    let now = engine.now();
    // A firing of this very millisecond may be there already; the row lock above keeps others from adding more.
    let mut stored = Vec::new();
    for later in 0..1_000 {
        let due_at = Timestamp(now.0 + later);
        let firing = NewFiring {
            schedule: name.to_owned(),
            due_at,
            outcome: FiringOutcome::Claimed,
            note: None,
        };
        stored = store::insert_firings(transaction, FiringOrigin::Manual, &[firing], false).await?;
        if !stored.is_empty() {
            break;
        }
    }
    stored.pop().ok_or_else(|| ClientError::Overloaded {
        retry_after: Duration::from_secs(1),
    })
}

/// Begins the sagas of claimed firings; gives what has become of this one.
pub async fn begun(engine: &Engine, firing: Firing) -> Result<Firing, ClientError> {
    start_claimed(engine, LEASE).await?;
    let now = store::one_firing(engine.pool(), &firing.schedule, firing.due_at).await?;
    Ok(now.unwrap_or(firing))
}

/// Fires a schedule for its past due times in `from..to` that began no saga: all at once if they may overlap, else one
/// after the other.
pub(crate) async fn backfill(
    engine: &Engine,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Firing>, ClientError> {
    let mut transaction = engine.pool().begin().await?;
    let stored = claim_past_within(engine, &mut transaction, name, from, to).await?;
    transaction.commit().await?;
    start_claimed(engine, LEASE).await?;
    Ok(stored)
}

/// Claims those firings within the caller's transaction. Committed, some replica begins their sagas; with [`start_claimed`] this one does.
pub async fn claim_past_within(
    engine: &Engine,
    transaction: &mut PgConnection,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Firing>, ClientError> {
    let now = engine.now();
    if from >= to {
        return Err(ClientError::invalid("/to", "is not after `from`"));
    }
    if to > Timestamp(now.0.saturating_add(1_000)) {
        return Err(ClientError::invalid("/to", "is in the future, when it fires by itself"));
    }
    let schedule = store::lock(transaction, name).await?.ok_or_else(|| unknown(name))?;
    let due_times = stored_calendar(&schedule)?.between(from, to, BACKFILL_MAX + 1);
    if due_times.len() > BACKFILL_MAX {
        let message = format!("the range has more than {BACKFILL_MAX} due times: take a part of it");
        return Err(ClientError::invalid("/to", message));
    }
    let outcome = match schedule.overlap {
        Overlap::Allow => FiringOutcome::Claimed,
        Overlap::Skip | Overlap::Queue => FiringOutcome::Queued,
    };
    let firings = due_times.into_iter().map(|due_at| NewFiring {
        schedule: name.to_owned(),
        due_at,
        outcome,
        note: None,
    });
    let firings: Vec<NewFiring> = firings.collect();
    let mut stored = store::insert_firings(transaction, FiringOrigin::Backfill, &firings, true).await?;
    store::close_settled(transaction).await?;
    store::release_queued(transaction).await?;
    stored.sort_by_key(|firing| firing.due_at);
    Ok(stored)
}

/// A schedule that is not there.
pub(crate) fn unknown(name: &str) -> ClientError {
    ClientError::NotFound {
        what: format!("schedule {name:?}"),
    }
}
