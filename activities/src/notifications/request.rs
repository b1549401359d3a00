//! `notifications.request`: writes down the messages that something calls for, one row each, by what their recipient wants to be reached by. What
//! sends them comes later, so this waits for nobody but Postgres.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::Channel;
use super::content::{Kind, MessageData};
use super::store::wishes::{self, NewMessage, Reach};
use super::words::Language;
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedBatchActivity};

/// Where messages for operations go: the provider knows its channel.
const OPERATIONS: &str = "operations";
/// What a user is reached by who has said nothing.
const CHANNELS_DEFAULT: [Channel; 2] = [Channel::Email, Channel::Push];
/// How ids of registered users begin.
const USER_PREFIX: &str = "usr_";

/// What `notifications.request` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestInput {
    /// What it is about; none: it is for operations.
    pub booking_id: Option<Uuid>,
    /// Whose it is: `usr_…`, or any text for a guest.
    pub user_id: Option<String>,
    /// The address that was given with the booking.
    pub email: Option<String>,
    /// The language that was asked for when it was booked; what a user has said for good counts more.
    #[serde(default)]
    pub language: Option<Language>,
    /// What to say.
    pub kind: Kind,
    /// What it shows.
    pub data: MessageData,
}

/// What `notifications.request` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// The channels that messages go by.
    pub channels: Vec<Channel>,
}

/// `notifications.request`.
pub(super) struct Request {
    pool: PgPool,
    /// What is set up here.
    channels: BTreeSet<Channel>,
}

impl Request {
    pub(super) fn new(pool: PgPool, channels: BTreeSet<Channel>) -> Self {
        Request { pool, channels }
    }

    async fn write(&self, tasks: &[(TaskContext, RequestInput)]) -> Result<Vec<Requested>, sqlx::Error> {
        let accounts: BTreeSet<Uuid> = tasks.iter().filter_map(|(_, input)| account(input)).collect();
        let accounts: Vec<Uuid> = accounts.into_iter().collect();
        let reaches = if accounts.is_empty() {
            Vec::new()
        } else {
            wishes::reaches(&self.pool, &accounts).await?
        };
        let reaches: HashMap<Uuid, Reach> = reaches.into_iter().map(|reach| (reach.account_id, reach)).collect();
        let mut all = Vec::new();
        let mut answers = Vec::with_capacity(tasks.len());
        for (context, input) in tasks {
            let reach = account(input).and_then(|account| reaches.get(&account));
            let messages = messages(&context.key, input, reach, &self.channels);
            let channels: BTreeSet<Channel> = messages.iter().map(|(channel, _)| *channel).collect();
            answers.push(Requested {
                channels: channels.into_iter().collect(),
            });
            all.extend(messages.into_iter().map(|(_, message)| message));
        }
        if !all.is_empty() {
            let new = wishes::insert(&self.pool, &all).await?;
            metrics::counter!("sagaline_notifications_requested_total").increment(new);
        }
        Ok(answers)
    }
}

#[async_trait]
impl TypedBatchActivity for Request {
    type Input = RequestInput;
    type Output = Requested;
    const NAME: &'static str = workflows::tickets::notification::REQUEST;
    const CODES: &'static [&'static str] = &[];

    async fn run_batch(&self, tasks: Vec<(TaskContext, RequestInput)>) -> Vec<Result<Requested, Failure>> {
        match self.write(&tasks).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => {
                tracing::warn!(tasks = tasks.len(), %error, "messages could not be written down");
                tasks.iter().map(|_| Err(super::unanswered(&error))).collect()
            }
        }
    }
}

fn account(input: &RequestInput) -> Option<Uuid> {
    input.user_id.as_deref()?.strip_prefix(USER_PREFIX)?.parse().ok()
}

