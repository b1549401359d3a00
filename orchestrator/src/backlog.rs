//! How many tasks this replica has sent to each queue that nobody has answered yet, and how many it may.
//!
//! A task's time runs from its sending. Sent to a queue whose workers don't keep up, it would wait on the broker until nobody waits for
//! it any more, and its saga would lose one attempt after another at a step that was never begun. So a queue is given what
//! its workers answer in [`AHEAD`], twice what they say they do at once, and at least [`crate::options::UNANSWERED_MIN`]; the rest waits in
//! Postgres, where no deadline runs. Once tasks of a queue have run out of time, and as long as any wait, that least is
//! [`UNANSWERED_LATE_MIN`]: a few to be tried, so that it is seen when somebody answers again.
//!
//! Only what this replica sends and is answered to is counted. Where answers come to others, because workers send them anywhere or because it
//! reads none, there is no limit.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use workflows::ids::Timestamp;
use workflows::protocol::{Outcome, Task, TaskResult, Token};

use crate::options::{
    AHEAD, ANSWER_LATE, LATE_FOR, LATE_TASKS_MIN, STRANGE_SHARE, UNANSWERED_KNOWN_MAX, UNANSWERED_LATE_MIN,
};

/// The seconds of which is remembered what happened.
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

/// A task that is on its way from its queue's row to its batch.
pub(crate) struct Underway(Arc<AtomicUsize>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    /// Nobody's answers come here.
    unread: bool,
    /// Answers to tasks that were sent here, and to others.
    own: Recent,
    strange: Recent,
}

struct Unanswered {
    queue: usize,
    deadline_ms: i64,
    /// What a sign of life adds.
    time_ms: i64,
}

/// A count by second, the newest first.
#[derive(Default)]
struct Recent {
    counts: [usize; SECONDS],
    second: i64,
}

impl Recent {
    fn at(&mut self, now_ms: i64) -> &mut [usize; SECONDS] {
        let passed = usize::try_from((now_ms / 1_000 - self.second).max(0)).unwrap_or(SECONDS);
        self.second = self.second.max(now_ms / 1_000);
        self.counts.rotate_right(passed.min(SECONDS) % SECONDS);
        self.counts[..passed.min(SECONDS)].fill(0);
        &mut self.counts
    }

    fn add(&mut self, now_ms: i64) {
        self.at(now_ms)[0] += 1;
    }

    fn sum(&mut self, now_ms: i64) -> usize {
        self.at(now_ms).iter().sum()
    }

