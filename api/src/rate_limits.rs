//! How often what makes a worker act may be asked for: by an organisation, and by a caller.
//!
//! Each may use up a minute's worth at once, and gets it back evenly over a minute. The counts are
//! this process's own: of several replicas, each allows as much.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::ids::OrgId;
use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock};

use crate::{
    auth::{Caller, CallerKey},
    config::Limits,
    error::ApiError,
};

/// After so many checks, the keys that have all their allowance back are forgotten. So no more are
/// kept than have asked within the last minute, and this many.
const CHECKS_BETWEEN_CLEANINGS: u32 = 1_024;
/// A caller may do as much as two organisations may: who administers many is not to be in the way of
/// each of them.
const PER_CALLER: u32 = 2;

/// The limits of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RateLimits {
    /// Of tests, and of what queues one.
    pub(crate) tests: Arc<RateLimit>,
    /// Of exports that are asked for.
    pub(crate) runs: Arc<RateLimit>,
}

impl RateLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        let limit = |what, per_minute| Arc::new(RateLimit::new(what, per_minute));
        Self {
            tests: limit("tests of the destination", limits.tests_per_minute()),
            runs: limit("exports", limits.runs_per_minute()),
        }
    }
}

/// One limit.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// What is limited, in the plural.
    what: &'static str,
    orgs: Keyed<OrgId>,
    callers: Keyed<CallerKey>,
}

impl RateLimit {
    fn new(what: &'static str, per_minute: NonZeroU32) -> Self {
        let twice = per_minute.saturating_mul(NonZeroU32::MIN.saturating_add(PER_CALLER - 1));
        Self {
            what,
            orgs: Keyed::new(per_minute),
            callers: Keyed::new(twice),
        }
    }

    /// Counts one more for a caller who may act for the organisation.
    ///
    /// # Errors
    /// It is one too many, with the time after which it will not be.
    pub(crate) fn check(&self, org: &OrgId, caller: &Caller) -> Result<(), ApiError> {
        // The caller first: whoever asks too often uses up nothing of the organisation's.
        let by_caller = self
            .callers
            .check(caller.key())
            .map_err(|wait| ("you", wait));
        by_caller
            .and_then(|()| {
                self.orgs
                    .check(org.clone())
                    .map_err(|wait| ("this organisation", wait))
            })
            .map_err(|(who, wait)| {
                let seconds = whole_seconds(wait);
                tracing::info!(who, what = self.what, seconds, "asked for too often");
                ApiError::RateLimited {
                    message: format!(
                        "{who} asked for too many {} within a minute; try again in {seconds} s",
                        self.what
                    ),
                    seconds,
                }
            })
    }
}

/// In seconds that a client may count on: rounded up, and never none.
fn whole_seconds(wait: Duration) -> u64 {
    let started = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs() + started).max(1)
}

#[derive(Debug)]
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: DefaultKeyedRateLimiter::keyed(Quota::per_minute(per_minute)),
            checks: AtomicU32::new(0),
        }
    }

    fn check(&self, key: K) -> Result<(), Duration> {
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks % CHECKS_BETWEEN_CLEANINGS == CHECKS_BETWEEN_CLEANINGS - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter
            .check_key(&key)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn org(n: usize) -> OrgId {
        format!("org-{n}").parse().unwrap()
    }

    fn caller(name: &str) -> Caller {
        Caller::of_claims(json!({"sub": name, "orgs": {"org-0": "admin"}}))
    }

    fn limit(per_minute: u32) -> RateLimit {
        RateLimit::new("tests", NonZeroU32::new(per_minute).unwrap())
    }

    #[test]
    fn an_organisation_has_its_minute_worth_and_others_have_theirs() {
        let limit = limit(3);
        for name in ["a", "b", "c"] {
            limit.check(&org(0), &caller(name)).unwrap();
        }
        let Err(ApiError::RateLimited { message, seconds }) = limit.check(&org(0), &caller("d"))
        else {
            panic!("one too many");
        };
        assert_eq!(seconds, 20, "a third of a minute");
        assert!(message.starts_with("this organisation asked"), "{message}");
        limit.check(&org(1), &caller("d")).unwrap();
    }

    #[test]
    fn a_caller_has_twice_as_much_over_all_organisations_and_uses_up_nothing_beyond() {
        let limit = limit(2);
        for n in 0..4 {
            limit.check(&org(n), &caller("a")).unwrap();
        }
        let Err(ApiError::RateLimited { message, .. }) = limit.check(&org(9), &caller("a")) else {
            panic!("one too many");
        };
        assert!(message.starts_with("you asked"), "{message}");
        for name in ["b", "c"] {
            limit.check(&org(9), &caller(name)).unwrap();
        }
    }

    #[tokio::test]
    async fn it_comes_back_and_is_forgotten() {
        let keyed = Keyed::new(NonZeroU32::new(600).unwrap());
        for key in 0..10_000_u32 {
            keyed.check(key).unwrap();
        }
        // All has come back after a tenth of a second, and has been there as long again.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for key in 0..CHECKS_BETWEEN_CLEANINGS {
            keyed.check(key).unwrap();
        }
        let kept = keyed.limiter.len();
        assert!(kept <= 2 * CHECKS_BETWEEN_CLEANINGS as usize, "{kept}");
    }

    #[test]
    fn a_wait_is_rounded_up() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }
}
