//! `sagaline bench saga`: set the stage, warm up, measure, check, report.

use anyhow::{Context as _, bail};

use super::SagaArgs;
use super::check::{self, Verdict};
use super::cpu::Usage;
use super::footprint::{Footprint, LeftBehind, Watch};
use super::history;
use super::load::{self, Seen};
use super::processes::allow_connections;
use super::report::Report;
use super::stage::Stage;
use crate::output::Output;

/// Sagas that the bare loop writes for comparison, at most.
const LIMIT_SAGAS_MAX: u64 = 50_000;
/// Sagas run before the measurement, at most: as many as are measured, until the broker's just-in-time compiler has done most
/// of its work.
const WARM_UP_SAGAS_MAX: u64 = 30_000;
/// Sagas in flight while warming up, at least. A broker that has served for a day has long been compiled; one saga
/// at a time would take a quarter of an hour to get it there.
const WARM_UP_CONCURRENCY: u32 = 64;
/// How many sagas warm up for each one measured, where few are in flight.
const WARM_UP_FACTOR: u64 = 20;

/// Runs the reference workload and prints what it found. Fails if the tables don't agree.
pub async fn run(args: &SagaArgs, output: Output) -> anyhow::Result<()> {
    let stop = crate::shutdown::on_signal()?;
    allow_connections(u64::from(args.concurrency));
    // Dropped either way, the stage takes everything down that is ours.
    let report = tokio::select! {
        report = run_on_stage(args) => report?,
        () = stop.cancelled() => bail!("interrupted"),
    };
    super::print(output, || report.table(), &report)?;
    if !report.ok {
        bail!("the result is wrong: {}", report.problems.join("; "));
    }
    Ok(())
}

async fn run_on_stage(args: &SagaArgs) -> anyhow::Result<Report> {
    let say = |line: &str| eprintln!("bench: {line}");
    let stage = Stage::set(args, &say).await?;
    let factor = if args.concurrency < WARM_UP_CONCURRENCY {
        WARM_UP_FACTOR
    } else {
        1
    };
    let warm_up = (args.sagas * factor)
        .min(WARM_UP_SAGAS_MAX)
        .max(u64::from(args.concurrency))
        .max(check::DECLINED_EVERY);
    check::make_seats(&stage.ground.pool, args.sagas, warm_up).await?;

    say("warming up");
    let seen = load::run(&stage.targets, "F", 1, 1).await.context("the first saga")?;
    refuse_failures("the first saga", &seen, &stage)?;
    let seen = load::run(&stage.targets, "W", warm_up, args.concurrency.max(WARM_UP_CONCURRENCY))
        .await
        .context("warming up")?;
    refuse_failures("warming up", &seen, &stage)?;

    if args.ended > 0 {
        say(&format!("adding {} ended sagas", args.ended));
        history::add(&stage.ground.pool, args.ended).await?;
    }
    check::settle(&stage.ground.pool).await;
    say(&format!(
        "measuring {} sagas, {} in flight",
        args.sagas, args.concurrency
    ));
    let footprint = || Footprint::now(&stage.ground.pool, stage.ground.broker_log());
    let (batches_before, footprint_before) = (stage.batches().await?, footprint().await?);
    let watch = Watch::begin(stage.ground.pool.clone());
    let before = Usage::now(&stage.groups());
    let seen = load::run(&stage.targets, "S", args.sagas, args.concurrency).await?;
    let used = Usage::now(&stage.groups()).since(&before);

    drop(watch);
    let batches = stage.batches().await?.since(&batches_before);

    say("checking");
    let verdict = check::verify(&stage.ground.pool, args.sagas, &seen.ended).await?;
    let left = footprint().await?.since(&footprint_before, args.sagas);
    let mut report = report(args, &stage, &seen, &used, verdict, left);
    report.batch_mean = batches.mean();
    if args.limit {
        say("writing the same rows by a bare loop");
        let batch = (report.batch_mean.round() as u64).clamp(1, 1_000);
        let limit = stage.limit(args.sagas.min(LIMIT_SAGAS_MAX), batch).await?;
        report.limit_sagas_per_s = Some(limit.sagas_per_s);
        report.limit_ratio = Some(report.sagas_per_s / limit.sagas_per_s);
    }
    Ok(report)
}

fn refuse_failures(what: &str, seen: &Seen, stage: &Stage) -> anyhow::Result<()> {
    if seen.failed > 0 {
        bail!(
            "{what}: {}; the ends of the logs:\n{}",
            seen.failures.join("; "),
            stage.log_tails()
        );
    }
    Ok(())
}

fn report(args: &SagaArgs, stage: &Stage, seen: &Seen, used: &Usage, verdict: Verdict, left: LeftBehind) -> Report {
    let mut problems = seen.failures.clone();
    problems.extend(verdict.problems);
    let wall_s = seen.wall.as_secs_f64();
    let per_saga = |name: &str| used.groups_ms.get(name).map(|ms| ms / args.sagas as f64);
    Report {
        broker: stage.ground.broker_name(),
        sagas: args.sagas,
        concurrency: args.concurrency,
        orchestrators: args.orchestrators,
        workers: args.workers,
        ended_before: args.ended,
        wall_s,
        sagas_per_s: seen.ended.len() as f64 / wall_s,
        p50_ms: seen.quantile_ms(0.50),
        p95_ms: seen.quantile_ms(0.95),
        p99_ms: seen.quantile_ms(0.99),
        max_ms: seen.quantile_ms(1.0),
        confirmed: seen.ended.iter().filter(|saga| saga.confirmed).count() as u64,
        compensated: seen.ended.iter().filter(|saga| !saga.confirmed).count() as u64,
        failed: seen.failed,
        oversold: verdict.oversold,
        deadlocks: verdict.deadlocks,
        orchestrator_cpu_ms_per_saga: per_saga("orchestrator").unwrap_or_default(),
        worker_cpu_ms_per_saga: per_saga("worker").unwrap_or_default(),
        broker_cpu_ms_per_saga: per_saga("broker"),
        postgres_cpu_ms_per_saga: per_saga("postgres"),
        load_cpu_ms_per_saga: used.load_ms / args.sagas as f64,
        other_cpu_s: used.other_ms() / 1_000.0,
        steal_s: used.steal_ms / 1_000.0,
        batch_mean: 0.0,
        left,
        limit_sagas_per_s: None,
        limit_ratio: None,
        ok: problems.is_empty(),
        problems,
    }
}
