//! Do seats and holds agree? Run by people, schedules and tests; reads only, takes no lock.

use serde::Serialize;
use sqlx::PgPool;

use super::store::{self, StoreError};

/// Examples given for each kind of finding, at most.
pub const EXAMPLES_MAX: i32 = 20;

/// One way in which seats and holds disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which rule is broken.
    pub rule: &'static str,
    /// How often.
    pub count: i64,
    /// Some cases, as `event/seat/booking`.
    pub examples: Vec<String>,
}

/// The rules that are broken; empty if all is well. Each rule is looked at in one snapshot.
pub async fn audit(pool: &PgPool) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for (rule, query) in store::rules::AUDIT_RULES {
        let (count, examples) = store::rules::audit_rule(pool, query, EXAMPLES_MAX).await?;
        if count > 0 {
            findings.push(Finding { rule, count, examples });
        }
    }
    Ok(findings)
}