/// The messages that a wish comes to.
fn messages(
    key: &str,
    input: &RequestInput,
    reach: Option<&Reach>,
    set_up: &BTreeSet<Channel>,
) -> Vec<(Channel, NewMessage)> {
    let wanted = reach.and_then(|reach| reach.channels.as_ref());
    let language = reach
        .and_then(|reach| Language::parse(reach.language.as_deref()?))
        .or(input.language)
        .unwrap_or_default();
    let wants = |channel: Channel| match (wanted, channel) {
        (_, Channel::Slack) => input.booking_id.is_none(),
        (Some(wanted), _) => wanted.iter().any(|name| name == channel.as_str()),
        (None, _) => CHANNELS_DEFAULT.contains(&channel),
    };
    let recipients = |channel: Channel| -> Vec<String> {
        match channel {
            Channel::Email => {
                let address = input
                    .email
                    .as_deref()
                    .map(str::trim)
                    .filter(|address| !address.is_empty());
                address.map(str::to_owned).into_iter().collect()
            }
            Channel::Sms => reach.and_then(|reach| reach.phone.clone()).into_iter().collect(),
            Channel::Push => reach.map(|reach| reach.devices.clone()).unwrap_or_default(),
            Channel::Slack => vec![OPERATIONS.to_owned()],
        }
    };
    let message = |channel: Channel, recipient: String| {
        // The same wish is the same row, however often it comes.
        let name = format!("{key}/{}/{recipient}", channel.as_str());
        let message = NewMessage {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            booking_id: input.booking_id,
            account_id: account(input),
            channel: channel.as_str(),
            kind: input.kind.as_str(),
            language: language.tag(),
            recipient,
            data: json!(input.data),
        };
        (channel, message)
    };
    let channels = Channel::ALL
        .into_iter()
        .filter(|channel| set_up.contains(channel) && wants(*channel));
    channels
        .flat_map(|channel| {
            recipients(channel)
                .into_iter()
                .map(move |recipient| (channel, recipient))
        })
        .map(|(channel, recipient)| message(channel, recipient))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(channels: Option<&[&str]>) -> Reach {
        Reach {
            account_id: Uuid::nil(),
            language: channels.map(|_| "de".to_owned()),
            channels: channels.map(|channels| channels.iter().map(|channel| (*channel).to_owned()).collect()),
            phone: Some("+12125550123".to_owned()),
            devices: vec!["t1".to_owned(), "t2".to_owned()],
        }
    }

    fn wish(input: RequestInput, reach: Option<Reach>) -> Vec<String> {
        let all = Channel::ALL.into_iter().collect();
        let messages = messages("k", &input, reach.as_ref(), &all);
        let said = |(_, it): (Channel, NewMessage)| format!("{} {} {}", it.channel, it.recipient, it.language);
        messages.into_iter().map(said).collect()
    }

    fn input() -> RequestInput {
        RequestInput {
            booking_id: Some(Uuid::nil()),
            user_id: Some(format!("{USER_PREFIX}{}", Uuid::nil())),
            email: Some(" fan@example.com ".to_owned()),
            language: None,
            kind: Kind::BookingConfirmed,
            data: MessageData::sample(),
        }
    }

    #[test]
    fn everybody_is_reached_as_they_want_to_be() {
        let all = [
            "email fan@example.com de",
            "sms +12125550123 de",
            "push t1 de",
            "push t2 de",
        ];
        assert_eq!(wish(input(), Some(reach(Some(&["sms", "push", "email"])))), all);
        assert_eq!(wish(input(), Some(reach(Some(&["sms"])))), ["sms +12125550123 de"]);
        assert!(wish(input(), Some(reach(Some(&[])))).is_empty());
        let said_nothing = ["email fan@example.com en", "push t1 en", "push t2 en"];
        assert_eq!(wish(input(), Some(reach(None))), said_nothing);
        assert_eq!(wish(input(), None), ["email fan@example.com en"]);
        // Asked for at the booking: it holds for who has said nothing else.
        let asked = || RequestInput {
            language: Some(Language::De),
            ..input()
        };
        assert_eq!(wish(asked(), None), ["email fan@example.com de"]);
        assert_eq!(wish(asked(), Some(reach(None)))[0], "email fan@example.com de");
        let english = Reach {
            language: Some("en".to_owned()),
            ..reach(Some(&["email"]))
        };
        assert_eq!(wish(asked(), Some(english)), ["email fan@example.com en"]);
        let nobody = RequestInput { email: None, ..input() };
        assert!(wish(nobody, None).is_empty());
    }

    #[test]
    fn what_is_no_bookings_goes_to_operations() {
        let input = RequestInput {
            booking_id: None,
            user_id: None,
            email: None,
            language: None,
            kind: Kind::CancellationFinished,
            data: MessageData::sample(),
        };
        assert_eq!(wish(input, None), ["slack operations en"]);
    }

    #[test]
    fn a_wish_has_the_same_rows_each_time_and_another_one_has_others() {
        let all = Channel::ALL.into_iter().collect();
        let ids = |key: &str| -> Vec<Uuid> {
            let messages = messages(key, &input(), Some(&reach(None)), &all);
            messages.into_iter().map(|(_, message)| message.id).collect()
        };
        assert_eq!(ids("a"), ids("a"));
        assert!(ids("a").iter().all(|id| !ids("b").contains(id)));
        assert_eq!(ids("a").into_iter().collect::<BTreeSet<_>>().len(), 3);
    }
}
