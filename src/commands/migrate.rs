//! `sagaline migrate`.

use anyhow::Context;

use crate::settings::Settings;
use crate::{cli, connect, platform, shutdown};

/// Brings the schema up to date and says so.
pub async fn run(args: cli::Migrate, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    connect::migrate(&pool).await?;
    if args.demo_event {
        platform::seed_demo(&pool).await?;
    }
    eprintln!("the schema of {url} is up to date");
    Ok(())
}
