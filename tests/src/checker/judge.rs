//! What is made of an organisation's rows and objects. Pure but for the reading of objects, which is
//! the caller's, one at a time.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    Sent, Verdict,
    files::{Found, Place, Read},
    key::{KeyParts, suffix_of_codec},
    object::Expected,
    order,
    problems::{Kind, Problems},
    rows::{ObjectRow, Rows},
    tally::{self, SentIndex, Standing, Tally},
    writes,
};

/// Decides about one organisation.
pub(super) fn judge(rows: &Rows, found: &Found<'_>, sent: &[Sent], read: Read<'_>) -> Verdict {
    let mut problems = Problems::of(&rows.org);
    let sent = tally::index(sent, &mut problems);
    order::judge(rows, &sent, &mut problems);

    let mut tally = Tally::default();
    let mut sizes = BTreeMap::new();
    let by_place: BTreeMap<_, _> = rows.objects.iter().map(|row| (row.place(), row)).collect();
    for place in &found.places {
        match read(place) {
            Err(error) => problems.add(Kind::Object, format!("{place} cannot be read: {error}")),
            Ok(bytes) => {
                sizes.insert(place, bytes.len() as u64);
                let row = by_place.get(place).copied();
                object(rows, place, row, &bytes, &sent, &mut tally, &mut problems);
            }
        }
    }
    let there: BTreeSet<_> = found.places.iter().collect();
    for row in rows.stored() {
        let place = row.place();
        if !there.contains(&place) {
            let (first, last) = (row.first_seq, row.last_seq);
            let text = format!("{place} (seq {first} to {last}) is stored and not there");
            problems.add(Kind::Object, text);
        }
    }
    writes::judge(rows, found, &sizes, &mut problems);
    let mut verdict = tally.verdict(rows, &sent, &mut problems);
    verdict.problems = problems.into_lines();
    verdict
}

impl ObjectRow {
    fn place(&self) -> Place {
        Place::new(&self.bucket, &self.key)
    }

    /// Whether it has events of another one and is in the same version of the destination.
    fn doubles(&self, other: &Self) -> bool {
        self.destination_version == other.destination_version
            && self.first_seq <= other.last_seq
            && other.first_seq <= self.last_seq
    }
}

/// One object: why it is there, whether it is what its row says, and what it holds.
fn object<'a>(
    rows: &Rows,
    place: &'a Place,
    row: Option<&ObjectRow>,
    bytes: &[u8],
    sent: &SentIndex<'_>,
    tally: &mut Tally<'a>,
    problems: &mut Problems,
) {
    let standing = standing(rows, place, row, problems);
    let parts = KeyParts::read(&place.key);
    if parts.is_none() {
        let text = format!("{place} does not have the documented form");
        problems.add(Kind::Key, text);
    }
    if let Some(row) = row {
        compare(rows, place, row, parts.as_ref(), bytes, problems);
    }
    let range = row.map(|row| (row.first_seq, row.last_seq)).or(parts
        .as_ref()
        .map(|parts| (parts.first_seq, parts.last_seq)));
    let (first_seq, last_seq) = range.unwrap_or((1, 0));
    let expected = Expected {
        rows,
        sent,
        place,
        first_seq,
        last_seq,
        day: parts.map_or(String::new(), |parts| parts.date.to_string()),
    };
    tally.count(expected.ids(bytes, problems), standing, place);
}

fn standing(
    rows: &Rows,
    place: &Place,
    row: Option<&ObjectRow>,
    problems: &mut Problems,
) -> Standing {
    match row.map(|row| row.state.as_str()) {
        Some("stored") => Standing::Stored,
        Some("planned") => Standing::Planned,
        Some("abandoned") if rows.warned_of(&place.key) => {
            let twin = row.and_then(|row| rows.stored().find(|stored| stored.doubles(row)));
            if let Some(stored) = twin {
                let text = format!(
                    "{place} and {} hold the same, in one destination",
                    stored.key
                );
                problems.add(Kind::Doubled, text);
            }
            Standing::Named
        }
        Some(state) => {
            let text = format!("{place} is {state}, and no run names it");
            problems.add(Kind::Unknown, text);
            Standing::Unknown
        }
        None => {
            let text = format!("{place} is there, and export_objects has no row of it");
            problems.add(Kind::Unknown, text);
            Standing::Unknown
        }
    }
}

/// Compares a row with the key and the bytes.
fn compare(
    rows: &Rows,
    place: &Place,
    row: &ObjectRow,
    parts: Option<&KeyParts>,
    bytes: &[u8],
    problems: &mut Problems,
) {
    if let Some(parts) = parts {
        let documented = KeyParts {
            prefix: row.prefix.clone(),
            org: rows.org.clone(),
            date: parts.date,
            first_seq: row.first_seq,
            last_seq: row.last_seq,
            plan_id: row.plan_id,
            suffix: suffix_of_codec(&row.codec),
        };
        if *parts != documented {
            problems.add(
                Kind::Key,
                format!("{place} should be named by {documented:?}"),
            );
        }
    }
    let mut wrong = |text: String| problems.add(Kind::Object, format!("{place} {text}"));
    if row
        .bytes
        .is_some_and(|size| usize::try_from(size) != Ok(bytes.len()))
    {
        wrong(format!(
            "has {} bytes, {:?} by its row",
            bytes.len(),
            row.bytes
        ));
    }
    let sha256 = digest(&SHA256, bytes);
    let sha256 = sha256.as_ref();
    if row.sha256.as_ref().is_some_and(|known| known != sha256) {
        wrong("has another SHA-256 than its row".to_owned());
    }
    if !row.sha256_candidates.iter().any(|known| known == sha256) {
        wrong("has a SHA-256 that was not recorded before it was written".to_owned());
    }
    let events = row.last_seq - row.first_seq + 1;
    if row.events.is_some_and(|known| known != events) {
        wrong(format!("has {events} events, {:?} by its row", row.events));
    }
}
