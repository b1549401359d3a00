//! What operators want.

use serde_json::Value;

use crate::event::Command;
use crate::protocol::Role;
use crate::state::{Active, Ending, NodeIndex, Phase, Progress, Standing, Status};

use super::{Entry, Machine, Refused};

impl Machine<'_> {
    pub(super) fn command(&mut self, command: &Command) -> Result<Entry, Refused> {
        let refuse = |machine: &Self, hint: &str| Err(Refused::new(command.name(), machine.state.status(), hint));
        let ended = self.state.phase == Phase::Ended;
        let node = match command {
            Command::Retry { step, input } => self.retry(step.as_deref(), input.as_ref())?,
            Command::Skip { step, output } => Some(self.skip(step, output)?),
            Command::Cancel {} if self.state.phase != Phase::Forward && self.state.back.is_none() => {
                return refuse(self, "only a saga that still goes forward can be cancelled");
            }
            Command::Cancel {} if self.state.pivoted => {
                return refuse(
                    self,
                    "it is past its point of no return; `compensate` undoes it all the same",
                );
            }
            Command::Cancel {} => {
                self.end(Status::Cancelled, "CANCELLED");
                None
            }
            Command::Compensate {} if self.state.phase == Phase::Undoing && self.state.back.is_none() => {
                return refuse(self, "it is being undone already");
            }
            Command::Compensate {} if self.state.ending.is_some() => return refuse(self, "it has been undone already"),
            Command::Compensate {} => {
                self.end(Status::Compensated, "CANCELLED");
                None
            }
            Command::GoBack { step } => Some(self.go_back(step)?),
            Command::Pause {} if ended => return refuse(self, "it has ended"),
            Command::Pause {} if self.state.paused => return refuse(self, "it is paused already"),
            Command::Pause {} => {
                self.state.paused = true;
                None
            }
            Command::Resume {} if !self.state.paused => return refuse(self, "it is not paused"),
            Command::Resume {} => {
                self.resume();
                None
            }
        };
        self.run_todo();
        Ok(Some((command.name(), node)))
    }

    fn end(&mut self, status: Status, reason: &str) {
        let ending = Ending {
            status,
            reason: reason.to_owned(),
            step: None,
            error: None,
        };
        if self.state.back.take().is_some() {
            // It is being undone in part; what is open of that goes on, and the rest follows.
            self.state.ending = Some(ending);
            self.continue_undo();
        } else {
            self.begin_undo(ending);
        }
    }

    fn resume(&mut self) {
        self.state.paused = false;
        self.send_freed();
        let withheld = |active: &Active| match active {
            Active::Step(work) => work.progress == Progress::Withheld,
            Active::Parallel { .. } | Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. } => false,
        };
        let nodes: Vec<NodeIndex> = self
            .state
            .active
            .iter()
            .filter(|(_, active)| withheld(active))
            .map(|(node, _)| *node)
            .collect();
        for node in nodes {
            self.dispatch(node);
        }
    }

    fn retry(&mut self, step: Option<&str>, input: Option<&Value>) -> Result<Option<NodeIndex>, Refused> {
        let refuse = |hint: String| Refused::new("retry", self.state.status(), hint);
        let retryable = |node: &NodeIndex| match self.state.active.get(node) {
            Some(Active::Step(work)) => matches!(
                work.progress,
                Progress::Operator | Progress::Backoff { .. } | Progress::Pending { .. }
            ),
            _other => false,
        };
        let named = step.map(|step| self.open_step_named("retry", step)).transpose()?;
        let nodes: Vec<NodeIndex> = match named {
            Some(node) => vec![node],
            None => self.state.active.keys().copied().collect(),
        };
        let nodes: Vec<NodeIndex> = nodes.into_iter().filter(retryable).collect();
        if nodes.is_empty() {
            return Err(refuse("no step waits for a retry or for an operator".to_owned()));
        }
        if let Some(input) = input {
            let [node] = nodes.as_slice() else {
                return Err(refuse("an edited input needs the step's name".to_owned()));
            };
            let runs = self.work_mut(*node).is_some_and(|work| work.role == Role::Run);
            let absent = self
                .state
                .records
                .get(node)
                .is_some_and(|record| record.standing == Standing::Absent);
            if !runs || !absent {
                let hint = "the last attempt's outcome is not known, so another input could double its effect; retry without one first";
                return Err(Refused::new("retry", self.state.status(), hint));
            }
            self.fresh_key(*node);
            if let Some(work) = self.work_mut(*node) {
                work.edited_input = Some(input.clone());
            }
        }
        for node in &nodes {
            self.retry_now(*node);
        }
        Ok(named)
    }

    fn retry_now(&mut self, node: NodeIndex) {
        let epoch = self.next_epoch();
        let pending = match self.work_mut(node) {
            Some(work) => {
                work.epoch = epoch;
                let pending = matches!(work.progress, Progress::Pending { .. });
                if work.progress == Progress::Operator {
                    // A fresh budget.
                    work.attempt = 0;
                    work.run_attempts = 0;
                    work.total_deadline = None;
                }
                pending
            }
            None => return,
        };
        let in_doubt = self
            .state
            .records
            .get(&node)
            .is_some_and(|record| record.standing == Standing::InDoubt);
        let probes = self.definition.step(node).is_some_and(|step| step.probe.is_some());
        let runs = self.work_mut(node).is_some_and(|work| work.role == Role::Run);
        if pending || (runs && in_doubt && probes) {
            self.begin_role(node, Role::Probe);
        } else {
            self.dispatch(node);
        }
    }

    fn skip(&mut self, step: &str, output: &Value) -> Result<NodeIndex, Refused> {
        let node = self.open_step_named("skip", step)?;
        match self.work_mut(node).map(|work| work.role) {
            Some(Role::Run | Role::Probe) => self.succeeded(node, output.clone(), None),
            // An operator's word that nothing needs settling, or undoing.
            Some(Role::Fence) => self.settled(node, Standing::Absent),
            Some(Role::Compensate) | None => self.undone(node, 0),
        }
        Ok(node)
    }

    fn open_step_named(&self, command: &str, step: &str) -> Result<NodeIndex, Refused> {
        let open = self
            .definition
            .names
            .get(step)
            .filter(|node| matches!(self.state.active.get(node), Some(Active::Step(_))));
        open.copied().ok_or_else(|| {
            let names: Vec<&str> = (self.state.active.iter())
                .filter(|(_, active)| matches!(active, Active::Step(_)))
                .map(|(node, _)| self.definition.node(*node).name.as_str())
                .collect();
            let hint = match names.as_slice() {
                [] => format!("{step:?} is not open, and no other step is"),
                names => format!("{step:?} is not open; open are: {}", names.join(", ")),
            };
            Refused::new(command, self.state.status(), hint)
        })
    }
}
