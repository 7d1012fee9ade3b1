//! Which ingest requests may go to the database: few of one organisation, and not all connections.
//!
//! Appends of one organisation wait for each other in the database anyway. They wait here, without a
//! connection, so that one busy organisation never takes the connections that others need.

use std::{sync::Arc, time::Duration};

use common::ids::OrgId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{POOL_SIZE, error::ApiError, per_org::PerOrg};

/// Appends of one organisation at once: one that holds the lock, and one that is ready to follow.
const PER_ORG: usize = 2;
/// Connections that appends leave to everything else.
const LEFT_TO_OTHERS: usize = 4;
/// How long a request waits for others of its organisation: as long as for their lock.
const ORG_WAIT: Duration = Duration::from_secs(3);
/// How long it waits for requests of others.
const WAIT: Duration = Duration::from_secs(5);

/// Who is next. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct IngestTurns {
    all: Arc<Semaphore>,
    orgs: PerOrg,
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _org: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl IngestTurns {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(POOL_SIZE - LEFT_TO_OTHERS)),
            orgs: PerOrg::new(PER_ORG),
        }
    }

    /// Waits for a turn, in the order of arrival.
    ///
    /// # Errors
    /// The organisation, or the service as a whole, has more to do than it can in time.
    pub(crate) async fn take(&self, org: &OrgId) -> Result<Turn, ApiError> {
        let org = timeout(ORG_WAIT, self.orgs.of(org).acquire_owned());
        let org = org.await.map_err(|_| {
            ApiError::OrgBusy("too many appends of one organisation at once".into())
        })?;
        let all = timeout(WAIT, Arc::clone(&self.all).acquire_owned());
        let all = all.await.map_err(|_| ApiError::Overloaded)?;
        Ok(Turn {
            _org: org.map_err(ApiError::internal)?,
            _all: all.map_err(ApiError::internal)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(n: usize) -> OrgId {
        format!("org-{n}").parse().unwrap()
    }

    #[tokio::test]
    async fn an_organisation_waits_for_itself_and_not_for_others() {
        let turns = IngestTurns::new();
        let mut held = Vec::new();
        for _ in 0..PER_ORG {
            held.push(turns.take(&org(0)).await.unwrap());
        }
        let refused = turns.take(&org(0)).await;
        assert!(matches!(refused, Err(ApiError::OrgBusy(_))));
        drop(turns.take(&org(1)).await.unwrap());
        held.pop();
        turns.take(&org(0)).await.unwrap();
    }

    #[tokio::test]
    async fn some_connections_are_left_to_others() {
        let turns = IngestTurns::new();
        let mut held = Vec::new();
        for n in 0..POOL_SIZE - LEFT_TO_OTHERS {
            held.push(turns.take(&org(n)).await.unwrap());
        }
        let refused = turns.take(&org(100)).await;
        assert!(matches!(refused, Err(ApiError::Overloaded)));
        held.clear();
        turns.take(&org(100)).await.unwrap();
    }
}
