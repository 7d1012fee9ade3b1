//! How often each event is in the buckets.

use std::collections::BTreeMap;

use super::{
    Sent, Verdict,
    files::Place,
    problems::{Kind, Problems},
    rows::Rows,
};

/// What was sent, by id.
pub(super) type SentIndex<'a> = BTreeMap<&'a str, &'a str>;

/// Indexes what was sent. An event that was acknowledged twice is one event.
pub(super) fn index<'a>(sent: &'a [Sent], problems: &mut Problems) -> SentIndex<'a> {
    let mut index = SentIndex::new();
    for Sent { id, json } in sent {
        let before = index.insert(id, json);
        if before.is_some_and(|before| before != json) {
            problems.add(
                Kind::Sequence,
                format!("event {id} was sent with two contents: nobody can tell which is right"),
            );
        }
    }
    index
}

/// What an object counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its row says that it is stored.
    Stored,
    /// Its range went to another destination, and a run names it: it may stay.
    Named,
    /// Its row is not finished, which is told elsewhere.
    Planned,
    /// It should not be there.
    Unknown,
}

/// Where an event was seen.
#[derive(Debug, Default)]
struct Copies<'a> {
    stored: usize,
    unknown: usize,
    places: Vec<&'a Place>,
}

/// Counts the copies of each event.
#[derive(Debug, Default)]
pub(super) struct Tally<'a>(BTreeMap<String, Copies<'a>>);

impl<'a> Tally<'a> {
    /// Counts the events of an object.
    pub(super) fn count(&mut self, ids: Vec<String>, standing: Standing, place: &'a Place) {
        for id in ids {
            let copies = self.0.entry(id).or_default();
            match standing {
                Standing::Stored => copies.stored += 1,
                Standing::Unknown => copies.unknown += 1,
                Standing::Named | Standing::Planned => continue,
            }
            copies.places.push(place);
        }
    }

    /// Decides what was delivered, lost and doubled.
    pub(super) fn verdict(
        &self,
        rows: &Rows,
        sent: &SentIndex<'_>,
        problems: &mut Problems,
    ) -> Verdict {
        let mut verdict = Verdict {
            orgs: 1,
            sent: sent.len(),
            objects: rows.stored().count(),
            ..Verdict::default()
        };
        let events = rows.events.iter();
        let seqs: BTreeMap<_, _> = events.map(|event| (event.id.as_str(), event.seq)).collect();
        for id in sent.keys() {
            match self.0.get(*id) {
                Some(Copies { stored: 1, .. }) => verdict.delivered += 1,
                Some(Copies { stored: 2.., .. }) => {}
                _ => {
                    verdict.lost += 1;
                    let seq = seqs.get(id).map_or("unknown".into(), i64::to_string);
                    let text = format!("event {id} (seq {seq}) is in no stored object");
                    problems.add(Kind::Lost, text);
                }
            }
        }
        for (id, copies) in &self.0 {
            if copies.stored + copies.unknown > 1 {
                verdict.doubled += 1;
                let places: Vec<_> = copies.places.iter().map(ToString::to_string).collect();
                let text = format!("event {id} is in {}", places.join(" and in "));
                problems.add(Kind::Doubled, text);
            }
        }
        let unacknowledged = seqs.keys().filter(|id| !sent.contains_key(*id));
        verdict.unacknowledged = unacknowledged.count();
        verdict
    }
}
