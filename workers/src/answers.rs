//! Sends answers, as often as it takes: an answer that is lost is a task that waits for its deadline.

use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use transport::{EnvelopePacker, Outgoing, Producer, Ticket, TransportError};
use workflows::limits::PAYLOAD_BYTES_MAX;
use workflows::protocol::{Outcome, RESULTS_TOPIC, TaskResult};

use crate::running::Finished;

/// Wait before a message that could not be delivered is sent again. librdkafka has tried for minutes by then.
const RESEND_AFTER: Duration = Duration::from_millis(500);
/// Bytes of one encoded result, at most: a payload of the largest size, and a token around it.
const RESULT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 16 * 1_024;
/// Bytes of a message for people, once its result was found too large.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Resolves to the finished work once the broker has all of its messages.
pub(crate) type Acknowledgement = BoxFuture<'static, Vec<Ticket>>;

/// Packs results by partition.
pub(crate) struct Answers {
    packer: EnvelopePacker,
    tickets: Vec<Ticket>,
    scratch: Vec<u8>,
    partitions: u32,
}

impl Answers {
    pub fn new(worker: &str, partitions: u32) -> Self {
        Answers {
            packer: EnvelopePacker::results(worker),
            tickets: Vec::new(),
            scratch: Vec::new(),
            partitions,
        }
    }

    pub fn add(&mut self, finished: Finished) {
        if let Some(answer) = finished.answer {
            self.add_result(answer, finished.reply);
        }
        self.tickets.push(finished.ticket);
    }

    /// A result that ends nothing: a heartbeat.
    pub fn add_result(&mut self, result: TaskResult, reply: Option<u32>) {
        if !encode(&mut self.scratch, &result) {
            let shorter = shortened(result.clone(), self.scratch.len());
            encode(&mut self.scratch, &shorter);
        }
        let partition = match reply.filter(|reply| *reply < self.partitions) {
            Some(reply) => reply as i32,
            None => result.token.saga.partition(self.partitions) as i32,
        };
        self.packer.push_encoded(RESULTS_TOPIC, partition, &self.scratch);
    }

    /// Enqueues everything at once; the future resolves when the broker has it.
    pub fn send(self, producer: &Producer) -> Acknowledgement {
        let sent: Vec<_> = self
            .packer
            .finish()
            .into_iter()
            .map(|message| deliver(producer.clone(), message))
            .collect();
        let tickets = self.tickets;
        Box::pin(async move {
            join_all(sent).await;
            tickets
        })
    }
}

/// Enqueues the message at once; the future resolves when the broker has it.
pub(crate) fn deliver(producer: Producer, message: Outgoing) -> impl Future<Output = ()> + Send {
    let first = producer.send_copy(&message);
    async move {
        let mut outcome = first.await;
        while let Err(error) = outcome {
            report(&error, &message.topic);
            tokio::time::sleep(RESEND_AFTER).await;
            outcome = producer.send_copy(&message).await;
        }
    }
}

fn report(error: &TransportError, topic: &str) {
    tracing::error!(%error, topic, "a message could not be delivered and is sent again");
}

/// False if the result is too large.
fn encode(scratch: &mut Vec<u8>, result: &TaskResult) -> bool {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, result).expect("a result is plain data, and a vector takes all of it");
    scratch.len() <= RESULT_BYTES_MAX
}

/// What can be said of a result that is too large to be sent.
fn shortened(mut result: TaskResult, bytes: usize) -> TaskResult {
    let too_large = format!("the activity's answer has {bytes} bytes, more than the limit of {PAYLOAD_BYTES_MAX}");
    tracing::error!(saga = %result.token.saga, step = result.token.step, "{too_large}");
    result.outcome = match result.outcome {
        // The effect has happened, so it has not failed; but what came of it can't be told.
        Outcome::Succeeded { .. } => Outcome::Unknown { message: too_large },
        Outcome::Failed {
            code,
            mut message,
            retryable,
            details: _,
        } => {
            truncate(&mut message);
            Outcome::Failed {
                code,
                message,
                retryable,
                details: too_large.into(),
            }
        }
        Outcome::Unknown { mut message } => {
            truncate(&mut message);
            Outcome::Unknown { message }
        }
        Outcome::Pending {
            check_after_ms,
            details: _,
        } => Outcome::Pending {
            check_after_ms,
            details: too_large.into(),
        },
        Outcome::Heartbeat {} => Outcome::Heartbeat {},
    };
    result
}

fn truncate(message: &mut String) {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use uuid::Uuid;
    use workflows::ids::SagaId;
    use workflows::protocol::{Role, Token};

    use super::*;

    fn result(outcome: Outcome) -> TaskResult {
        let saga = SagaId(Uuid::from_u128(1));
        TaskResult {
            token: Token {
                saga,
                step: "s".into(),
                role: Role::Run,
                attempt: 1,
                epoch: 0,
            },
            outcome,
        }
    }

    #[test]
    fn an_answer_that_is_too_large_says_so_without_lying_about_the_effect() {
        let huge = "ä".repeat(PAYLOAD_BYTES_MAX);
        let succeeded = result(Outcome::Succeeded { output: json!(huge) });
        let failed = result(Outcome::Failed {
            code: "c".into(),
            message: huge.clone(),
            retryable: true,
            details: json!(huge),
        });
        let mut scratch = Vec::new();
        for (result, is_expected) in [
            (
                succeeded,
                (|outcome| matches!(outcome, Outcome::Unknown { .. })) as fn(&Outcome) -> bool,
            ),
            (
                failed,
                |outcome| matches!(outcome, Outcome::Failed { code, retryable: true, .. } if code == "c"),
            ),
        ] {
            assert!(!encode(&mut scratch, &result));
            let shorter = shortened(result, scratch.len());
            assert!(is_expected(&shorter.outcome));
            assert!(encode(&mut scratch, &shorter));
        }
    }
}
