//! One queue's loop: takes what Kafka has ready, starts activities, sends answers, commits behind them.
//!
//! It never waits to gather more. While it is busy messages pile up by themselves, so a busy queue works in large turns and an idle
//! one answers at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use activities::Handler;
use futures::stream::{FuturesUnordered, StreamExt};
use metrics::{Counter, Gauge};
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use transport::{GroupConsumer, Producer, Ticket};
use workflows::protocol::{Outcome, TaskResult, trace_id};

use crate::answers::{Acknowledgement, Answers, deliver};
use crate::entry::Entry;
use crate::intake;
use crate::options::WorkerOptions;
use crate::running::{CANCEL_GRACE, CHUNK_TASKS, Finished, Job, Report, Reports, now_ms, run_batch, run_singles};
use crate::worker::Summary;

/// How often finished offsets are committed: what a crash makes come again is at most this much work.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// Overload shorter than this only stops reading. Longer, and the consumer is paused, which drops what it has prefetched
/// but lets rebalances be served.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// Calls of one batch activity at once. One is best as long as it keeps up: it gathers more.
const LANES_MAX: usize = 4;
/// Waiting tasks that justify another call beside one that runs.
const LANE_TASKS: usize = 300;
/// A wait that justifies another call beside one that runs: that one may hang.
const LANE_WAIT: Duration = Duration::from_millis(100);
/// How long answers wait for those of batches that still run, so that a turn is answered by one message: each message
/// costs broker and orchestrator as much as many answers in it. A lone task never waits.
const GATHER: Duration = Duration::from_millis(3);
/// Reports handled in one turn.
const REPORTS_PER_TURN: usize = 1_024;
/// How long the last answers may take to be acknowledged, once everything is cancelled.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(2);

/// One queue's work.
pub(crate) struct QueueLoop {
    queue: String,
    options: WorkerOptions,
    producer: Producer,
    entries: HashMap<&'static str, Arc<Entry>>,
    reports: Reports,
    reported: mpsc::UnboundedReceiver<Report>,
    abort: CancellationToken,
    singles: VecDeque<(Arc<Entry>, Job)>,
    singles_running: usize,
    lanes: HashMap<&'static str, Lane>,
    /// Answers to be sent.
    settled: Vec<Finished>,
    /// When the first of them came.
    settled_since: Option<Instant>,
    unacknowledged: FuturesUnordered<Acknowledgement>,
    outstanding: usize,
    summary: Summary,
    expired: Counter,
    poisoned: Counter,
    outstanding_gauge: Gauge,
    /// The same number, for those who look at the workers.
    in_hand: Arc<AtomicU64>,
}

/// A batch activity's tasks.
struct Lane {
    entry: Arc<Entry>,
    waiting: VecDeque<Job>,
    since: Instant,
    running: usize,
}

/// Whether messages are read.
enum Flow {
    Open,
    /// Too much is outstanding, since then.
    Held(Instant),
    Paused,
}

impl QueueLoop {
    pub fn new(
        queue: &str,
        options: &WorkerOptions,
        producer: Producer,
        entries: HashMap<&'static str, Arc<Entry>>,
        in_hand: Arc<AtomicU64>,
    ) -> Self {
        let (reports, reported) = mpsc::unbounded_channel();
        let label = || queue.to_owned();
        QueueLoop {
            queue: queue.to_owned(),
            options: options.clone(),
            producer,
            entries,
            reports,
            reported,
            abort: CancellationToken::new(),
            singles: VecDeque::new(),
            singles_running: 0,
            lanes: HashMap::new(),
            settled: Vec::new(),
            settled_since: None,
            unacknowledged: FuturesUnordered::new(),
            outstanding: 0,
            summary: Summary::default(),
            expired: metrics::counter!("sagaline_worker_expired_total", "queue" => label()),
            poisoned: metrics::counter!("sagaline_worker_poison_total", "queue" => label()),
            outstanding_gauge: metrics::gauge!("sagaline_worker_outstanding_tasks", "queue" => label()),
            in_hand,
        }
    }

