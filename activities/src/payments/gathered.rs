//! Rows that are written at the same time, written as one statement.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::store::StoreError;

/// Rows of one statement, at most: its locks last for some milliseconds.
const ROWS_MAX: usize = 500;

/// Classes of what Postgres says of a row, not of itself: data, constraints, and what triggers raise.
const A_ROWS_FAULT: [&str; 3] = ["22", "23", "P0"];

type Outcome = Result<(), String>;
type Waiting<T> = Vec<(T, oneshot::Sender<Outcome>)>;

/// Gathers rows while a statement is under way.
pub(super) struct Gathered<T> {
    waiting: Mutex<Waiting<T>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Gathered {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl<T: Send + Clone> Gathered<T> {
    /// Writes `row` together with whatever else waits; whoever is next writes for all who wait behind it. What Postgres refuses is
    /// written again row by row. The error is for people: the row may have been written all the same.
    pub async fn write<F>(&self, row: T, write: impl Fn(Vec<T>) -> F + Send) -> Outcome
    where
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let (answer, mut answered) = oneshot::channel();
        self.lock().push((row, answer));
        loop {
            let _turn = self.turn.lock().await;
            match answered.try_recv() {
                Ok(outcome) => return outcome,
                Err(oneshot::error::TryRecvError::Closed) => return Err("whoever wrote it was stopped".to_owned()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let (rows, answers): (Vec<T>, Vec<_>) = {
                let mut waiting = self.lock();
                // Without those whose tasks were given up: nobody reports what they would have said.
                waiting.retain(|(_, answer)| !answer.is_closed());
                let count = waiting.len().min(ROWS_MAX);
                waiting.drain(..count).unzip()
            };
            let outcome = write(rows.clone()).await;
            // One of them may be what Postgres refuses: the others shall not fail with it.
            let is_refused = |error: &StoreError| {
                let code = error.as_database_error().and_then(|error| error.code());
                code.is_some_and(|code| A_ROWS_FAULT.iter().any(|class| code.starts_with(class)))
            };
            let is_shared = rows.len() == 1 || !outcome.as_ref().is_err_and(is_refused);
            let outcome = outcome.map_err(|error| error.to_string());
            for (row, answer) in rows.into_iter().zip(answers) {
                let outcome = match is_shared {
                    true => outcome.clone(),
                    false => write(vec![row]).await.map_err(|error| error.to_string()),
                };
                // An error means that nobody waits for it any more.
                let _ = answer.send(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_written_together() {
        let (gathered, statements, rows) = (Gathered::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let write = |batch: Vec<u32>| {
            statements.fetch_add(1, Ordering::SeqCst);
            rows.fetch_add(batch.len(), Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Ok(())
            }
        };
        let written = join_all((0..300).map(|row| gathered.write(row, write))).await;
        assert!(written.iter().all(Result::is_ok));
        assert_eq!(rows.load(Ordering::SeqCst), 300);
        assert!(statements.load(Ordering::SeqCst) <= 3, "{statements:?}");
    }

    #[tokio::test]
    async fn all_are_told_of_a_failure() {
        let gathered = Arc::new(Gathered::default());
        let write = |_: Vec<u32>| async { Err(sqlx::Error::PoolClosed) };
        let written = join_all((0..10).map(|row| gathered.write(row, write))).await;
        assert!(written.iter().all(Result::is_err));
    }

    /// What Postgres says of a row that it doesn't take.
    #[derive(Debug, thiserror::Error)]
    #[error("violates a constraint")]
    struct Refused;

    impl sqlx::error::DatabaseError for Refused {
        fn message(&self) -> &str {
            "violates a constraint"
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some("23514".into())
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::CheckViolation
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
    }

    #[tokio::test]
    async fn a_row_that_is_refused_takes_none_with_it() {
        let gathered = Gathered::default();
        let write = |batch: Vec<u32>| async move {
            tokio::task::yield_now().await;
            match batch.contains(&7) {
                true => Err(sqlx::Error::Database(Box::new(Refused))),
                false => Ok(()),
            }
        };
        let written = join_all((0..10).map(|row| gathered.write(row, write))).await;
        let refused: Vec<usize> = (0..10).filter(|row| written[*row].is_err()).collect();
        assert_eq!(refused, [7]);
    }
}
