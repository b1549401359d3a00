//! `sagaline bench lists`: what mission control's lists cost Postgres once millions of sagas have ended.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use dashboard::lists;
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use workflows::ids::{SagaId, Timestamp};

use super::ground::{Scratch, database};
use crate::output::Output;

/// What a list page may take.
const TARGET: Duration = Duration::from_millis(100);
/// Sagas filled in by one statement: its memory and its log stay small.
const CHUNK: i64 = 250_000;
/// Times that each page is asked for; the middle one counts. The first reads from disk what later ones find in memory.
const REPEATS: usize = 3;
/// Every kind of search, alone and together with others, as operators type them.
const SEARCHES: [&str; 27] = [
    "",
    "sort:oldest",
    "workflow:booking",
    "workflow:rare",
    "status:completed",
    "status:live",
    "status:stuck",
    "status:failed,paused",
    "status:compensated",
    "status:rejected,cancelled",
    "status:live workflow:rare",
    "status:compensated workflow:rare",
    "step:pay",
    "error:card_declined",
    "error:rare_error",
    "error:card_declined workflow:rare",
    "error:card_declined status:failed",
    "step:pay error:rare_error",
    "key:event_7",
    "key:event_rare",
    "key:event_7 status:live",
    "tag.city:Oslo",
    "tag.order:777",
    "tag.city:Oslo status:live",
    "started:<1h",
    "started:>29days",
    "started:<30days started:>10days",
];

/// How much to fill in.
#[derive(Debug, Args)]
pub struct ListsArgs {
    /// Sagas, most of them ended, begun over the last thirty days.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(i64).range(1_000..=50_000_000))]
    pub sagas: i64,
    /// Bytes of each saga's state: real ones have two or three thousand, and need as much more disk.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(i32).range(100..=10_000))]
    pub state_bytes: i32,
    /// An empty database to use; left out, a Postgres server of our own.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

/// The result of `bench lists`.
#[derive(Debug, Serialize)]
struct Lists {
    sagas: i64,
    /// Statements whose time is over the target.
    over_100_ms: usize,
    slowest_ms: f64,
    pages: Vec<PageTime>,
}

/// One page.
#[derive(Debug, Serialize)]
struct PageTime {
    list: String,
    /// `first`, `second`, `deep`; for other pages than lists of sagas, `all`.
    page: &'static str,
    rows: usize,
    ms: f64,
}

/// Runs it.
pub async fn run(args: &ListsArgs, output: Output) -> anyhow::Result<()> {
    let say = |line: &str| eprintln!("bench: {line}");
    let scratch = Scratch::new(None)?;
    let (_postgres, url) = database(args.database_url.as_deref(), &scratch, &say).await?;
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
    orchestrator::migrate(&pool).await.context("applying the migrations")?;
    let there: bool = sqlx::query_scalar("select exists (select 1 from saga.sagas)")
        .fetch_one(&pool)
        .await?;
    if there {
        bail!("the database has sagas already: give an empty one, which is filled");
    }
    fill(&pool, args, &say).await?;
    say("asking for the lists");
    let now = Timestamp::from(chrono::Utc::now());
    // Half of the sagas are younger.
    let middle: uuid::Uuid = sqlx::query_scalar(
        "select id from saga.sagas where id >= saga.first_id_at(now() - interval '15 days') order by id limit 1",
    )
    .fetch_one(&pool)
    .await?;
    let mut pages = Vec::new();
    for search in SEARCHES {
        let first = ask(&pool, search, "first", None, now, &mut pages).await?;
        if let Some(next) = first {
            ask(&pool, search, "second", Some(next), now, &mut pages).await?;
        }
        ask(&pool, search, "deep", Some(SagaId(middle)), now, &mut pages).await?;
    }
    // Once to read from disk.
    lists::others(&pool).await?;
    for (list, took) in lists::others(&pool).await? {
        pages.push(PageTime {
            list: list.to_owned(),
            page: "all",
            rows: 0,
            ms: ms(took),
        });
    }
    let result = Lists {
        sagas: args.sagas,
        over_100_ms: pages.iter().filter(|page| page.ms > ms(TARGET)).count(),
        slowest_ms: pages.iter().map(|page| page.ms).fold(0.0, f64::max),
        pages,
    };
    super::print(output, || table(&result), &result)
}

/// Asks for a page; gives where the next one begins.
async fn ask(
    pool: &PgPool,
    search: &str,
    page: &'static str,
    after: Option<SagaId>,
    now: Timestamp,
    pages: &mut Vec<PageTime>,
) -> anyhow::Result<Option<SagaId>> {
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let listed = lists::listed(pool, search, after, now).await;
        times.push(listed.map_err(|error| anyhow!("{search:?}: {error}"))?);
    }
    times.sort_by_key(|listed| listed.took);
    let listed = times.swap_remove(REPEATS / 2);
    pages.push(PageTime {
        list: format!("sagas: {search}"),
        page,
        rows: listed.rows,
        ms: ms(listed.took),
    });
    Ok(listed.next)
}

fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn table(result: &Lists) -> String {
    let line = |page: &PageTime| {
        let mark = if page.ms > ms(TARGET) { "  over" } else { "" };
        format!(
            "{:>10.3} ms  {:<6} {:>3} rows  {}{mark}",
            page.ms, page.page, page.rows, page.list
        )
    };
    let mut lines: Vec<String> = result.pages.iter().map(line).collect();
    lines.push(format!(
        "{} sagas: the slowest takes {:.1} ms; {} of {} over {} ms",
        result.sagas,
        result.slowest_ms,
        result.over_100_ms,
        result.pages.len(),
        TARGET.as_millis()
    ));
    lines.join("\n")
}

/// Sagas as a month of selling leaves them: most completed, some undone for a handful of reasons, one in a hundred live; a thousand business
/// keys, labels on every fifth.
const SAGAS: &str = "\
with drawn as (
    select n, now() - interval '30 days' * (1 - n::float8 / $3) as at, hashint8(n)::bigint + 2147483648 as die
    from generate_series($1::bigint, $2::bigint) n
), told as (
    select n, at, die, case when die % 1000 < 970 then 'completed' when die % 1000 < 980 then 'compensated'
                            when die % 1000 < 988 then 'rejected' when die % 1000 < 990 then 'cancelled'
                            when die % 1000 < 994 then 'running' when die % 1000 < 997 then 'waiting'
                            when die % 1000 < 998 then 'compensating' when die % 1000 < 999 then 'failed'
                            else 'paused' end as status
    from drawn
)
insert into saga.sagas (id, workflow, definition_id, status, business_key, tags, state, seq, attempt_due_at, created_at,
                        updated_at, ended_at, failure_code, failure_step)
select (substr(saga.first_id_at(at)::text, 1, 19) || substr(md5(n::text), 1, 4) || '-' || lpad(to_hex(n), 12, '0'))::uuid,
       case when n % 1000 = 1 then 'rare' when n % 10 = 2 then 'sweep' else 'booking' end, 1, status,
       case when n % 100000 = 3 then 'event_rare' else 'event_' || die / 1000 % 1000 end,
       case when n % 5 = 4 then jsonb_build_object('city', (array['Oslo', 'Rome', 'Lima', 'Cairo', 'Perth'])[1 + (n / 5 % 5)::int] || case when n % 50 = 4 then '' else '_' || n % 50 end,
                                                   'order', n::text) end,
       '{\"ac\":{},\"x\":\"' || rpad(md5(n::text), $4, md5((n + 1)::text)) || '\"}', 10,
       case when status = 'running' then now() + interval '1 hour' end, at, at + interval '20 seconds',
       case when status in ('completed', 'compensated', 'rejected', 'cancelled') then at + interval '20 seconds' end,
       case when status in ('completed', 'running', 'waiting', 'paused') then null when n % 5000 = 7 then 'rare_error'
            else (array['card_declined', 'seat_unavailable', 'deadline', 'unknown_outcome'])[1 + (die / 1000 % 4)::int] end,
       case when status in ('completed', 'running', 'waiting', 'paused') then null
            else (array['reserve', 'pay', 'confirm'])[1 + (die / 1000 % 3)::int] end
from told";

const COUNTS: &str = "\
insert into saga.counts (minute, workflow, kind, sagas, money_cents, items)
select minute, workflow, kind, 1000, 20000000, 2000
from generate_series(date_trunc('minute', now()) - interval '8 days', now(), interval '1 minute') minute,
     unnest(array['booking', 'sweep', 'rare']) workflow, unnest(array['started', 'completed', 'undone', 'failing']) kind";

async fn fill(pool: &PgPool, args: &ListsArgs, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    let mut done = 0;
    while done < args.sagas {
        let to = (done + CHUNK).min(args.sagas);
        sqlx::query(SAGAS)
            .bind(done + 1)
            .bind(to)
            .bind(args.sagas as f64)
            .bind(args.state_bytes)
            .execute(pool)
            .await
            .context("filling in sagas")?;
        done = to;
        say(&format!("{done} of {} sagas are there", args.sagas));
    }
    for statement in [COUNTS, "vacuum analyze saga.sagas", "vacuum analyze saga.counts"] {
        sqlx::query(statement)
            .execute(pool)
            .await
            .context("filling in the rest")?;
    }
    Ok(())
}
