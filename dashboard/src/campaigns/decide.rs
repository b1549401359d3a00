//! What a campaign does next: a pure function of its plan, its counts and the clock. The runner does as it says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::limits::{CAMPAIGN_BURST_MS, CAMPAIGN_SEND_MAX, FAILURES_JUDGED_MIN};

/// Where a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its sagas are being written down.
    Freezing,
    /// The dry run goes over each.
    Planning,
    /// It waits to be started.
    Planned,
    /// The first few are done.
    Canary,
    /// The others are done.
    Running,
    /// Somebody has paused it.
    Paused,
    /// It has stopped by itself.
    Stopped,
    /// Somebody has ended it.
    Aborted,
    /// Everything that could be done is.
    Finished,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 9] = [
        Phase::Freezing,
        Phase::Planning,
        Phase::Planned,
        Phase::Canary,
        Phase::Running,
        Phase::Paused,
        Phase::Stopped,
        Phase::Aborted,
        Phase::Finished,
    ];

    /// As in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Freezing => "freezing",
            Phase::Planning => "planning",
            Phase::Planned => "planned",
            Phase::Canary => "canary",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
            Phase::Aborted => "aborted",
            Phase::Finished => "finished",
        }
    }

    /// It goes on by itself.
    pub fn is_active(self) -> bool {
        match self {
            Phase::Freezing | Phase::Planning | Phase::Canary | Phase::Running => true,
            Phase::Planned | Phase::Paused | Phase::Stopped | Phase::Aborted | Phase::Finished => false,
        }
    }

    /// Nothing more is sent, ever.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Aborted | Phase::Finished)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
        phase.ok_or_else(|| format!("{text:?} is not a campaign's phase"))
    }
}

/// Items by where they are. All but the first two count this round's only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not sent yet.
    pub ready: u64,
    /// Sent, in this round or an earlier one, and neither past their step nor failed.
    pub unsettled: u64,
    /// Sent, nothing known yet.
    pub waiting: u64,
    /// Failed again, and retried by themselves.
    pub struggling: u64,
    /// Past the step that had failed.
    pub passed: u64,
    /// Failed again.
    pub failed: u64,
    /// Of the failed and struggling, those with the failure that was to be repaired.
    pub same: u64,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, for the moment.
    Wait,
    /// Send so many; the rate is then paid up to this instant.
    Send {
        /// How many.
        items: u32,
        /// Milliseconds since the epoch.
        paid_until_ms: i64,
    },
    /// Go over to another phase.
    Enter {
        /// Which.
        phase: Phase,
        /// Why.
        why: String,
    },
}

fn enter(phase: Phase, why: impl Into<String>) -> Next {
    Next::Enter { phase, why: why.into() }
}

/// What a campaign in the canary or running phase does next. `items` is how many the dry run found to be doable.
pub fn decide(phase: Phase, plan: &Plan, items: u64, seen: Counts, now_ms: i64, paid_until_ms: i64) -> Next {
    match phase {
        Phase::Canary => canary(plan, items, seen, now_ms, paid_until_ms),
        Phase::Running => running(plan, seen, now_ms, paid_until_ms),
        Phase::Freezing
        | Phase::Planning
        | Phase::Planned
        | Phase::Paused
        | Phase::Stopped
        | Phase::Aborted
        | Phase::Finished => Next::Wait,
    }
}

fn canary(plan: &Plan, items: u64, seen: Counts, now_ms: i64, paid_until_ms: i64) -> Next {
    let bad = seen.failed + seen.struggling;
    if bad > 0 {
        return enter(
            Phase::Stopped,
            format!("the canary failed: {bad} of its sagas did not get past their step"),
        );
    }
    let sent = seen.waiting + seen.passed;
    let missing = plan.canary_of(items).saturating_sub(sent).min(seen.ready);
    if missing > 0 {
        return send(plan, missing, seen, now_ms, paid_until_ms);
    }
    match (seen.waiting, seen.ready) {
        (0, 0) => enter(Phase::Finished, "each one is done"),
        (0, _) => enter(
            Phase::Running,
            format!("the canary of {} is past its step", seen.passed),
        ),
        (_, _) => Next::Wait,
    }
}

fn running(plan: &Plan, seen: Counts, now_ms: i64, paid_until_ms: i64) -> Next {
    let bad = seen.failed + seen.struggling;
    let judged = bad + seen.passed;
    if seen.same > u64::from(plan.same_failures_max) {
        return enter(
            Phase::Stopped,
            format!("the same failure has come back {} times", seen.same),
        );
    }
    if bad >= FAILURES_JUDGED_MIN && bad * 100 > judged * u64::from(plan.failure_percent_max) {
        return enter(Phase::Stopped, format!("{bad} of {judged} have failed again"));
    }
    if seen.ready > 0 {
        return send(plan, seen.ready, seen, now_ms, paid_until_ms);
    }
    if seen.unsettled == 0 {
        return enter(Phase::Finished, "each one is done");
    }
    Next::Wait
}

