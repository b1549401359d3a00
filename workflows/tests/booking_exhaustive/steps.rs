//! What can happen next, and what comes of it.

use super::*;

impl Node {
    pub(super) fn apply(&mut self, definition: &Compiled, event: Event) {
        let before = self.state.clone();
        match advance(definition, saga(), self.state.clone(), &event, self.now) {
            Ok(transition) => {
                if transition.journal.is_some() {
                    assert_eq!(transition.state.seq, before.seq + 1);
                    self.journal.push((self.now, event));
                } else {
                    assert_eq!(transition.state, before);
                }
                let held = self.take(&transition.effects);
                self.state = transition.state;
                if !held.is_empty() {
                    self.apply(definition, Event::Hold { steps: held });
                }
            }
            Err(_refused) => assert!(
                matches!(event, Event::Command(_) | Event::Signal(_)),
                "{event:?} was refused"
            ),
        }
    }

    /// Gives the steps whose tasks are held.
    pub(super) fn take(&mut self, effects: &[Effect]) -> Vec<String> {
        let mut held = Vec::new();
        for effect in effects {
            if let Effect::Dispatch { task, .. } = effect {
                if self.world.gated {
                    held.push(task.token.step.clone());
                } else {
                    self.world.tasks.push(task.clone());
                }
            }
        }
        held
    }

    pub(super) fn go_back(&mut self, definition: &Compiled, step: &str) {
        let command = CommandEvent {
            command: Command::GoBack { step: step.to_owned() },
            by: "operator".into(),
            reason: String::new(),
        };
        self.apply(definition, Event::Command(command));
    }

    pub(super) fn let_through(&mut self, definition: &Compiled) {
        let Some(node) = self.state.held().next() else { return };
        let step = definition.node_name(node).unwrap().to_owned();
        let gated = std::mem::take(&mut self.world.gated);
        self.apply(definition, Event::Release { step });
        self.world.gated = gated;
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.state.attempt_due().into_iter().chain(self.state.timer_due()).min()
    }

