//! `sagaline audit`: do seats, holds and payments agree?

mod money;

use activities::seats;
use activities::seats::audit::Finding;
use anyhow::{Context, bail};

use crate::cli::Global;
use crate::output::{self, Row};
use crate::settings::Settings;
use crate::{connect, shutdown};

/// Prints what is wrong; nothing is, or the command fails.
pub async fn run(global: &Global, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    let mut findings = seats::audit(&pool).await.context("auditing the seats")?;
    findings.extend(money::audit(&pool).await.context("auditing the payments")?);
    output::print_list(global.output, &findings)?;
    match findings.len() {
        0 => {
            eprintln!("seats, holds and payments agree");
            Ok(())
        }
        rules => bail!("{rules} rules are broken"),
    }
}

impl Row for Finding {
    const HEADINGS: &'static [&'static str] = &["RULE", "CASES", "EXAMPLES"];

    fn cells(&self) -> Vec<String> {
        vec![self.rule.to_owned(), self.count.to_string(), self.examples.join(" ")]
    }
}
