//! Waiting for what happens by itself, never for longer than a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take that should take a second or two: tests run beside each other, in
/// debug builds, on small machines.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks until there is something to see, and fails when that takes longer than [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    match within(PATIENCE, look).await {
        Some(seen) => seen,
        None => panic!("did not happen within {PATIENCE:?}: {what}"),
    }
}

/// Looks until there is something to see, or time is up.
pub async fn within<T, F>(time: Duration, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + time;
    loop {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
