//! Retries: the one place that knows the `backoff` crate, and the one layer of retries there is (the
//! SDK's own is off).

use std::{
    future::Future,
    time::{Duration, Instant},
};

use backoff::{ExponentialBackoff, backoff::Backoff};
use tokio::sync::watch;

/// The first pause.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// How long a job may sleep in all between attempts, whatever it retries. The wait for an answer that
/// did not come in time is sleep as well.
#[derive(Debug)]
pub struct Budget {
    left: Duration,
    unanswered_since: watch::Sender<Option<Instant>>,
}

/// What a failed attempt means.
pub trait Retryable {
    /// Whether the same request may succeed in a moment.
    fn is_transient(&self) -> bool;
    /// Whether it was waited for in vain.
    fn is_timeout(&self) -> bool;
}

impl Budget {
    /// A budget of so much sleep.
    pub fn new(sleep: Duration) -> Self {
        Self {
            left: sleep,
            unanswered_since: watch::Sender::new(None),
        }
    }

    /// Since when the request at hand, with all its attempts, waits for success; `None` between
    /// requests.
    pub fn unanswered_since(&self) -> watch::Receiver<Option<Instant>> {
        self.unanswered_since.subscribe()
    }

    /// Repeats a request until it succeeds, fails for good, or the budget is used up; the pauses
    /// double from 200 ms to 5 s, each jittered by half.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn retry<T, E, F>(&mut self, mut request: impl FnMut() -> F) -> Result<T, E>
    where
        E: Retryable + std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        self.unanswered_since.send_replace(Some(Instant::now()));
        let mut pauses = Pauses::default();
        let result = loop {
            let began = Instant::now();
            let error = match request().await {
                Ok(value) => break Ok(value),
                Err(error) => error,
            };
            if error.is_timeout() {
                self.left = self.left.saturating_sub(began.elapsed());
            }
            if !error.is_transient() || !self.sleep(&mut pauses, &error).await {
                break Err(error);
            }
        };
        self.unanswered_since.send_replace(None);
        result
    }

    /// Sleeps before another attempt; false, at once, when the budget does not allow it.
    pub async fn sleep(&mut self, pauses: &mut Pauses, reason: &impl std::fmt::Display) -> bool {
        let pause = pauses.next();
        let Some(left) = self.left.checked_sub(pause) else {
            return false;
        };
        self.left = left;
        tracing::debug!(%reason, ?pause, "trying again after a pause");
        tokio::time::sleep(pause).await;
        true
    }
}

/// A row of growing pauses.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(ExponentialBackoff {
            current_interval: FIRST,
            initial_interval: FIRST,
            max_interval: LONGEST,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }
}

#[allow(clippy::should_implement_trait, reason = "an iterator would end")]
impl Pauses {
    /// The next one.
    pub fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("transient: {0}")]
    struct Failing(bool);

    impl Retryable for Failing {
        fn is_transient(&self) -> bool {
            self.0
        }

        fn is_timeout(&self) -> bool {
            false
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut pauses = Pauses::default();
        let row: Vec<_> = (0..12).map(|_| pauses.next()).collect();
        assert!(row[0] >= FIRST / 2 && row[0] <= FIRST * 3 / 2);
        assert!(
            row.iter()
                .all(|p| *p <= LONGEST * 3 / 2 + Duration::from_millis(1))
        );
        assert!(row[8] >= LONGEST / 2);
    }

    #[tokio::test]
    async fn a_budget_is_spent_once() {
        let calls = Cell::new(0);
        let started = tokio::time::Instant::now();
        let mut budget = Budget::new(Duration::from_secs(1));
        let result: Result<(), _> = budget
            .retry(|| async {
                calls.set(calls.get() + 1);
                Err(Failing(true))
            })
            .await;
        assert!(result.is_err());
        assert!(calls.get() > 1, "{}", calls.get());
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(
            !budget
                .sleep(
                    &mut Pauses(ExponentialBackoff {
                        current_interval: Duration::from_secs(20),
                        randomization_factor: 0.0,
                        ..ExponentialBackoff::default()
                    }),
                    &"next"
                )
                .await
        );
    }

    #[tokio::test]
    async fn what_is_permanent_is_asked_once() {
        let calls = Cell::new(0);
        let result: Result<(), _> = Budget::new(Duration::from_secs(10))
            .retry(|| async {
                calls.set(calls.get() + 1);
                Err(Failing(false))
            })
            .await;
        assert!(result.is_err());
        assert_eq!(calls.get(), 1);
    }
}
