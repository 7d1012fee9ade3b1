//! Keeping the lease of a job while it is worked on.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use common::db::QueryError;

/// Renews a lease three times as often as it expires, by a query that tells whether it is still held;
/// returns when it is lost, or when it must be taken for lost because the database has not confirmed
/// it in time.
pub async fn keep<F>(lease: Duration, renew: impl Fn() -> F)
where
    F: Future<Output = Result<bool, QueryError>>,
{
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 3).await;
        let asked = Instant::now();
        match renew().await {
            Ok(true) => renewed = asked,
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, "the lease was not renewed"),
        }
        if renewed.elapsed() > lease {
            return;
        }
    }
}
