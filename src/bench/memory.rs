//! How much memory processes took at most, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cpu;

/// Between two looks at groups whose processes come and go.
const EVERY: Duration = Duration::from_secs(1);

/// Peaks, in the making.
pub struct Memory {
    watched: JoinHandle<BTreeMap<&'static str, u64>>,
    over: CancellationToken,
}

impl Memory {
    /// Watches groups of processes that come and go (Postgres' backends) until `over`; each is its roots and their
    /// descendants.
    pub fn watch(groups: &[(&'static str, Vec<u32>)], over: CancellationToken) -> Memory {
        let groups = groups.to_vec();
        let until = over.clone();
        let watched = tokio::spawn(async move {
            let mut peaks_kb = BTreeMap::new();
            loop {
                for (name, roots) in &groups {
                    let peak = peaks_kb.entry(*name).or_insert(0);
                    *peak = group_kb(roots).max(*peak);
                }
                if until.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                    return peaks_kb;
                }
            }
        });
        Memory { watched, over }
    }

    /// The peaks in megabytes: of the watched groups, of these processes since they began, and of this one, `load`.
    pub async fn finish(self, processes: &[(&str, u32)]) -> BTreeMap<String, f64> {
        self.over.cancel();
        // A panic in it was logged; the figures are then missing, which is seen.
        let groups_kb = self.watched.await.unwrap_or_default();
        let groups = groups_kb.into_iter().map(|(name, kb)| (name.to_owned(), kb));
        let own = processes
            .iter()
            .map(|(name, pid)| ((*name).to_owned(), peak_kb(&pid.to_string())));
        groups
            .chain(own)
            .chain([("load".to_owned(), peak_kb("self"))])
            .map(|(name, kb)| (name, kb as f64 / 1_024.0))
            .collect()
    }
}

/// What the processes have to themselves, and once what they share with each other: their sum would count Postgres' buffers as often as
/// it has backends.
fn group_kb(roots: &[u32]) -> u64 {
    let (mut own_kb, mut shared_kb) = (0, 0);
    for pid in cpu::descendants(roots) {
        let status = status(&pid.to_string());
        own_kb += field_kb(&status, "RssAnon");
        shared_kb = shared_kb.max(field_kb(&status, "RssShmem"));
    }
    own_kb + shared_kb
}

/// What a process has in memory now.
pub fn resident_kb(pid: u32) -> u64 {
    field_kb(&status(&pid.to_string()), "VmRSS")
}

fn peak_kb(pid: &str) -> u64 {
    field_kb(&status(pid), "VmHWM")
}

/// Empty if the process is gone.
fn status(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

fn field_kb(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_status_is_found_by_its_whole_name() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nRssAnon:\t 1024 kB\n";
        assert_eq!((field_kb(status, "VmHWM"), field_kb(status, "Rss")), (2_048, 0));
    }

    #[test]
    fn our_own_peak_is_something() {
        assert!(peak_kb("self") > 1_000);
        assert!(group_kb(&[std::process::id()]) > 100);
    }
}
