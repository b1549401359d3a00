//! `sagaline migrate`.

use anyhow::Context;

use crate::settings::Settings;
use crate::{connect, shutdown};

/// Brings the schema up to date and says so.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?;
    connect::migrate(&pool).await?;
    eprintln!("the schema of {url} is up to date");
    Ok(())
}
