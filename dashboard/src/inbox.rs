//! The inbox's groups: sagas in the same trouble, the worst first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{INBOX_GROUPS_MAX, INBOX_SAGAS_MAX, SPARK_HOURS};
use crate::store::inbox::{self, Overdue, Trouble};

/// What is in the inbox.
pub struct Inbox {
    /// The groups, the worst first.
    pub groups: Vec<Group>,
    /// Live sagas that nobody works on in time.
    pub overdue: Vec<Overdue>,
    /// There are more sagas in trouble than were looked at.
    pub cut: bool,
}

/// Why sagas are in the inbox, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was done can't be undone, and nobody tries any more.
    FailedUndo,
    /// Nobody knows whether something was done, and asking fails.
    Unknown,
    /// No attempt is left.
    Waits,
    /// Two or more failures in a row; it is still being tried.
    Failing,
}

impl Kind {
    /// In words, and the section of the guide that tells what to do.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::FailedUndo => ("‼ can't be undone", "failed-compensation"),
            Kind::Unknown => ("? outcome unknown", "outcome-unknown"),
            Kind::Waits => ("‼ waits for you", "waits-for-an-operator"),
            Kind::Failing => ("◷ fails again and again", "fails-again-and-again"),
        }
    }
}

/// Sagas in the same trouble.
#[derive(Clone, Debug)]
pub struct Group {
    /// Names it: workflow, version, step, direction and error.
    pub fingerprint: String,
    /// Why it is here.
    pub kind: Kind,
    /// The workflow.
    pub workflow: String,
    /// Its version.
    pub version: u32,
    /// Where they fail.
    pub step: String,
    /// Their effects are being undone.
    pub undoing: bool,
    /// How they fail.
    pub code: String,
    /// How many.
    pub sagas: i64,
    /// When the first of them changed last.
    pub first: DateTime<Utc>,
    /// When the last of them did.
    pub last: DateTime<Utc>,
    /// By the hour, the present one last.
    pub hours: Vec<i64>,
    /// Money at risk, in ten-thousandths.
    pub money: i128,
    /// All of them were looked into, so the money is that of all.
    pub counted: bool,
}

/// Asks for it.
pub async fn ask(mission: &Mission) -> Result<Inbox, PageError> {
    let troubles = inbox::troubles(&mission.pool).await?;
    let cut = troubles.iter().map(|trouble| trouble.sagas).sum::<i64>() >= INBOX_SAGAS_MAX;
    let mut versions = BTreeMap::new();
    for trouble in &troubles {
        if let Entry::Vacant(vacant) = versions.entry(trouble.definition_id) {
            // From memory, but for a definition's first saga.
            let definition = mission.engine.definitions().by_id(trouble.definition_id).await?;
            vacant.insert(definition.version());
        }
    }
    let mut groups = grouped(&troubles, &versions);
    groups.truncate(usize::try_from(INBOX_GROUPS_MAX).unwrap_or(usize::MAX));
    let overdue = inbox::overdue(&mission.pool).await?;
    Ok(Inbox { groups, overdue, cut })
}

fn grouped(troubles: &[Trouble], versions: &BTreeMap<i64, u32>) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for trouble in troubles {
        let version = versions.get(&trouble.definition_id).copied().unwrap_or_default();
        let fingerprint = fingerprint(trouble, version);
        let kind = kind(trouble);
        let group = groups.entry(fingerprint.clone()).or_insert_with(|| Group {
            fingerprint,
            kind,
            workflow: trouble.workflow.clone(),
            version,
            step: trouble.step.clone(),
            undoing: trouble.undoing,
            code: trouble.code.clone(),
            sagas: 0,
            first: trouble.first,
            last: trouble.last,
            hours: vec![0; SPARK_HOURS],
            money: 0,
            counted: true,
        });
        group.kind = group.kind.min(kind);
        group.sagas += trouble.sagas;
        group.counted &= trouble.looked == trouble.sagas;
        group.first = group.first.min(trouble.first);
        group.last = group.last.max(trouble.last);
        group.money += trouble.money.as_deref().map_or(0, amount);
        let hours = usize::try_from(trouble.hours).unwrap_or(0);
        if let Some(place) = SPARK_HOURS.checked_sub(hours + 1) {
            group.hours[place] += trouble.sagas;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| (a.kind, b.sagas, &a.fingerprint).cmp(&(b.kind, a.sagas, &b.fingerprint)));
    groups
}

fn kind(trouble: &Trouble) -> Kind {
    match (trouble.waits, trouble.undoing, trouble.unknown) {
        (true, true, _) => Kind::FailedUndo,
        (_, _, true) => Kind::Unknown,
        (true, false, false) => Kind::Waits,
        (false, _, false) => Kind::Failing,
    }
}

fn fingerprint(trouble: &Trouble, version: u32) -> String {
    let mut digest = Sha256::new();
    let direction = if trouble.undoing { "undo" } else { "forward" };
    for part in [
        &trouble.workflow,
        &version.to_string(),
        &trouble.step,
        direction,
        &trouble.code,
    ] {
        digest.update(part.as_bytes());
        // No text from Postgres has it, so parts can't run into each other.
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..8])
}

/// A decimal with at most four places as ten-thousandths; what isn't one is nothing.
fn amount(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<4}").parse().unwrap_or(0)
}

/// Ten-thousandths as a decimal with two places or more; empty: nothing.
pub fn money(amount: i128) -> String {
    match (amount, amount % 100) {
        (0, _) => String::new(),
        (amount, 0) => format!("{}.{:02}", amount / 10_000, amount % 10_000 / 100),
        (amount, _) => format!("{}.{:04}", amount / 10_000, amount % 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(code: &str, hours: i32, sagas: i64) -> Trouble {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        Trouble {
            workflow: "booking".to_owned(),
            definition_id: 1,
            step: "charge".to_owned(),
            code: code.to_owned(),
            undoing: false,
            waits: true,
            unknown: false,
            hours,
            sagas,
            looked: sagas,
            first: now,
            last: now,
            money: Some("59.9".to_owned()),
        }
    }

    #[test]
    fn the_same_trouble_is_one_group_and_the_gravest_comes_first() {
        let undo = Trouble {
            undoing: true,
            ..trouble("a", 0, 1)
        };
        let troubles = [
            trouble("a", 0, 2),
            trouble("a", 5, 3),
            trouble("a", 99, 1),
            trouble("b", 0, 9),
            undo,
        ];
        let groups = grouped(&troubles, &BTreeMap::from([(1, 3)]));
        let seen: Vec<(Kind, &str, i64)> = groups.iter().map(|g| (g.kind, g.code.as_str(), g.sagas)).collect();
        assert_eq!(
            seen,
            [(Kind::FailedUndo, "a", 1), (Kind::Waits, "b", 9), (Kind::Waits, "a", 6)]
        );
        let group = &groups[2];
        assert_eq!((group.hours[SPARK_HOURS - 1], group.hours[SPARK_HOURS - 6]), (2, 3));
        assert_eq!(money(group.money), "179.70");
        assert_ne!(groups[0].fingerprint, group.fingerprint);
    }

    #[test]
    fn money_is_exact() {
        assert_eq!(money(amount("100")), "100.00");
        assert_eq!(money(amount("0.0001")), "0.0001");
        assert_eq!(money(amount("nonsense")), "");
    }
}