    pub(super) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let repeat = self.world.repeats < REPEATS_MAX;
        for (i, task) in self.world.tasks.iter().enumerate() {
            let mut hows = vec![How::Well, How::UnknownDone, How::UnknownNot];
            match task.activity.as_str() {
                "payments.charge" => hows.extend([How::Declined, How::Busy]),
                _other => {}
            }
            for how in hows {
                choices.push(Choice::Run {
                    task: i,
                    how,
                    answer_lost: false,
                });
            }
            choices.push(Choice::Run {
                task: i,
                how: How::Well,
                answer_lost: true,
            });
            choices.push(Choice::LoseTask(i));
            if repeat {
                choices.push(Choice::RepeatTask(i));
            }
        }
        for i in 0..self.world.results.len() {
            choices.push(Choice::Deliver(i));
            if repeat {
                choices.push(Choice::RepeatResult(i));
            }
        }
        if self.next_due().is_some() {
            choices.push(Choice::Wait);
        }
        if !self.world.cancelled && !self.state.status().is_final() {
            choices.push(Choice::Cancel);
        }
        if !self.world.signalled {
            choices.push(Choice::Webhook);
        }
        if !self.world.rival && self.world.seat == Seat::Free {
            choices.push(Choice::Rival);
        }
        if self.world.backs > 0 {
            choices.extend([Choice::GoBack("reserve"), Choice::GoBack("charge")]);
        }
        if self.world.gated || self.world.pauses > 0 {
            choices.push(Choice::Gate);
        }
        if self.state.held().next().is_some() {
            choices.push(Choice::LetThrough);
        }
        choices
    }

    pub(super) fn go(&mut self, definition: &Compiled, choice: &Choice) {
        match *choice {
            Choice::Run { task, how, answer_lost } => {
                let task = self.world.tasks.remove(task);
                let outcome = self.world.run(&task, how);
                if !answer_lost {
                    self.world.results.push(TaskResult {
                        token: task.token,
                        outcome,
                    });
                }
            }
            Choice::LoseTask(task) => {
                self.world.tasks.remove(task);
            }
            Choice::RepeatTask(task) => {
                self.world.repeats += 1;
                self.world.tasks.push(self.world.tasks[task].clone());
            }
            Choice::Deliver(result) => {
                let result = self.world.results.remove(result);
                self.apply(definition, Event::Result(result));
            }
            Choice::RepeatResult(result) => {
                self.world.repeats += 1;
                self.world.results.push(self.world.results[result].clone());
            }
            Choice::Wait => {
                if let Some(due) = self.next_due() {
                    self.now = self.now.max(due);
                    self.apply(definition, Event::Tick {});
                }
            }
            Choice::Cancel => {
                self.world.cancelled = true;
                let command = CommandEvent {
                    command: Command::Cancel {},
                    by: "buyer".into(),
                    reason: String::new(),
                };
                self.apply(definition, Event::Command(command));
            }
            Choice::Webhook => {
                self.world.signalled = true;
                let name = booking::PAYMENT_SIGNAL.into();
                self.apply(
                    definition,
                    Event::Signal(Signal {
                        id: "evt_1".into(),
                        name,
                        payload: Value::Null,
                    }),
                );
            }
            Choice::Rival => {
                self.world.rival = true;
                self.world.seat = Seat::Other;
            }
            Choice::GoBack(step) => {
                self.world.backs -= 1;
                self.go_back(definition, step);
            }
            Choice::Gate if self.world.gated => self.world.gated = false,
            Choice::Gate => {
                self.world.pauses -= 1;
                self.world.gated = true;
            }
            Choice::LetThrough => self.let_through(definition),
        }
    }

    /// What must hold in every state.
    pub(super) fn check(&self, path: &[Choice]) {
        let explain = || format!("{path:#?}\n{:#?}\n{:?}", self.state, self.world);
        assert!(self.world.charged() <= 1, "charged twice: {}", explain());
        let status = self.state.status();
        let live = !status.is_final();
        let held = self.state.held().next().is_some();
        let waits = self.next_due().is_some() || status == Status::Failed || held;
        assert!(!live || waits, "silently stuck: {}", explain());
        assert_eq!(State::decode(&self.state.encode()).unwrap(), self.state);
    }

    /// What must hold at the end.
    pub(super) fn check_end(&self, definition: &Compiled, path: &[Choice]) {
        let explain = || format!("{path:#?}\n{:#?}\n{:?}", self.state, self.world);
        let confirmed = match self.state.status() {
            Status::Completed => true,
            Status::Compensated | Status::Rejected | Status::Cancelled => false,
            other => panic!("ended {other:?}: {}", explain()),
        };
        assert_eq!(self.world.charged(), usize::from(confirmed), "money: {}", explain());
        let ours = matches!(self.world.seat, Seat::Held | Seat::Sold);
        assert_eq!(ours, confirmed, "seat: {}", explain());
        assert!(!confirmed || self.world.seat == Seat::Sold, "seat: {}", explain());
        let journal = self.journal.iter().map(|(at, event)| (*at, event));
        let rebuilt = rebuild(definition, saga(), journal).unwrap().unwrap();
        assert_eq!(rebuilt, self.state, "journal: {}", explain());
    }

    /// From here on all goes well.
    pub(super) fn drain(&mut self, definition: &Compiled) {
        self.world.gated = false;
        for _ in 0..DRAIN_STEPS_MAX {
            self.let_through(definition);
            let choice = if !self.world.tasks.is_empty() {
                Choice::Run {
                    task: 0,
                    how: How::Well,
                    answer_lost: false,
                }
            } else if !self.world.results.is_empty() {
                Choice::Deliver(0)
            } else if self.next_due().is_some() {
                Choice::Wait
            } else {
                return;
            };
            self.go(definition, &choice);
        }
        panic!("no end in {DRAIN_STEPS_MAX} steps: {:#?}", self.state);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let world = &self.world;
        self.state.encode().hash(&mut hasher);
        self.now.hash(&mut hasher);
        (world.seat, world.released, &world.intents).hash(&mut hasher);
        (world.repeats, world.cancelled, world.signalled, world.rival).hash(&mut hasher);
        (world.backs, world.pauses, world.gated).hash(&mut hasher);
        for task in &world.tasks {
            (&task.token, &task.key).hash(&mut hasher);
        }
        for result in &world.results {
            (serde_json::to_string(result).unwrap()).hash(&mut hasher);
        }
        hasher.finish()
    }
}
