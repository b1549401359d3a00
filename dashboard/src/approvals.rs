//! The second person: grave deeds and large campaigns wait until somebody else agrees to them.
//!
//! That nobody approves their own request is checked here, in the statement that decides, and by a constraint of the table.

use serde_json::json;
use workflows::ids::SagaId;

use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::campaigns::{self, Steer};
use crate::deeds::{self, Deed};
use crate::error::PageError;
use crate::limits::APPROVAL_MAX;
use crate::store::approvals as store;
use crate::store::audit;

pub use crate::store::approvals::Approval;

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is done.
    Done(String),
    /// It waits for somebody else, as the request of this number.
    Pending(i64),
}

/// What is to be done.
pub enum What {
    /// This, to this saga.
    Deed(SagaId, Deed),
    /// Start this campaign.
    Campaign(i64),
}

/// What can be decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do it.
    Approve,
    /// Don't.
    Reject,
    /// The requester has thought better of it.
    Withdraw,
}

impl Decision {
    /// By its name.
    pub fn parse(text: &str) -> Result<Decision, PageError> {
        match text {
            "approve" => Ok(Decision::Approve),
            "reject" => Ok(Decision::Reject),
            "withdraw" => Ok(Decision::Withdraw),
            other => Err(PageError::Invalid(format!(
                "{other:?} is no decision; there are approve, reject and withdraw"
            ))),
        }
    }

    fn stored(self) -> &'static str {
        match self {
            Decision::Approve => "approved",
            Decision::Reject => "rejected",
            Decision::Withdraw => "withdrawn",
        }
    }
}

/// Puts a wish before the others; gives the request's number.
pub async fn ask(mission: &Mission, operator: &Operator, what: What, why: &str) -> Result<i64, PageError> {
    let (saga, campaign, deed) = match &what {
        What::Deed(saga, deed) => (Some(saga.0), None, json!(deed)),
        What::Campaign(id) => (None, Some(*id), json!({"command": "start campaign", "campaign": id})),
    };
    let mut transaction = mission.pool.begin().await?;
    let id = store::insert(
        &mut *transaction,
        &operator.name,
        APPROVAL_MAX,
        saga,
        campaign,
        &deed,
        why,
    )
    .await?;
    let id = id.ok_or_else(|| PageError::Refused("this campaign waits for approval already".to_owned()))?;
    let details = json!({"approval": id, "saga": saga, "campaign": campaign, "deed": deed});
    audit::record(
        &mut *transaction,
        &operator.name,
        "ask for approval",
        why,
        details,
        "done",
    )
    .await?;
    transaction.commit().await?;
    Ok(id)
}

/// One request.
pub async fn get(mission: &Mission, id: i64) -> Result<Approval, PageError> {
    let found = store::get(&mission.pool, id).await?;
    found.ok_or_else(|| PageError::NotFound(format!("the request {id}")))
}

/// Decides; what is approved is done at once, in the requester's name with the approver's beside it.
pub async fn decide(mission: &Mission, operator: &Operator, id: i64, decision: Decision) -> Result<String, PageError> {
    let known = get(mission, id).await?;
    let own = known.requested_by == operator.name;
    match decision {
        Decision::Withdraw if !own => {
            return Err(PageError::Refused(
                "only whoever asked can withdraw; reject it instead".to_owned(),
            ));
        }
        Decision::Withdraw => operator.must_be(Role::Operator)?,
        Decision::Approve | Decision::Reject => {
            operator.must_be(Role::Approver)?;
            if own {
                return Err(PageError::Refused(
                    "this is your own request: somebody else has to decide".to_owned(),
                ));
            }
        }
    }
    let mut transaction = mission.pool.begin().await?;
    let decided = store::decide(&mut *transaction, id, decision.stored(), &operator.name).await?;
    let Some(request) = decided else {
        return Err(PageError::Refused(
            "it was decided already, or it is too late".to_owned(),
        ));
    };
    let details = json!({"approval": id, "saga": request.saga_id, "campaign": request.campaign_id,
                         "requestedBy": request.requested_by});
    audit::record(
        &mut *transaction,
        &operator.name,
        decision.stored(),
        &request.reason,
        details,
        "done",
    )
    .await?;
    transaction.commit().await?;
    let outcome = match decision {
        Decision::Approve => carry_out(mission, &request, operator).await,
        Decision::Reject | Decision::Withdraw => Ok(decision.stored().to_owned()),
    };
    let words = match &outcome {
        Ok(words) => words.clone(),
        Err(error) => format!("refused: {error}"),
    };
    store::finish(&mission.pool, id, &words).await?;
    outcome
}

async fn carry_out(mission: &Mission, request: &Approval, approver: &Operator) -> Result<String, PageError> {
    let why = format!("{} (approved by {})", request.reason, approver.name);
    match (request.saga_id, request.campaign_id) {
        (Some(saga), _) => {
            let deed: Deed = serde_json::from_value(request.deed.clone()).map_err(PageError::internal)?;
            deeds::carry_out(mission, SagaId(saga), &deed, &request.requested_by, &why).await
        }
        (None, Some(id)) => {
            let campaign = campaigns::get(mission, id).await?;
            campaigns::carry_out(mission, &campaign, Steer::Start, &request.requested_by, &why).await?;
            Ok("started".to_owned())
        }
        (None, None) => Err(PageError::internal("a request for nothing")),
    }
}
