//! Campaigns: one deed for many sagas, safely. A search is frozen to ids and journal entries; a dry run goes over each; a few go
//! first and must get past the step that had failed; the others follow at a limited rate; it stops by itself when the
//! failure comes back.
//!
//! [`plan`] is what it is told, [`decide`] and [`assess`] are pure, [`runner`] does as they say.

pub mod assess;
pub mod decide;
pub mod plan;
pub mod runner;

use serde_json::json;

use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::{self, Asked};
use crate::deeds::reason;
use crate::error::PageError;
use crate::pages::search;
use crate::store::{audit, campaigns as store};
use decide::Phase;
use plan::Plan;

pub use runner::{Runner, run};

/// Which sagas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What this search finds.
    Search(String),
    /// Those that failed in this campaign.
    FailedOf(i64),
}

/// What somebody does to a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Begin to send.
    Start,
    /// Send nothing more until it is resumed.
    Pause,
    /// Go on, with a canary first.
    Resume,
    /// Send nothing more, ever.
    Abort,
}

impl Steer {
    /// All of it.
    pub const ALL: [Steer; 4] = [Steer::Start, Steer::Pause, Steer::Resume, Steer::Abort];

    /// As in paths and in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Steer::Start => "start",
            Steer::Pause => "pause",
            Steer::Resume => "resume",
            Steer::Abort => "abort",
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Result<Steer, PageError> {
        let found = Steer::ALL.into_iter().find(|steer| steer.as_str() == text);
        found.ok_or_else(|| PageError::Invalid(format!("{text:?} is nothing that can be done to a campaign")))
    }

    /// The phases in which it can be done.
    pub fn from(self) -> &'static [Phase] {
        match self {
            Steer::Start => &[Phase::Planned],
            Steer::Pause => &[Phase::Canary, Phase::Running],
            Steer::Resume => &[Phase::Paused, Phase::Stopped],
            Steer::Abort => &[
                Phase::Freezing,
                Phase::Planning,
                Phase::Planned,
                Phase::Canary,
                Phase::Running,
                Phase::Paused,
                Phase::Stopped,
            ],
        }
    }

    fn to(self) -> Phase {
        match self {
            Steer::Start | Steer::Resume => Phase::Canary,
            Steer::Pause => Phase::Paused,
            Steer::Abort => Phase::Aborted,
        }
    }
}

/// Makes a campaign; it is frozen and dry-run by itself, and then waits to be started.
pub async fn create(
    mission: &Mission,
    operator: &Operator,
    why: &str,
    source: Source,
    plan: Plan,
) -> Result<i64, PageError> {
    operator.must_be(Role::Operator)?;
    may(mission, operator, &plan)?;
    let why = reason(why)?;
    plan.check().map_err(PageError::Invalid)?;
    let (text, parent) = match &source {
        Source::Search(text) if text.trim().is_empty() => {
            return Err(PageError::Invalid(
                "say which sagas: a search that finds all of them is none".to_owned(),
            ));
        }
        Source::Search(text) => {
            search::parse(text, mission.engine.now()).map_err(PageError::Invalid)?;
            (text.trim(), None)
        }
        Source::FailedOf(parent) => {
            get(mission, *parent).await?;
            ("", Some(*parent))
        }
    };
    let mut transaction = mission.pool.begin().await?;
    let id = store::insert(&mut *transaction, &operator.name, why, text, parent, &plan).await?;
    let details = json!({"campaign": id, "search": text, "parent": parent, "plan": plan});
    audit::record(&mut *transaction, &operator.name, "campaign plan", why, details, "done").await?;
    transaction.commit().await?;
    Ok(id)
}

/// One campaign.
pub async fn get(mission: &Mission, id: i64) -> Result<store::Campaign, PageError> {
    let found = store::get(&mission.pool, id).await?;
    found.ok_or_else(|| PageError::NotFound(format!("campaign {id}")))
}

/// Whether one without a second person may do this at all.
fn may(mission: &Mission, operator: &Operator, plan: &Plan) -> Result<(), PageError> {
    if plan.action.is_grave() && !mission.options.second_person {
        operator.must_be(Role::Approver)?;
    }
    Ok(())
}

/// Starts, pauses, resumes or ends a campaign; a start may first need a second person.
pub async fn steer(
    mission: &Mission,
    operator: &Operator,
    id: i64,
    steer: Steer,
    why: &str,
) -> Result<Asked, PageError> {
    operator.must_be(Role::Operator)?;
    let why = reason(why)?;
    let campaign = get(mission, id).await?;
    fits(&campaign, steer)?;
    if matches!(steer, Steer::Start | Steer::Resume) {
        may(mission, operator, &campaign.plan)?;
    }
    if steer == Steer::Start {
        let (seen, _) = store::counts(&mission.pool, id, campaign.round).await?;
        if seen.ready == 0 {
            return Err(PageError::Refused(
                "the dry run found nothing that can be done".to_owned(),
            ));
        }
        let large = seen.ready > u64::from(mission.options.approval_items);
        if mission.options.second_person && (large || campaign.plan.action.is_grave()) {
            let asked = approvals::ask(mission, operator, approvals::What::Campaign(id), why).await?;
            return Ok(Asked::Pending(asked));
        }
    }
    carry_out(mission, &campaign, steer, &operator.name, why).await?;
    Ok(Asked::Done(steer.as_str().to_owned()))
}

fn fits(campaign: &store::Campaign, steer: Steer) -> Result<(), PageError> {
    if steer.from().contains(&campaign.phase) {
        Ok(())
    } else {
        let message = format!(
            "{} is not possible: the campaign is {} ({})",
            steer.as_str(),
            campaign.phase,
            campaign.note
        );
        Err(PageError::Refused(message))
    }
}

/// Does it, once nobody else has to agree any more.
pub async fn carry_out(
    mission: &Mission,
    campaign: &store::Campaign,
    steer: Steer,
    by: &str,
    why: &str,
) -> Result<(), PageError> {
    fits(campaign, steer)?;
    let begins = matches!(steer, Steer::Start | Steer::Resume);
    let note = format!("{by}: {why}");
    let mut transaction = mission.pool.begin().await?;
    let done = store::steer(&mut *transaction, campaign.id, steer.from(), steer.to(), &note, begins).await?;
    let outcome = if done {
        "done"
    } else {
        "refused: somebody else was a moment earlier"
    };
    let mut details = json!({"campaign": campaign.id, "before": {"phase": campaign.phase}});
    if done {
        details["after"] = json!({"phase": steer.to()});
    }
    let action = format!("campaign {}", steer.as_str());
    audit::record(&mut *transaction, by, &action, why, details, outcome).await?;
    transaction.commit().await?;
    if done {
        Ok(())
    } else {
        Err(PageError::Refused(
            "somebody else was a moment earlier: look again".to_owned(),
        ))
    }
}
