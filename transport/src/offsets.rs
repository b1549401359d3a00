//! Which offsets may be committed: those behind which everything is done.
//!
//! Messages of one partition are finished in any order; the partition's low watermark is the first one that is not.
//! After a rebalance a partition begins anew, and what was taken before it no longer counts.

use std::collections::{BTreeMap, VecDeque};

/// Names one taken message. Worth nothing once its partition was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Which of the consumer's topics.
    pub(crate) topic: usize,
    partition: i32,
    offset: i64,
    generation: u64,
}

impl Ticket {
    pub(crate) fn of_topic(self, topic: usize) -> Self {
        Ticket { topic, ..self }
    }

    /// The message's partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The message's offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

/// The low watermarks of one topic's partitions.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    partitions: BTreeMap<i32, Progress>,
    generation: u64,
}

#[derive(Debug)]
struct Progress {
    generation: u64,
    /// Taken messages from the first unfinished one on, by offset, with the parts that are left of each.
    open: VecDeque<(i64, u32)>,
    /// One past the last message before which all is finished.
    watermark: Option<i64>,
    /// The watermark that was last handed out to be committed.
    committed: Option<i64>,
}

impl OffsetTracker {
    /// Nothing assigned yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The partition is ours from now on; what was taken from it before no longer counts.
    pub fn assign(&mut self, partition: i32) {
        self.generation += 1;
        let progress = Progress {
            generation: self.generation,
            open: VecDeque::new(),
            watermark: None,
            committed: None,
        };
        self.partitions.insert(partition, progress);
    }

    /// The partition is no longer ours: nothing will be committed for it.
    pub fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// The partitions that are ours.
    pub fn assigned(&self) -> impl Iterator<Item = i32> + '_ {
        self.partitions.keys().copied()
    }

    /// A message was read that consists of `parts` (at least one) pieces of work. None if the partition isn't ours.
    pub fn take(&mut self, partition: i32, offset: i64, parts: u32) -> Option<Ticket> {
        let progress = self.partitions.get_mut(&partition)?;
        // A partition that lost its messages (a broker begun anew) counts from a lower offset again.
        let last_seen = progress
            .open
            .back()
            .map(|(offset, _)| *offset)
            .or(progress.watermark.map(|next| next - 1));
        if last_seen.is_some_and(|last| offset <= last) {
            self.assign(partition);
        }
        let progress = self.partitions.get_mut(&partition)?;
        progress.open.push_back((offset, parts.max(1)));
        Some(Ticket {
            topic: 0,
            partition,
            offset,
            generation: progress.generation,
        })
    }

    /// One part of a taken message is done for good.
    pub fn complete(&mut self, ticket: Ticket) {
        self.complete_parts(ticket, 1);
    }

    /// Several parts of a taken message are done for good.
    pub fn complete_parts(&mut self, ticket: Ticket, parts: u32) {
        let Some(progress) = self.partitions.get_mut(&ticket.partition) else {
            return;
        };
        if progress.generation != ticket.generation {
            return;
        }
        let Ok(at) = progress
            .open
            .binary_search_by_key(&ticket.offset, |(offset, _)| *offset)
        else {
            return;
        };
        progress.open[at].1 = progress.open[at].1.saturating_sub(parts);
        while let Some((offset, 0)) = progress.open.front() {
            progress.watermark = Some(offset + 1);
            progress.open.pop_front();
        }
    }

    /// The offset to commit for the partition: one past the last message before which all is done.
    pub fn committable(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.watermark
    }

    /// Every watermark that moved since it was last asked for here.
    pub fn take_commits(&mut self) -> Vec<(i32, i64)> {
        let mut moved = Vec::new();
        for (partition, progress) in &mut self.partitions {
            if let Some(watermark) = progress.watermark
                && progress.committed != Some(watermark)
            {
                progress.committed = Some(watermark);
                moved.push((*partition, watermark));
            }
        }
        moved
    }

    /// The commit of this partition failed: [`Self::take_commits`] offers it again.
    pub fn commit_failed(&mut self, partition: i32) {
        if let Some(progress) = self.partitions.get_mut(&partition) {
            progress.committed = None;
        }
    }

    /// Messages that were taken and are not done, nor before one that isn't.
    pub fn open_messages(&self) -> usize {
        self.partitions.values().map(|progress| progress.open.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commits_only_behind_finished_work() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(3);
        let first = tracker.take(3, 10, 2).expect("assigned");
        let second = tracker.take(3, 11, 1).expect("assigned");
        tracker.complete(second);
        assert_eq!(tracker.committable(3), None, "10 is open");
        tracker.complete(first);
        assert_eq!(tracker.committable(3), None, "one part of 10 is open");
        tracker.complete(first);
        assert_eq!(tracker.committable(3), Some(12));
        assert_eq!(tracker.take_commits(), vec![(3, 12)]);
        assert_eq!(tracker.take_commits(), vec![]);
        tracker.commit_failed(3);
        assert_eq!(tracker.take_commits(), vec![(3, 12)]);
    }

    #[test]
    fn forgets_what_was_revoked() {
        let mut tracker = OffsetTracker::new();
        assert!(tracker.take(0, 5, 1).is_none(), "not assigned");
        tracker.assign(0);
        let old = tracker.take(0, 5, 1).expect("assigned");
        tracker.revoke(0);
        tracker.complete(old);
        assert_eq!(tracker.committable(0), None);
        tracker.assign(0);
        let new = tracker.take(0, 5, 1).expect("assigned");
        tracker.complete(old);
        assert_eq!(
            tracker.committable(0),
            None,
            "a ticket from before the rebalance counts for nothing"
        );
        tracker.complete(new);
        assert_eq!(tracker.committable(0), Some(6));
    }

    #[test]
    fn begins_anew_when_offsets_go_back() {
        let mut tracker = OffsetTracker::new();
        tracker.assign(0);
        let high = tracker.take(0, 1_000, 1).expect("assigned");
        let low = tracker.take(0, 0, 1).expect("assigned");
        tracker.complete(high);
        assert_eq!(tracker.committable(0), None);
        tracker.complete(low);
        assert_eq!(tracker.committable(0), Some(1));
    }

    proptest! {
        /// Against a model: the watermark is one past the longest finished prefix of what was taken.
        #[test]
        fn watermark_is_the_finished_prefix(
            gaps in prop::collection::vec((1i64..4, 1u32..4), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let mut tracker = OffsetTracker::new();
            tracker.assign(0);
            let mut offset = 0;
            let mut model: Vec<(i64, u32)> = Vec::new();
            let mut tickets = Vec::new();
            for (gap, parts) in gaps {
                offset += gap;
                tickets.push(tracker.take(0, offset, parts).expect("assigned"));
                model.push((offset, parts));
            }
            let mut last = None;
            for index in order {
                let at = index.index(model.len());
                tracker.complete(tickets[at]);
                model[at].1 = model[at].1.saturating_sub(1);
                let expected = model.iter().take_while(|(_, left)| *left == 0).last().map(|(offset, _)| offset + 1);
                prop_assert_eq!(tracker.committable(0), expected);
                prop_assert!(tracker.committable(0) >= last, "never goes back");
                last = tracker.committable(0);
            }
        }
    }
}
