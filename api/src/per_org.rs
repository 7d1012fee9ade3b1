//! How much one organisation may have under way at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use common::ids::OrgId;
use tokio::sync::Semaphore;

/// A semaphore for each organisation that has something under way. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PerOrg {
    limit: usize,
    orgs: Arc<Mutex<HashMap<OrgId, Weak<Semaphore>>>>,
}

impl PerOrg {
    /// Each may have so much under way.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            orgs: Arc::default(),
        }
    }

    /// The organisation's semaphore.
    pub(crate) fn of(&self, org: &OrgId) -> Arc<Semaphore> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = orgs.get(org).and_then(Weak::upgrade) {
            return semaphore;
        }
        // No more are kept than there are requests under way.
        orgs.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.limit));
        orgs.insert(org.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_nothing_under_way_are_forgotten() {
        let per_org = PerOrg::new(1);
        let org = |n: usize| -> OrgId { format!("org-{n}").parse().unwrap() };
        let held: Vec<_> = (0..3)
            .map(|n| per_org.of(&org(n)).try_acquire_owned().unwrap())
            .collect();
        assert!(per_org.of(&org(0)).try_acquire_owned().is_err());
        drop(held);
        assert!(per_org.of(&org(9)).try_acquire_owned().is_ok());
        assert_eq!(per_org.orgs.lock().unwrap().len(), 1);
    }
}
