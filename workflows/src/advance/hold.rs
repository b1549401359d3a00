//! Attempts that are not sent yet, because their queue is paused or lets only so many through.
//!
//! Which queues those are is no part of a saga's state: the shell says it by an event of its own, [`Event::Hold`], behind the one that
//! began the attempts, and by [`Event::Release`] when one may go. So a journal leads to the same state whatever the queues do then.
//!
//! [`Event::Hold`]: crate::event::Event::Hold
//! [`Event::Release`]: crate::event::Event::Release

use crate::protocol::Role;
use crate::state::{Active, NodeIndex, Progress, Standing};

use super::{Entry, Machine};

impl Machine<'_> {
    /// Notes what is known before an attempt begins, in case that it is held.
    pub(super) fn note_doubt(&mut self, node: NodeIndex) {
        let in_doubt = self
            .state
            .records
            .get(&node)
            .is_some_and(|record| record.standing == Standing::InDoubt);
        if let Some(work) = self.work_mut(node) {
            work.doubted = in_doubt;
        }
    }

    /// The attempts of these steps have not been sent. None: none of them is in flight.
    pub(super) fn hold(&mut self, steps: &[String]) -> Entry {
        let mut first = None;
        for step in steps {
            let Some(&node) = self.definition.names.get(step) else {
                continue;
            };
            let Some(work) = self.work_mut(node) else { continue };
            if !matches!(work.progress, Progress::InFlight { .. }) {
                continue;
            }
            work.progress = Progress::Held { free: false };
            let unsent = work.role == Role::Run && !work.doubted;
            if unsent && let Some(record) = self.state.records.get_mut(&node) {
                record.standing = Standing::Absent;
            }
            first = first.or(Some(node));
        }
        first.map(|node| ("held", Some(node)))
    }

    /// The step's attempt may go. None: it is not held (any more).
    pub(super) fn release(&mut self, step: &str) -> Entry {
        let node = *self.definition.names.get(step)?;
        let (paused, now) = (self.state.paused, self.now);
        let work = self.work_mut(node)?;
        if work.progress != (Progress::Held { free: false }) {
            return None;
        }
        if paused {
            work.progress = Progress::Held { free: true };
        } else if work.total_deadline.is_some_and(|total| total <= now) {
            self.step_timed_out(node);
        } else {
            self.send(node);
        }
        self.run_todo();
        Some(("released", Some(node)))
    }

    /// After a pause: sends what queues have let through meanwhile.
    pub(super) fn send_freed(&mut self) {
        let freed = |active: &Active| match active {
            Active::Step(work) => work.progress == Progress::Held { free: true },
            Active::Parallel { .. } | Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. } => false,
        };
        let nodes: Vec<NodeIndex> = (self.state.active.iter())
            .filter(|(_, active)| freed(active))
            .map(|(node, _)| *node)
            .collect();
        for node in nodes {
            let now = self.now;
            match self.work_mut(node).map(|work| work.total_deadline) {
                Some(Some(total)) if total <= now => self.step_timed_out(node),
                Some(_) => drop(self.send(node)),
                // A step that was sent before could not be made, and ended the saga.
                None => {}
            }
        }
    }
}