    fn best(&mut self, now_ms: i64) -> usize {
        self.at(now_ms).iter().copied().max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Queue {
    unanswered: usize,
    underway: Arc<AtomicUsize>,
    answers: Recent,
    lost: Recent,
    late_ms: Option<i64>,
    /// What its workers do at once, as they say.
    concurrency: usize,
}

impl Queue {
    fn is_late(&self, now_ms: i64) -> bool {
        self.late_ms.is_some_and(|at| now_ms - at < LATE_FOR.as_millis() as i64)
    }

    fn limit(&mut self, least: usize, now_ms: i64) -> usize {
        let least = if self.is_late(now_ms) {
            UNANSWERED_LATE_MIN.min(least)
        } else {
            least
        };
        let ahead = self.answers.best(now_ms) * AHEAD.as_secs() as usize;
        least.max(2 * self.concurrency).max(ahead)
    }

    fn left(&mut self, least: usize, now_ms: i64) -> usize {
        let taken = self.unanswered + self.underway.load(Ordering::Relaxed);
        self.limit(least, now_ms).saturating_sub(taken)
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
        if inner.unread {
            return full;
        }
        for (queue, tasks) in sent.0 {
            let place = inner.place(&queue);
            for (task, deadline) in tasks {
                if inner.tasks.len() >= UNANSWERED_KNOWN_MAX {
                    break;
                }
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
            if inner.left(place, self.least, now.0) == 0 {
                full.push(queue);
            }
        }
        full
    }

    /// A worker's answers, each as soon as it is here: what comes of it may need the room.
    pub(crate) fn answered<'a>(&self, results: impl Iterator<Item = &'a TaskResult>, now: Timestamp) {
        let mut inner = self.lock();
        let Inner {
            tasks,
            queues,
            own,
            strange,
            ..
        } = &mut *inner;
        for result in results {
            let key = name(&result.token);
            if matches!(result.outcome, Outcome::Heartbeat {}) {
                if let Some(task) = tasks.get_mut(&key) {
                    task.deadline_ms = task.deadline_ms.max(now.0 + task.time_ms);
                }
            } else if let Some(task) = tasks.remove(&key) {
                let queue = &mut queues[task.queue];
                queue.unanswered = queue.unanswered.saturating_sub(1);
                queue.answers.add(now.0);
                own.add(now.0);
            } else {
                strange.add(now.0);
            }
        }
    }

    /// Answers to what was sent before may come to others from now on. Whether any come here: with more replicas than partitions some read
    /// none, and others move their sagas.
    pub(crate) fn forget(&self, reads_any: bool) {
        let mut inner = self.lock();
        inner.unread = !reads_any;
        inner.tasks.clear();
        inner.queues.iter_mut().for_each(|queue| queue.unanswered = 0);
    }

    /// How many more tasks this queue takes, for which some wait.
    pub(crate) fn room_for_held(&self, queue: &str, now: Timestamp) -> usize {
        let mut inner = self.lock();
        inner.expire(now.0);
        let place = inner.place(queue);
        let queue = &mut inner.queues[place];
        // Not before the last is gone: else as many as ever would be sent, and run out of time again.
        if queue.is_late(now.0) {
            queue.late_ms = Some(now.0);
        }
        inner.left(place, self.least, now.0)
    }

    /// Whether a queue for which none wait takes more tasks.
    pub(crate) fn has_room(&self, queue: &str, now: Timestamp) -> bool {
        let mut inner = self.lock();
        inner.expire(now.0);
        let place = inner.place(queue);
        inner.left(place, self.least, now.0) > 0
    }

    /// How much room there is in each queue.
    pub(crate) fn rooms(&self, now: Timestamp) -> Rooms {
        let mut inner = self.lock();
        inner.expire(now.0);
        if !inner.counts(now.0) {
            return Rooms::unlimited();
        }
        let Inner { queues, places, .. } = &mut *inner;
        let room = |(name, place): (&String, &usize)| (name.clone(), queues[*place].left(self.least, now.0));
        Rooms {
            known: places.iter().map(room).collect(),
            other: self.least,
        }
    }

    /// A task of this queue is let through.
    pub(crate) fn underway(&self, queue: &str) -> Underway {
        let mut inner = self.lock();
        let place = inner.place(queue);
        let underway = Arc::clone(&inner.queues[place].underway);
        underway.fetch_add(1, Ordering::Relaxed);
        Underway(underway)
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

impl Rooms {
    /// Takes whatever comes.
    pub(crate) fn unlimited() -> Rooms {
        Rooms {
            known: HashMap::new(),
            other: usize::MAX,
        }
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

    /// How many more tasks this queue takes.
    fn left(&mut self, place: usize, least: usize, now_ms: i64) -> usize {
        if self.counts(now_ms) {
            self.queues[place].left(least, now_ms)
        } else {
            usize::MAX
        }
    }

    /// Whether what is counted says anything: answers to what was sent here come here.
    fn counts(&mut self, now_ms: i64) -> bool {
        if self.unread {
            return false;
        }
        let (own, strange) = (self.own.sum(now_ms), self.strange.sum(now_ms));
        strange * STRANGE_SHARE <= own + strange && self.tasks.len() < UNANSWERED_KNOWN_MAX
    }

    /// Forgets tasks that nobody waits for any more.
    fn expire(&mut self, now_ms: i64) {
        if now_ms - self.looked_ms < LOOK_MS {
            return;
        }
        self.looked_ms = now_ms;
        let Inner { tasks, queues, .. } = self;
        let late_ms = ANSWER_LATE.as_millis() as i64;
        tasks.retain(|_, task| {
            let waits = task.deadline_ms.saturating_add(late_ms) > now_ms;
            if !waits {
                let queue = &mut queues[task.queue];
                queue.unanswered = queue.unanswered.saturating_sub(1);
                queue.lost.add(now_ms);
            }
            waits
        });
        for queue in queues {
            // A provider that hangs now and then is no queue that nobody gets to.
            let (lost, answers) = (queue.lost.sum(now_ms), queue.answers.sum(now_ms));
            if lost >= LATE_TASKS_MIN && lost * 20 >= answers {
                queue.late_ms = Some(now_ms);
            }
        }
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
