//! Decides from Postgres and the buckets alone whether each organisation's events were delivered as
//! promised: none lost, none doubled, in order, unchanged, and no object rewritten.
//!
//! It shares no code with the services, so that a mistake of theirs is not repeated here. What is
//! read (`rows`, `files`) is kept apart from what is made of it (`judge`), which is pure.
//!
//! The system has to have settled: what is not delivered when this looks counts as lost.

mod files;
mod judge;
mod key;
mod object;
mod order;
mod problems;
mod rows;
mod tally;
#[cfg(test)]
mod tests;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use tokio_postgres::Client;

use crate::Event;
use files::{Found, Place};

/// An event whose append was acknowledged.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// What was sent, as JSON without white space.
    pub json: String,
}

impl From<&Event> for Sent {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            json: event.json(),
        }
    }
}

/// What the server of S3 tells.
#[derive(Debug, Clone, Copy)]
pub struct Aws<'a> {
    /// Where its buckets lie, each a folder.
    pub data_dir: &'a Path,
    /// All writes since the world began.
    pub writes: &'a [local_aws::WriteRecord],
    /// The uploads that are open, each with its bucket.
    pub open_uploads: &'a [(String, local_aws::OpenUpload)],
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The organisations looked at.
    pub orgs: usize,
    /// Acknowledged events.
    pub sent: usize,
    /// Those of them that are in the stored objects exactly once.
    pub delivered: usize,
    /// Those of them that are in no stored object.
    pub lost: usize,
    /// Events, acknowledged or not, that are in the buckets more than once.
    pub doubled: usize,
    /// Events in Postgres that nobody acknowledged: the answer was lost.
    pub unacknowledged: usize,
    /// Stored objects.
    pub objects: usize,
    /// Objects that connection tests left behind; no problem.
    pub test_objects: usize,
    /// What is not as promised, each naming the organisation and where to look.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether all is as promised.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.lost == 0 && self.doubled == 0
    }

    /// Fails with all problems, if there is one.
    #[track_caller]
    pub fn must_be_good(&self) {
        assert!(self.is_good(), "{self}\n{}", self.problems.join("\n"));
    }

    fn add(&mut self, other: Self) {
        self.orgs += other.orgs;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.unacknowledged += other.unacknowledged;
        self.objects += other.objects;
        self.test_objects += other.test_objects;
        self.problems.extend(other.problems);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orgs, {} events sent, {} delivered, {} lost, {} doubled, {} unacknowledged, \
             {} objects, {} test objects, {} problems",
            self.orgs,
            self.sent,
            self.delivered,
            self.lost,
            self.doubled,
            self.unacknowledged,
            self.objects,
            self.test_objects,
            self.problems.len(),
        )
    }
}

/// Looks at every organisation that is in Postgres, in a bucket or in `sent`, one after the other and
/// object by object.
pub async fn check(
    database: &Client,
    aws: &Aws<'_>,
    sent: &BTreeMap<String, Vec<Sent>>,
) -> Verdict {
    let places = files::walk(aws.data_dir).expect("the buckets can be listed");
    let mut verdict = Verdict {
        test_objects: places.iter().filter(|p| key::is_of_a_test(&p.key)).count(),
        ..Verdict::default()
    };
    let mut found = files::by_org(places, aws);
    let mut orgs: BTreeSet<String> = rows::orgs(database).await.into_iter().collect();
    orgs.extend(found.keys().chain(sent.keys()).cloned());
    let read = |place: &Place| place.read(aws.data_dir);
    for org in orgs {
        let rows = rows::read(database, &org).await;
        let found: Found<'_> = found.remove(&org).unwrap_or_default();
        let sent = sent.get(&org).map_or(&[][..], Vec::as_slice);
        verdict.add(judge::judge(&rows, &found, sent, &read));
    }
    verdict
}