/// As many of `wanted` as the rate and what is in flight allow.
fn send(plan: &Plan, wanted: u64, seen: Counts, now_ms: i64, paid_until_ms: i64) -> Next {
    let rate = i64::from(plan.rate.max(1));
    let from = paid_until_ms.max(now_ms - CAMPAIGN_BURST_MS);
    let by_rate = u64::try_from((now_ms - from).max(0) * rate / 1_000).unwrap_or(0);
    let room = u64::from(plan.in_flight_max).saturating_sub(seen.unsettled);
    let items = wanted.min(by_rate).min(room).min(u64::from(CAMPAIGN_SEND_MAX));
    match u32::try_from(items) {
        Ok(0) | Err(_) => Next::Wait,
        // Rounded up: it is never faster than it says.
        Ok(items) => Next::Send {
            items,
            paid_until_ms: from + (i64::from(items) * 1_000 + rate - 1) / rate,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::plan::Action;

    const NOW: i64 = 1_800_000_000_000;

    fn plan() -> Plan {
        Plan {
            rate: 10,
            in_flight_max: 8,
            ..Plan::new(Action::Retry {
                step: None,
                input_patch: None,
            })
        }
    }

    fn next(phase: Phase, seen: Counts) -> Next {
        decide(phase, &plan(), 100, seen, NOW, 0)
    }

    fn entered(next: Next) -> Phase {
        match next {
            Next::Enter { phase, why } => {
                assert!(!why.is_empty());
                phase
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_canary_goes_first_and_alone() {
        let seen = Counts {
            ready: 100,
            ..Counts::default()
        };
        assert_eq!(
            next(Phase::Canary, seen),
            Next::Send {
                items: 5,
                paid_until_ms: NOW - 500
            }
        );
        let seen = Counts {
            ready: 95,
            unsettled: 5,
            waiting: 5,
            ..Counts::default()
        };
        assert_eq!(next(Phase::Canary, seen), Next::Wait);
        let seen = Counts {
            ready: 95,
            unsettled: 1,
            waiting: 1,
            passed: 4,
            ..Counts::default()
        };
        assert_eq!(next(Phase::Canary, seen), Next::Wait, "each must get past its step");
        let seen = Counts {
            ready: 95,
            passed: 5,
            ..Counts::default()
        };
        assert_eq!(entered(next(Phase::Canary, seen)), Phase::Running);
        let seen = Counts {
            passed: 3,
            ..Counts::default()
        };
        assert_eq!(
            entered(next(Phase::Canary, seen)),
            Phase::Finished,
            "there were no more"
        );
    }

    #[test]
    fn one_failure_of_the_canary_stops_it() {
        for seen in [
            Counts {
                ready: 95,
                passed: 4,
                failed: 1,
                ..Counts::default()
            },
            Counts {
                ready: 95,
                unsettled: 5,
                waiting: 4,
                struggling: 1,
                ..Counts::default()
            },
        ] {
            assert_eq!(entered(next(Phase::Canary, seen)), Phase::Stopped);
        }
    }

    #[test]
    fn the_rate_holds_and_unused_time_is_not_saved_up() {
        let seen = Counts {
            ready: 100,
            passed: 5,
            ..Counts::default()
        };
        let at = |paid_until_ms| decide(Phase::Running, &plan(), 100, seen, NOW, paid_until_ms);
        assert_eq!(at(NOW), Next::Wait);
        assert_eq!(at(NOW - 99), Next::Wait);
        assert_eq!(
            at(NOW - 250),
            Next::Send {
                items: 2,
                paid_until_ms: NOW - 50
            }
        );
        assert_eq!(
            at(0),
            Next::Send {
                items: 8,
                paid_until_ms: NOW - 200
            },
            "a second's worth, or what fits in flight"
        );
    }

    #[test]
    fn what_is_in_flight_is_bounded() {
        let seen = Counts {
            ready: 50,
            unsettled: 6,
            waiting: 6,
            passed: 5,
            ..Counts::default()
        };
        assert_eq!(
            next(Phase::Running, seen),
            Next::Send {
                items: 2,
                paid_until_ms: NOW - 800
            }
        );
        let seen = Counts {
            unsettled: 8,
            waiting: 8,
            ..seen
        };
        assert_eq!(next(Phase::Running, seen), Next::Wait);
    }

    #[test]
    fn it_stops_when_the_failure_comes_back_or_too_many_fail() {
        let well = Counts {
            ready: 50,
            passed: 500,
            ..Counts::default()
        };
        assert!(matches!(next(Phase::Running, well), Next::Send { .. }));
        let same = Counts {
            struggling: 6,
            same: 6,
            unsettled: 6,
            ..well
        };
        assert_eq!(entered(next(Phase::Running, same)), Phase::Stopped);
        let few = Counts {
            ready: 50,
            passed: 5,
            failed: 2,
            ..Counts::default()
        };
        assert!(
            matches!(next(Phase::Running, few), Next::Send { .. }),
            "two say nothing about a rate"
        );
        let many = Counts {
            ready: 50,
            passed: 20,
            failed: 3,
            ..Counts::default()
        };
        assert_eq!(entered(next(Phase::Running, many)), Phase::Stopped);
    }

    #[test]
    fn it_finishes_when_all_is_settled() {
        let seen = Counts {
            unsettled: 1,
            waiting: 1,
            passed: 9,
            ..Counts::default()
        };
        assert_eq!(next(Phase::Running, seen), Next::Wait);
        let seen = Counts {
            passed: 10,
            ..Counts::default()
        };
        assert_eq!(entered(next(Phase::Running, seen)), Phase::Finished);
    }

    #[test]
    fn nothing_happens_by_itself_in_the_other_phases() {
        let seen = Counts {
            ready: 50,
            ..Counts::default()
        };
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
            if !matches!(phase, Phase::Canary | Phase::Running) {
                assert_eq!(next(phase, seen), Next::Wait, "{phase}");
            }
        }
    }
}
