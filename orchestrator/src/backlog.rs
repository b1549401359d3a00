//! How many tasks this replica has sent to each queue that nobody has answered yet, and how many it may.
//!
//! A task's time runs from its sending. Sent to a queue whose workers don't keep up, it would wait on the broker until nobody waits for
//! it any more, and its saga would lose one attempt after another at a step that was never begun. So a queue is given what
//! its workers answer in [`AHEAD`], and at least [`crate::options::UNANSWERED_MIN`]; the rest waits in Postgres, where no deadline runs. Once a task of a
//! queue has run out of time, that least is what its workers say they do at once, twice, or [`UNANSWERED_LATE_MIN`]: a few
//! to be tried, so that it is seen when somebody answers again.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use workflows::ids::Timestamp;
use workflows::protocol::{Outcome, Task, TaskResult, Token};

use crate::options::{AHEAD, LATE_FOR, UNANSWERED_LATE_MIN};

/// The seconds whose answers are known; the best of them counts.
const SECONDS: usize = 5;
/// How often tasks that ran out of time are looked for.
const LOOK_MS: i64 = 500;

/// A batch's tasks, by queue.
#[derive(Default)]
pub(crate) struct Sent(BTreeMap<String, Vec<(u64, Timestamp)>>);

impl Sent {
    pub(crate) fn note(&mut self, queue: &str, task: &Task) {
        let sent = (name(&task.token), task.deadline);
        match self.0.get_mut(queue) {
            Some(tasks) => tasks.push(sent),
            None => drop(self.0.insert(queue.to_owned(), vec![sent])),
        }
    }
}

/// How many more tasks a batch may send to each queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    known: HashMap<String, usize>,
    /// A queue that was never sent anything.
    other: usize,
}

impl Rooms {
    /// Whether this queue takes one more.
    pub(crate) fn take(&mut self, queue: &str) -> bool {
        let room = match self.known.get_mut(queue) {
            Some(room) => room,
            None => self.known.entry(queue.to_owned()).or_insert(self.other),
        };
        let takes = *room > 0;
        *room = room.saturating_sub(1);
        takes
    }
}

/// What is unanswered.
pub(crate) struct Backlog {
    /// What a queue may have, at least, while none of its tasks runs out of time.
    least: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: HashMap<u64, Unanswered>,
    queues: Vec<Queue>,
    places: HashMap<String, usize>,
    looked_ms: i64,
}

struct Unanswered {
    queue: usize,
    deadline_ms: i64,
    /// What a sign of life adds.
    time_ms: i64,
}

#[derive(Default)]
struct Queue {
    unanswered: usize,
    /// Answers by second, the newest first.
    answers: [usize; SECONDS],
    second: i64,
    late_ms: Option<i64>,
    /// What its workers do at once, as they say.
    concurrency: usize,
}

impl Queue {
    fn at(&mut self, now_ms: i64) {
        let passed = usize::try_from((now_ms / 1_000 - self.second).max(0)).unwrap_or(SECONDS);
        self.second = self.second.max(now_ms / 1_000);
        self.answers.rotate_right(passed.min(SECONDS) % SECONDS);
        self.answers[..passed.min(SECONDS)].fill(0);
    }

    fn limit(&mut self, least: usize, now_ms: i64) -> usize {
        self.at(now_ms);
        let late = self
            .late_ms
            .is_some_and(|at| now_ms - at < LATE_FOR.as_millis() as i64);
        let least = if late {
            UNANSWERED_LATE_MIN.max(2 * self.concurrency).min(least)
        } else {
            least
        };
        let best = self.answers.iter().copied().max().unwrap_or_default();
        least.max(best * AHEAD.as_secs() as usize)
    }
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) unanswered: usize,
    pub(crate) limit: usize,
    pub(crate) late: bool,
}

impl Room {
    /// How many more tasks it may be sent.
    pub(crate) fn left(self) -> usize {
        self.limit.saturating_sub(self.unanswered)
    }
}

impl Backlog {
    pub(crate) fn new(least: usize) -> Backlog {
        let (least, inner) = (least.max(1), Mutex::default());
        Backlog { least, inner }
    }

