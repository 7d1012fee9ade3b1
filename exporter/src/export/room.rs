//! Making room: a job whose destination does not answer gives its slot up when others wait for it, so
//! that destinations that hang delay nobody but their own organisations.

use std::time::{Duration, Instant};

use common::db::{QueryError, export_runs};
use tokio::sync::watch;

use crate::context::Context;

/// How long a destination may leave a job without an answer while others wait. Doubled with every
/// claim of the run, so that one that is merely slow gets its events.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest patience.
const LONGEST_PATIENCE: Duration = Duration::from_mins(2);
/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Returns when the slot of a job is wanted, which waits for success since `unanswered_since` and whose
/// run is claimed for the `attempts`th time. Runs that were given back because of a failure want it
/// only where it is one of `theirs`.
pub async fn wanted(
    context: &Context,
    unanswered_since: watch::Receiver<Option<Instant>>,
    attempts: i32,
    theirs: bool,
) {
    let patience = patience(attempts);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let since = *unanswered_since.borrow();
        if since.is_none_or(|since| since.elapsed() < patience)
            || context.export_slots.available_permits() > 0
        {
            continue;
        }
        match others_wait(context, theirs).await {
            // It may have succeeded meanwhile.
            Ok(true) if *unanswered_since.borrow() == since => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "it is not known whether others wait"),
        }
    }
}

async fn others_wait(context: &Context, failed_too: bool) -> Result<bool, QueryError> {
    let client = context.client().await?;
    Ok(export_runs::others_wait(&client, failed_too).await?)
}

fn patience(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(16);
    PATIENCE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_and_is_bounded() {
        assert_eq!(patience(0), PATIENCE);
        assert_eq!(patience(1), PATIENCE);
        assert_eq!(patience(3), 4 * PATIENCE);
        assert_eq!(patience(i32::MAX), LONGEST_PATIENCE);
    }
}
