//! CPU time of process groups, read from `/proc`.
//!
//! What a saga costs is told by group (orchestrator, worker, broker, Postgres, load), because a rate alone doesn't say
//! where the time goes, nor what another machine would give.

use std::collections::{BTreeMap, HashMap};
use std::fs;

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process as `/proc/<pid>/stat` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// User and system time of its own.
    own_ticks: u64,
    /// The same of its children that have ended and were waited for.
    ended_children_ticks: u64,
}

/// CPU milliseconds spent so far by each named group: its processes, their descendants, and those of them that have
/// ended (a Postgres backend's time moves to the postmaster when its connection closes).
fn group_ms(groups: &[(&'static str, Vec<u32>)]) -> BTreeMap<&'static str, f64> {
    let all = processes();
    groups
        .iter()
        .map(|(name, roots)| (*name, total_ms(&all, roots)))
        .collect()
}

/// CPU milliseconds spent so far by this process itself.
fn own_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| parse(&stat));
    stat.map_or(0.0, |stat| stat.own_ticks as f64 * 1_000.0 / TICKS_PER_SECOND)
}

/// What the whole machine has spent: busy CPU milliseconds, and those that the hypervisor kept for others.
fn machine_ms() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = at(0) + at(1) + at(2) + at(5) + at(6);
    (busy * 1_000.0 / TICKS_PER_SECOND, at(7) * 1_000.0 / TICKS_PER_SECOND)
}

/// CPU time spent, by whom.
pub struct Usage {
    /// By process group.
    pub groups_ms: BTreeMap<&'static str, f64>,
    /// This process, without the children that are in the groups.
    pub load_ms: f64,
    /// What the hypervisor kept for others.
    pub steal_ms: f64,
    machine_ms: f64,
}

impl Usage {
    /// Seconds spent by each group, and by the load.
    pub fn seconds(&self) -> BTreeMap<&'static str, f64> {
        let load = ("load", self.load_ms);
        let all = self.groups_ms.iter().map(|(name, spent)| (*name, *spent)).chain([load]);
        all.map(|(name, spent)| (name, spent / 1_000.0)).collect()
    }

    /// So far.
    pub fn now(groups: &[(&'static str, Vec<u32>)]) -> Usage {
        let (machine_ms, steal_ms) = machine_ms();
        Usage {
            groups_ms: group_ms(groups),
            load_ms: own_ms(),
            steal_ms,
            machine_ms,
        }
    }

    /// From then until now.
    pub fn since(mut self, before: &Usage) -> Usage {
        for (name, ms) in &mut self.groups_ms {
            *ms -= before.groups_ms.get(name).copied().unwrap_or_default();
        }
        self.load_ms -= before.load_ms;
        self.machine_ms -= before.machine_ms;
        self.steal_ms -= before.steal_ms;
        self
    }

    /// What the rest of the machine has used.
    pub fn other_ms(&self) -> f64 {
        (self.machine_ms - self.load_ms - self.groups_ms.values().sum::<f64>()).max(0.0)
    }
}

/// These processes and their descendants.
pub fn descendants(roots: &[u32]) -> Vec<u32> {
    let all = processes();
    all.keys()
        .copied()
        .filter(|pid| descends_from(&all, *pid, roots))
        .collect()
}

fn total_ms(all: &HashMap<u32, Stat>, roots: &[u32]) -> f64 {
    let ticks: u64 = all
        .iter()
        .filter(|(pid, _)| descends_from(all, **pid, roots))
        .map(|(_, stat)| stat.own_ticks + stat.ended_children_ticks)
        .sum();
    ticks as f64 * 1_000.0 / TICKS_PER_SECOND
}

fn descends_from(all: &HashMap<u32, Stat>, mut pid: u32, roots: &[u32]) -> bool {
    // A process tree has no cycles, but it was not read in one instant: so count.
    for _ in 0..64 {
        if roots.contains(&pid) {
            return true;
        }
        match all.get(&pid) {
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            Some(_) | None => return false,
        }
    }
    false
}

fn processes() -> HashMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse(&stat)?))
        })
        .collect()
}

/// Fields are counted from behind the command's closing parenthesis, for a command may contain anything.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own_ticks: number(11)? + number(12)?,
        ended_children_ticks: number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_is_no_obstacle() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 200";
        assert_eq!(
            parse(line),
            Some(Stat {
                parent: 7,
                own_ticks: 30,
                ended_children_ticks: 70
            })
        );
    }

    #[test]
    fn a_group_is_its_roots_and_what_descends_from_them() {
        let stat = |parent, own_ticks| Stat {
            parent,
            own_ticks,
            ended_children_ticks: 1,
        };
        let all = HashMap::from([
            (10, stat(1, 100)),
            (11, stat(10, 10)),
            (12, stat(11, 5)),
            (20, stat(1, 1_000)),
        ]);
        assert_eq!(total_ms(&all, &[10]), f64::from(101 + 11 + 6) * 10.0);
        assert_eq!(total_ms(&all, &[99]), 0.0);
    }
}
