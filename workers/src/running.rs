//! Runs activities: with a deadline, heartbeats and cancellation, and so that a panic is an answer too.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use activities::{Activity, BatchActivity, TaskContext};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use transport::Ticket;
use workflows::protocol::{Outcome, Task, TaskResult, Token, trace_id};

use crate::entry::Entry;

/// How long an activity may go on after it was cancelled, to end in order, before it is dropped.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// Single tasks that are driven together, on one thread at a time. Small enough to use every core, large enough that quick
/// ones answer in one envelope.
pub(crate) const CHUNK_TASKS: usize = 50;

/// A task on its way through the worker.
pub(crate) struct Job {
    pub task: Task,
    pub ticket: Ticket,
    /// Where the answer shall go.
    pub reply: Option<u32>,
}

/// A task that needs no more work, with the answer to send, if any.
pub(crate) struct Finished {
    pub ticket: Ticket,
    pub reply: Option<u32>,
    pub answer: Option<TaskResult>,
}

/// What running activities tell their queue's loop.
pub(crate) enum Report {
    /// Single tasks are finished.
    Singles(Vec<Finished>),
    /// A batch is finished.
    Batch(&'static str, Vec<Finished>),
    /// A task is still worked on; where to say so.
    Heartbeat(Token, Option<u32>),
}

/// Where reports go. Unbounded, for it never holds more than the queue's outstanding tasks, which are bounded.
pub(crate) type Reports = mpsc::UnboundedSender<Report>;

/// Milliseconds since the Unix epoch, by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Runs single tasks together, reporting each as soon as it is finished, and those that finish together at once.
pub(crate) async fn run_singles(jobs: Vec<(Arc<Entry>, Job)>, reports: Reports, abort: CancellationToken) {
    let count = jobs.len().max(1);
    let running: FuturesUnordered<_> = jobs
        .into_iter()
        .map(|(entry, job)| run_single(entry, job, reports.clone(), abort.clone()))
        .collect();
    let mut finished = running.ready_chunks(count);
    while let Some(finished) = finished.next().await {
        // The loop is gone only when the worker has given up on us.
        let _ = reports.send(Report::Singles(finished));
    }
}

async fn run_single(entry: Arc<Entry>, mut job: Job, reports: Reports, abort: CancellationToken) -> Finished {
    let activities::Handler::Single(activity) = &entry.handler else {
        unreachable!("the queue's loop sends batch activities to run_batch")
    };
    let span = span(&entry, &job.task);
    let outcome = supervise(&entry, activity.as_ref(), &mut job, reports, &abort)
        .instrument(span)
        .await;
    entry.count(&outcome);
    Finished {
        ticket: job.ticket,
        reply: job.reply,
        answer: Some(TaskResult {
            token: job.task.token,
            outcome,
        }),
    }
}

async fn supervise(
    entry: &Entry,
    activity: &dyn Activity,
    job: &mut Job,
    reports: Reports,
    abort: &CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let cancelled = abort.child_token();
    let lease = Arc::new(Lease::new(job, reports));
    let task = &mut job.task;
    let input = std::mem::take(&mut task.input);
    let beat = Arc::clone(&lease);
    let context = TaskContext::new(task, cancelled.clone()).with_heartbeat(move || beat.renew());
    let mut running = std::pin::pin!(AssertUnwindSafe(activity.run(&context, input)).catch_unwind());
    let heartbeat_every = entry.heartbeat_every();
    let why = loop {
        tokio::select! {
            biased;
            outcome = &mut running => {
                entry.seconds.record(began.elapsed());
                return settle(outcome);
            }
            () = cancelled.cancelled() => break "the worker was told to leave",
            () = tokio::time::sleep(lease.left()) => {
                if lease.left().is_zero() {
                    break "the deadline passed";
                }
            }
            () = tokio::time::sleep(heartbeat_every.unwrap_or_default()), if heartbeat_every.is_some() => lease.renew(),
        }
    };
    cancelled.cancel();
    let outcome = tokio::time::timeout(CANCEL_GRACE, running).await;
    entry.seconds.record(began.elapsed());
    match outcome {
        Ok(outcome) => settle(outcome),
        Err(_) => {
            tracing::warn!("{why} while the activity ran; its outcome is unknown");
            Outcome::Unknown {
                message: format!("{why} while the activity ran"),
            }
        }
    }
}

/// Runs a batch activity on all these tasks at once.
pub(crate) async fn run_batch(entry: Arc<Entry>, mut jobs: Vec<Job>, reports: Reports, abort: CancellationToken) {
    let activities::Handler::Batch(activity) = &entry.handler else {
        unreachable!("the queue's loop sends single activities to run_singles")
    };
    let span = tracing::info_span!("batch", queue = entry.queue, activity = entry.name, tasks = jobs.len());
    let outcomes = supervise_batch(&entry, activity.as_ref(), &mut jobs, &abort)
        .instrument(span)
        .await;
    let finish = |(job, outcome): (Job, Outcome)| {
        entry.count(&outcome);
        Finished {
            ticket: job.ticket,
            reply: job.reply,
            answer: Some(TaskResult {
                token: job.task.token,
                outcome,
            }),
        }
    };
    let finished = jobs.into_iter().zip(outcomes).map(finish).collect();
    // The loop is gone only when the worker has given up on us.
    let _ = reports.send(Report::Batch(entry.name, finished));
}

async fn supervise_batch(
    entry: &Entry,
    activity: &dyn BatchActivity,
    jobs: &mut [Job],
    abort: &CancellationToken,
) -> Vec<Outcome> {
    let began = Instant::now();
    let count = jobs.len();
    let cancelled = abort.child_token();
    // Until the last of them is no longer waited for: to cut the others short would help nobody.
    let deadline = jobs.iter().map(|job| job.task.deadline.0).max().unwrap_or_default();
    let tasks = jobs
        .iter_mut()
        .map(|job| {
            let input = std::mem::take(&mut job.task.input);
            (TaskContext::new(&job.task, cancelled.clone()), input)
        })
        .collect();
    entry.batch_tasks.record(count as f64);
    let mut running = std::pin::pin!(AssertUnwindSafe(activity.run_batch(tasks)).catch_unwind());
    let (outcome, why) = tokio::select! {
        biased;
        outcome = &mut running => (Some(outcome), ""),
        () = cancelled.cancelled() => (None, "the worker was told to leave"),
        () = tokio::time::sleep(until(deadline)) => (None, "the deadline passed"),
    };
    let outcome = match outcome {
        Some(outcome) => Some(outcome),
        None => {
            cancelled.cancel();
            tokio::time::timeout(CANCEL_GRACE, running).await.ok()
        }
    };
    entry.seconds.record(began.elapsed());
    let message = match outcome {
        Some(Ok(outcomes)) if outcomes.len() == count => return outcomes,
        Some(Ok(outcomes)) => format!("the batch activity answered {} of {count} tasks", outcomes.len()),
        Some(Err(panic)) => format!("the activity panicked: {}", panic_text(panic.as_ref())),
        None => format!("{why} while the activity ran"),
    };
    tracing::error!("{message}; the outcome of {count} tasks is unknown");
    vec![Outcome::Unknown { message }; count]
}

/// How long an attempt is waited for; each heartbeat prolongs it.
struct Lease {
    deadline_ms: AtomicI64,
    length_ms: i64,
    token: Token,
    reply: Option<u32>,
    reports: Reports,
}

impl Lease {
    fn new(job: &Job, reports: Reports) -> Self {
        let task = &job.task;
        // The engine counts an attempt's time-out from its dispatch, and anew from each heartbeat. What was left
        // on arrival is no longer than that.
        let length_ms = task.deadline.0.saturating_sub(now_ms()).max(0);
        Lease {
            deadline_ms: AtomicI64::new(task.deadline.0),
            length_ms,
            token: task.token.clone(),
            reply: job.reply,
            reports,
        }
    }

    fn left(&self) -> Duration {
        until(self.deadline_ms.load(Ordering::Relaxed))
    }

    fn renew(&self) {
        self.deadline_ms
            .fetch_max(now_ms().saturating_add(self.length_ms), Ordering::Relaxed);
        let _ = self.reports.send(Report::Heartbeat(self.token.clone(), self.reply));
    }
}

fn until(deadline_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(deadline_ms.saturating_sub(now_ms())).unwrap_or(0))
}

/// A panic may come in the middle of an effect, so nobody can tell what came of it.
fn settle(outcome: Result<Outcome, Box<dyn Any + Send>>) -> Outcome {
    outcome.unwrap_or_else(|panic| {
        let message = format!("the activity panicked: {}", panic_text(panic.as_ref()));
        tracing::error!("{message}; its outcome is unknown");
        Outcome::Unknown { message }
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("?")
}

fn span(entry: &Entry, task: &Task) -> tracing::Span {
    tracing::info_span!(
        "task",
        saga = %task.token.saga,
        workflow = task.workflow,
        step = task.token.step,
        role = ?task.token.role,
        attempt = task.token.attempt,
        activity = entry.name,
        trace_id = trace_id(task.traceparent.as_deref()),
    )
}