    /// Works until told to leave, then finishes what it has begun.
    pub async fn run(mut self, consumer: GroupConsumer, shutdown: CancellationToken) -> Summary {
        let mut flow = Flow::Open;
        let mut rests = false;
        let mut reports = Vec::with_capacity(REPORTS_PER_TURN);
        let mut ticks = tokio::time::interval(COMMIT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shutdown.is_cancelled() {
            let gathered_at = self.gathered_at();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                // Before the messages, which may never end.
                _ = ticks.tick() => rests = self.tick(&consumer, &mut ticks),
                Some(tickets) = self.unacknowledged.next() => self.acknowledged(&consumer, &tickets),
                _ = self.reported.recv_many(&mut reports, REPORTS_PER_TURN) => self.handle(&mut reports),
                () = sleep_until(gathered_at), if gathered_at.is_some() => {}
                received = consumer.recv(), if !matches!(flow, Flow::Held(_)) => match received {
                    Ok(message) => self.take_ready(&consumer, message),
                    Err(error) => self.report_reading(&error),
                },
            }
            // Once: a tick that each message puts off never comes.
            if rests && self.outstanding > 0 {
                rests = false;
                ticks.reset_after(COMMIT_EVERY);
            }
            self.start_waiting();
            self.flush();
            flow = self.regulate(flow, &consumer);
        }
        self.drain(&consumer, &mut reports, &mut ticks).await;
        consumer.close().await;
        self.summary
    }

    /// Takes this message and every other that is here already, up to a turn's worth.
    fn take_ready(&mut self, consumer: &GroupConsumer, first: BorrowedMessage<'_>) {
        let mut taken = self.take(consumer, &first);
        while taken < self.options.batch_max {
            match consumer.recv_ready() {
                Some(Ok(message)) => taken += self.take(consumer, &message),
                Some(Err(error)) => self.report_reading(&error),
                None => break,
            }
        }
    }

