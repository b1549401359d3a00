//! What a run found, for people and as one line of JSON.

use serde::Serialize;

use super::footprint::LeftBehind;

/// The result of `bench saga`. Rates and latencies are of the measured sagas alone, without the warm-up.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `apache-kafka`, `in-process`, or `external` (given by `--brokers`).
    pub broker: &'static str,
    /// Sagas measured.
    pub sagas: u64,
    /// Sagas in flight.
    pub concurrency: u32,
    /// Orchestrator processes.
    pub orchestrators: u32,
    /// Worker processes.
    pub workers: u32,
    /// Ended sagas that were in the tables before (`--ended`), besides the warm-up's.
    pub ended_before: u64,
    /// From the first start to the last outcome.
    pub wall_s: f64,
    /// Sagas a second.
    pub sagas_per_s: f64,
    /// Median from sending a start to having its outcome.
    pub p50_ms: f64,
    /// 95th percentile of the same.
    pub p95_ms: f64,
    /// 99th percentile of the same.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Sagas that ended `completed`.
    pub confirmed: u64,
    /// Sagas that ended `compensated`.
    pub compensated: u64,
    /// Requests that failed and sagas that ended otherwise.
    pub failed: u64,
    /// Callers who were told `completed` though the seat is not theirs.
    pub oversold: u64,
    /// Deadlocks in the database.
    pub deadlocks: u64,
    /// CPU time of the orchestrators.
    pub orchestrator_cpu_ms_per_saga: f64,
    /// CPU time of the workers.
    pub worker_cpu_ms_per_saga: f64,
    /// CPU time of the broker; none if it isn't ours. The in-process broker's is in the load's.
    pub broker_cpu_ms_per_saga: Option<f64>,
    /// CPU time of Postgres with all its processes; none if it isn't ours.
    pub postgres_cpu_ms_per_saga: Option<f64>,
    /// CPU time of this process: the callers.
    pub load_cpu_ms_per_saga: f64,
    /// CPU time that the rest of the machine used meanwhile. More than a few percent of `wall_s` times the
    /// cores: throw the run away.
    pub other_cpu_s: f64,
    /// CPU time that the hypervisor kept for others meanwhile.
    pub steal_s: f64,
    /// Sagas in one of the engine's batches, on average.
    pub batch_mean: f64,
    /// What the sagas left behind.
    #[serde(flatten)]
    pub left: LeftBehind,
    /// Sagas a second that a bare loop writes in batches of that size (`--limit`).
    pub limit_sagas_per_s: Option<f64>,
    /// What the whole pipeline reaches of that.
    pub limit_ratio: Option<f64>,
    /// Everything was as it must be.
    pub ok: bool,
    /// What was not.
    pub problems: Vec<String>,
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let cpu = |value: Option<f64>| value.map_or_else(|| "not ours".to_owned(), |ms| format!("{ms:.3} ms a saga"));
        let mut lines = vec![
            format!("{:>12}  {}", "broker", self.broker),
            format!(
                "{:>12}  {} sagas in {:.2} s, {} in flight",
                "load", self.sagas, self.wall_s, self.concurrency
            ),
            format!("{:>12}  {:.0} sagas/s", "rate", self.sagas_per_s),
            format!(
                "{:>12}  p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                "latency", self.p50_ms, self.p95_ms, self.p99_ms, self.max_ms
            ),
            format!(
                "{:>12}  {} confirmed, {} compensated, {} failed, {} oversold, {} deadlocks",
                "outcome", self.confirmed, self.compensated, self.failed, self.oversold, self.deadlocks
            ),
            format!(
                "{:>12}  orchestrator {}",
                "CPU",
                cpu(Some(self.orchestrator_cpu_ms_per_saga))
            ),
            format!("{:>12}  worker       {}", "", cpu(Some(self.worker_cpu_ms_per_saga))),
            format!("{:>12}  broker       {}", "", cpu(self.broker_cpu_ms_per_saga)),
            format!("{:>12}  Postgres     {}", "", cpu(self.postgres_cpu_ms_per_saga)),
            format!("{:>12}  load         {}", "", cpu(Some(self.load_cpu_ms_per_saga))),
            format!(
                "{:>12}  {:.2} s elsewhere, {:.2} s stolen",
                "", self.other_cpu_s, self.steal_s
            ),
        ];
        lines.push(format!("{:>12}  {:.0} sagas on average", "batch", self.batch_mean));
        let left = &self.left;
        let kept = left
            .broker_bytes_per_saga
            .map_or_else(String::new, |bytes| format!(", {bytes:.0} of broker"));
        lines.push(format!(
            "{:>12}  bytes a saga: {:.0} of log, {:.0} of tables{kept}; {:.2} transactions a saga; {} dead rows",
            "footprint",
            left.wal_bytes_per_saga,
            left.table_bytes_per_saga,
            left.transactions_per_saga,
            left.dead_tuples
        ));
        if let (Some(limit), Some(ratio)) = (self.limit_sagas_per_s, self.limit_ratio) {
            lines.push(format!(
                "{:>12}  {limit:.0} sagas/s by a bare loop in such batches: {ratio:.2} of it is reached",
                "limit"
            ));
        }
        lines.extend(
            self.problems
                .iter()
                .map(|problem| format!("{:>12}  {problem}", "WRONG")),
        );
        lines.join("\n")
    }
}

/// The latency in milliseconds that this share (0 to 1) kept within: the nearest rank of ascending microseconds.
pub fn quantile_ms(ascending_us: &[u32], share: f64) -> f64 {
    let Some(last) = ascending_us.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = ((ascending_us.len() as f64 * share).ceil() as usize)
        .saturating_sub(1)
        .min(last);
    f64::from(ascending_us[rank]) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let latencies_us: Vec<u32> = (1..=100).map(|ms| ms * 1_000).collect();
        assert_eq!(quantile_ms(&latencies_us, 0.5), 50.0);
        assert_eq!(quantile_ms(&latencies_us, 0.99), 99.0);
        assert_eq!(quantile_ms(&latencies_us, 1.0), 100.0);
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }
}