    /// A batch was committed: what it has sent. Gives the queues that have no room left.
    pub(crate) fn sent(&self, sent: Sent, now: Timestamp) -> Vec<String> {
        let mut inner = self.lock();
        let mut full = Vec::new();
        for (queue, tasks) in sent.0 {
            let place = inner.place(&queue);
            for (task, deadline) in tasks {
                let unanswered = Unanswered {
                    queue: place,
                    deadline_ms: deadline.0,
                    time_ms: deadline.0 - now.0,
                };
                // The same again is one.
                if inner.tasks.insert(task, unanswered).is_none() {
                    inner.queues[place].unanswered += 1;
                }
            }
            let queue_now = &mut inner.queues[place];
            if queue_now.unanswered >= queue_now.limit(self.least, now.0) {
                full.push(queue);
            }
        }
        inner.expire(now.0);
        full
    }

    /// A worker's answers.
    pub(crate) fn answered<'a>(&self, results: impl Iterator<Item = &'a TaskResult>, now: Timestamp) {
        let mut inner = self.lock();
        for result in results {
            let key = name(&result.token);
            if matches!(result.outcome, Outcome::Heartbeat {}) {
                if let Some(task) = inner.tasks.get_mut(&key) {
                    task.deadline_ms = task.deadline_ms.max(now.0 + task.time_ms);
                }
            } else if let Some(task) = inner.tasks.remove(&key) {
                let queue = &mut inner.queues[task.queue];
                queue.unanswered -= 1;
                queue.at(now.0);
                queue.answers[0] += 1;
            }
        }
    }

    /// How a queue stands.
    pub(crate) fn room(&self, queue: &str, now: Timestamp) -> Room {
        let mut inner = self.lock();
        inner.expire(now.0);
        let place = inner.place(queue);
        let queue = &mut inner.queues[place];
        Room {
            limit: queue.limit(self.least, now.0),
            unanswered: queue.unanswered,
            late: queue.late_ms.is_some_and(|at| now.0 - at < LATE_FOR.as_millis() as i64),
        }
    }

    /// How much room there is in each queue.
    pub(crate) fn rooms(&self, now: Timestamp) -> Rooms {
        let mut inner = self.lock();
        inner.expire(now.0);
        let Inner { queues, places, .. } = &mut *inner;
        let room = |(name, place): (&String, &usize)| {
            let queue = &mut queues[*place];
            (name.clone(), queue.limit(self.least, now.0).saturating_sub(queue.unanswered))
        };
        Rooms {
            known: places.iter().map(room).collect(),
            other: self.least,
        }
    }

    /// What queues' workers do at once; none is known of the others.
    pub(crate) fn set_concurrency(&self, queues: Vec<(String, i64)>) {
        let mut inner = self.lock();
        inner.queues.iter_mut().for_each(|queue| queue.concurrency = 0);
        for (queue, concurrency) in queues {
            let place = inner.place(&queue);
            inner.queues[place].concurrency = usize::try_from(concurrency).unwrap_or_default();
        }
    }

    /// Sets the gauges.
    pub(crate) fn report(&self, now: Timestamp) {
        let mut inner = self.lock();
        inner.expire(now.0);
        let Inner { queues, places, .. } = &mut *inner;
        for (queue, place) in places {
            let unanswered = queues[*place].unanswered as f64;
            metrics::gauge!("sagaline_queue_unanswered", "queue" => queue.clone()).set(unanswered);
            let limit = queues[*place].limit(self.least, now.0) as f64;
            metrics::gauge!("sagaline_queue_unanswered_limit", "queue" => queue.clone()).set(limit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn place(&mut self, queue: &str) -> usize {
        if let Some(place) = self.places.get(queue) {
            return *place;
        }
        self.queues.push(Queue::default());
        self.places.insert(queue.to_owned(), self.queues.len() - 1);
        self.queues.len() - 1
    }

    /// Forgets tasks that nobody waits for any more.
    fn expire(&mut self, now_ms: i64) {
        if now_ms - self.looked_ms < LOOK_MS {
            return;
        }
        self.looked_ms = now_ms;
        let Inner { tasks, queues, .. } = self;
        tasks.retain(|_, task| {
            let waits = task.deadline_ms > now_ms;
            if !waits {
                queues[task.queue].unanswered -= 1;
                queues[task.queue].late_ms = Some(now_ms);
            }
            waits
        });
    }
}

/// A token in eight bytes: two that meet would let one task more through.
fn name(token: &Token) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