    fn report_reading(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            // The client has told of it already, and tells again each second.
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                tracing::debug!(queue = self.queue, %error, "reading tasks failed and goes on");
            }
            _ => tracing::warn!(queue = self.queue, %error, "reading tasks failed and goes on"),
        }
    }

    fn take(&mut self, consumer: &GroupConsumer, message: &BorrowedMessage<'_>) -> usize {
        let intake = intake::read(message.payload().unwrap_or_default());
        let parts = intake.parts();
        // Without a ticket the partition was revoked in the meantime, and its new owner reads the message.
        let Some(ticket) = consumer.take(message, parts as u32) else {
            return parts;
        };
        self.outstanding += parts;
        for poison in intake.poison {
            self.poisoned.increment(1);
            let (partition, offset) = (message.partition(), message.offset());
            tracing::error!(
                queue = self.queue,
                partition,
                offset,
                error = poison.error,
                "a message is set aside"
            );
            let delivered = deliver(
                self.producer.clone(),
                poison.into_message(&self.queue, partition, offset),
            );
            self.unacknowledged.push(Box::pin(async move {
                delivered.await;
                vec![ticket]
            }));
        }
        for task in intake.tasks {
            self.accept(Job {
                task,
                ticket,
                reply: intake.reply_partition,
            });
        }
        parts
    }

    fn accept(&mut self, job: Job) {
        if let Some(job) = self.unless_expired(job) {
            match self.entries.get(job.task.activity.as_str()) {
                None => self.answer_unknown_activity(job),
                Some(entry) => match &entry.handler {
                    Handler::Single(_) => self.singles.push_back((Arc::clone(entry), job)),
                    Handler::Batch(_) => {
                        let lane = self.lanes.entry(entry.name).or_insert_with(|| Lane {
                            entry: Arc::clone(entry),
                            waiting: VecDeque::new(),
                            since: Instant::now(),
                            running: 0,
                        });
                        if lane.waiting.is_empty() {
                            lane.since = Instant::now();
                        }
                        lane.waiting.push_back(job);
                    }
                },
            }
        }
    }

    /// A task past its deadline is not begun, and not answered either: the engine no longer waits, and we could not say that
    /// nothing has happened, for this may be the second delivery of a task that another worker has begun.
    fn unless_expired(&mut self, job: Job) -> Option<Job> {
        if job.task.deadline.0 > now_ms() {
            return Some(job);
        }
        self.expired.increment(1);
        self.summary.expired += 1;
        tracing::debug!(
            queue = self.queue, saga = %job.task.token.saga, step = job.task.token.step, attempt = job.task.token.attempt,
            "the task came after its deadline"
        );
        self.settled.push(Finished {
            ticket: job.ticket,
            reply: job.reply,
            answer: None,
        });
        None
    }

    fn answer_unknown_activity(&mut self, job: Job) {
        let Job { task, ticket, reply } = job;
        tracing::error!(
            queue = self.queue, saga = %task.token.saga, workflow = task.workflow, step = task.token.step,
            attempt = task.token.attempt, activity = task.activity, trace_id = trace_id(task.traceparent.as_deref()),
            "this worker has no such activity"
        );
        let message = format!(
            "worker {} has no activity {:?} in queue {:?}",
            self.options.name, task.activity, self.queue
        );
        // Another worker, or the next version of this one, may have it.
        let outcome = Outcome::Failed {
            code: "unknown_activity".into(),
            message,
            retryable: true,
            details: serde_json::Value::Null,
        };
        self.settled.push(Finished {
            ticket,
            reply,
            answer: Some(TaskResult {
                token: task.token,
                outcome,
            }),
        });
    }

    fn start_waiting(&mut self) {
        while !self.singles.is_empty() && self.singles_running < self.options.concurrency {
            let room = (self.options.concurrency - self.singles_running).min(CHUNK_TASKS);
            let mut chunk = Vec::with_capacity(room.min(self.singles.len()));
            while chunk.len() < room
                && let Some((entry, job)) = self.singles.pop_front()
            {
                if let Some(job) = self.unless_expired(job) {
                    chunk.push((entry, job));
                }
            }
            if !chunk.is_empty() {
                self.singles_running += chunk.len();
                tokio::spawn(run_singles(chunk, self.reports.clone(), self.abort.clone()));
            }
        }
        for lane in self.lanes.values_mut() {
            while lane.may_start() {
                let jobs: Vec<Job> = lane
                    .waiting
                    .drain(..lane.waiting.len().min(self.options.batch_max))
                    .collect();
                lane.since = Instant::now();
                lane.running += 1;
                tokio::spawn(run_batch(
                    Arc::clone(&lane.entry),
                    jobs,
                    self.reports.clone(),
                    self.abort.clone(),
                ));
            }
        }
    }

    fn handle(&mut self, reports: &mut Vec<Report>) {
        for report in reports.drain(..) {
            match report {
                Report::Singles(finished) => {
                    self.singles_running -= finished.len();
                    self.settled.extend(finished);
                }
                Report::Batch(name, finished) => {
                    if let Some(lane) = self.lanes.get_mut(name) {
                        lane.running -= 1;
                    }
                    self.settled.extend(finished);
                }
                Report::Heartbeat(token, reply) => {
                    let mut answers = Answers::new(&self.options.name, self.producer.partitions());
                    let beat = TaskResult {
                        token,
                        outcome: Outcome::Heartbeat {},
                    };
                    answers.add_result(beat, reply);
                    self.unacknowledged.push(answers.send(&self.producer));
                }
            }
        }
    }

    /// Sends every answer there is.
    fn flush(&mut self) {
        if self.settled.is_empty() || self.may_gather() {
            return;
        }
        self.settled_since = None;
        let mut answers = Answers::new(&self.options.name, self.producer.partitions());
        for finished in self.settled.drain(..) {
            self.summary.answered += u64::from(finished.answer.is_some());
            answers.add(finished);
        }
        self.unacknowledged.push(answers.send(&self.producer));
    }

    /// Whether answers wait for those of the other activities that were begun in the same turn, so that they are one message.
    fn may_gather(&mut self) -> bool {
        let since = *self.settled_since.get_or_insert_with(Instant::now);
        self.lanes.values().any(|lane| lane.running > 0) && since.elapsed() < GATHER
    }

    /// When answers are sent whatever still runs.
    fn gathered_at(&self) -> Option<tokio::time::Instant> {
        self.settled_since.map(|since| (since + GATHER).into())
    }

    fn acknowledged(&mut self, consumer: &GroupConsumer, tickets: &[Ticket]) {
        self.outstanding -= tickets.len();
        consumer.complete_parts(tickets.iter().map(|ticket| (*ticket, 1)));
    }

    /// Whether the next tick is put off, since nothing is in hand.
    fn tick(&mut self, consumer: &GroupConsumer, ticks: &mut tokio::time::Interval) -> bool {
        self.outstanding_gauge.set(self.outstanding as f64);
        self.in_hand.store(self.outstanding as u64, Ordering::Relaxed);
        let assigned = consumer.assignment().borrow().generation > 0;
        self.options.readiness.set(&self.queue, assigned);
        assigned && consumer.commit_at(ticks)
    }

    /// Reads on, holds, or pauses, by how much is outstanding.
    fn regulate(&self, flow: Flow, consumer: &GroupConsumer) -> Flow {
        let most = self.options.outstanding_max();
        let pausing = |what: &str, outcome: Result<(), transport::TransportError>| {
            if let Err(error) = outcome {
                tracing::warn!(queue = self.queue, %error, "the consumer can't be {what}");
            }
        };
        match flow {
            Flow::Open if self.outstanding >= most => Flow::Held(Instant::now()),
            Flow::Open => Flow::Open,
            Flow::Held(_) if self.outstanding < most => Flow::Open,
            Flow::Held(since) if since.elapsed() < PAUSE_AFTER => flow,
            Flow::Held(_) => {
                tracing::info!(queue = self.queue, outstanding = self.outstanding, "reading is paused");
                pausing("paused", consumer.pause());
                Flow::Paused
            }
            Flow::Paused if self.outstanding <= most / 2 => {
                tracing::info!(queue = self.queue, outstanding = self.outstanding, "reading goes on");
                pausing("resumed", consumer.resume());
                Flow::Open
            }
            Flow::Paused => {
                // A rebalance gives partitions that are not paused; they have sent something.
                if self.outstanding > most {
                    pausing("paused", consumer.pause());
                }
                Flow::Paused
            }
        }
    }

    /// Finishes everything taken, within limits; what remains comes again elsewhere.
    async fn drain(&mut self, consumer: &GroupConsumer, reports: &mut Vec<Report>, ticks: &mut tokio::time::Interval) {
        self.options.readiness.set(&self.queue, false);
        if let Err(error) = consumer.pause() {
            tracing::warn!(queue = self.queue, %error, "the consumer can't be paused");
        }
        tracing::info!(
            queue = self.queue,
            outstanding = self.outstanding,
            "leaving: finishing what was begun"
        );
        let cancel_at = tokio::time::Instant::now() + self.options.drain_timeout;
        let give_up_at = cancel_at + CANCEL_GRACE + LAST_ACKNOWLEDGEMENT;
        while self.outstanding > 0 {
            tokio::select! {
                biased;
                _ = ticks.tick() => consumer.commit(),
                Some(tickets) = self.unacknowledged.next() => self.acknowledged(consumer, &tickets),
                _ = self.reported.recv_many(reports, REPORTS_PER_TURN) => self.handle(reports),
                () = tokio::time::sleep_until(cancel_at), if !self.abort.is_cancelled() => self.abort.cancel(),
                () = tokio::time::sleep_until(give_up_at) => break,
                // Serves rebalances; messages that come all the same are left to the next owner.
                _ = consumer.recv() => {}
            }
            if !self.abort.is_cancelled() {
                self.start_waiting();
            }
            self.flush();
            if self.abort.is_cancelled() && self.nothing_runs() && self.unacknowledged.is_empty() {
                break;
            }
        }
        self.summary.abandoned += self.outstanding as u64;
        if self.outstanding > 0 {
            tracing::warn!(
                queue = self.queue,
                tasks = self.outstanding,
                "tasks are left for others"
            );
        }
    }

    fn nothing_runs(&self) -> bool {
        self.singles_running == 0 && self.lanes.values().all(|lane| lane.running == 0)
    }
}

impl Lane {
    fn may_start(&self) -> bool {
        if self.waiting.is_empty() || self.running >= LANES_MAX {
            return false;
        }
        self.running == 0 || self.waiting.len() >= LANE_TASKS || self.since.elapsed() >= LANE_WAIT
    }
}

async fn sleep_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
