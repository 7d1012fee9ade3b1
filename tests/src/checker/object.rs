//! Whether the bytes of an object are the events that they should be.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
};

use flate2::bufread::MultiGzDecoder;
use serde_json::value::RawValue;

use super::{
    files::Place,
    problems::{Kind, Problems},
    rows::Rows,
    tally::SentIndex,
};

/// The members of a line, in their documented order.
const MEMBERS: [&str; 10] = [
    "seq",
    "id",
    "orgId",
    "occurredAt",
    "recordedAt",
    "action",
    "actor",
    "targets",
    "context",
    "metadata",
];
/// Those that the system adds to what was sent.
const ADDED: [&str; 3] = ["seq", "orgId", "recordedAt"];
/// As much of a value as is shown, in characters.
const SHOWN_CHARS: usize = 100;

/// Each member as the text that stands there: a reader of JSON would take `1.0` for `1`.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What an object should hold.
pub(super) struct Expected<'a> {
    pub(super) rows: &'a Rows,
    pub(super) sent: &'a SentIndex<'a>,
    pub(super) place: &'a Place,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    /// The day on which its events were recorded, `YYYY-MM-DD`.
    pub(super) day: String,
}

impl Expected<'_> {
    /// The ids of the organisation's events in these bytes; none where the object is not whole, since
    /// then nobody can rely on it.
    pub(super) fn ids(&self, bytes: &[u8], problems: &mut Problems) -> Vec<String> {
        let place = self.place;
        let mut reader = decoder(&place.key, bytes);
        let (mut ids, mut next, mut recorded_at) = (Vec::new(), self.first_seq, String::new());
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    problems.add(Kind::Object, format!("{place} is not whole: {error}"));
                    return Vec::new();
                }
            }
            if line.pop() != Some(b'\n') {
                problems.add(Kind::Object, format!("{place} ends within a line"));
                return Vec::new();
            }
            match std::str::from_utf8(&line).ok().and_then(Line::read) {
                Some(line) => {
                    ids.extend(self.id(&line, next, &mut recorded_at, problems));
                    next = line.seq + 1;
                }
                None => {
                    let shown = shorten(&String::from_utf8_lossy(&line));
                    let text = format!("{place} holds for seq {next} what is no event: {shown}");
                    problems.add(Kind::Line, text);
                    next += 1;
                }
            }
        }
        if next != self.last_seq + 1 {
            let (end, last) = (next - 1, self.last_seq);
            let text = format!("{place} ends with seq {end} where it should end with {last}");
            problems.add(Kind::Line, text);
        }
        ids
    }

    /// Checks one line. `None` for another organisation's.
    fn id(
        &self,
        line: &Line<'_>,
        expected_seq: i64,
        before: &mut String,
        problems: &mut Problems,
    ) -> Option<String> {
        let (place, seq) = (self.place, line.seq);
        if line.org != self.rows.org {
            let text = format!("{place} seq {seq} is an event of org {}", line.org);
            problems.add(Kind::Leaked, text);
            return None;
        }
        let mut wrong =
            |text: String| problems.add(Kind::Line, format!("{place} seq {seq}: {text}"));
        if seq != expected_seq {
            wrong(format!("seq {expected_seq} is due here"));
        }
        if let Some(form) = line.other_form() {
            wrong(format!("the members are not as documented: {form}"));
        }
        if !line.recorded_at.starts_with(&self.day) {
            wrong(format!("recorded at {}, another day", line.recorded_at));
        }
        if line.recorded_at < *before {
            wrong(format!("recorded at {}, before {before}", line.recorded_at));
        }
        before.clone_from(&line.recorded_at);
        match self.rows.event(seq) {
            None => wrong("audit_events has no such event".to_owned()),
            Some(row) => {
                if row.line != line.text {
                    let (kept, here) = difference(&row.line, line.text);
                    wrong(format!("audit_events has …{kept}, the object …{here}"));
                }
                let (id, at) = (&row.id, &row.recorded_at);
                if (id, at) != (&line.id, &line.recorded_at) {
                    wrong(format!("the row is of event {id}, recorded at {at}"));
                }
            }
        }
        if let Some(json) = self.sent.get(line.id.as_str()) {
            for text in line.changes(json) {
                wrong(format!("event {} is not as it was sent: {text}", line.id));
            }
        }
        Some(line.id.clone())
    }
}

/// Several gzip members or zstd frames in a row are one file; anything else behind them is an error.
fn decoder<'a>(key: &str, bytes: &'a [u8]) -> Box<dyn BufRead + 'a> {
    if key.ends_with(".zst") {
        let zstd = zstd::Decoder::with_buffer(bytes).expect("there is memory");
        Box::new(BufReader::new(zstd))
    } else {
        Box::new(BufReader::new(MultiGzDecoder::new(bytes)))
    }
}

/// A line, taken apart.
struct Line<'a> {
    text: &'a str,
    members: Members<'a>,
    seq: i64,
    id: String,
    org: String,
    recorded_at: String,
}

impl<'a> Line<'a> {
    /// `None` where it is no JSON or one of the members is not there.
    fn read(text: &'a str) -> Option<Self> {
        let members: Members<'a> = serde_json::from_str(text).ok()?;
        let value = |name| members.get(name).map(|raw: &&RawValue| raw.get());
        let string = |name| serde_json::from_str::<String>(value(name)?).ok();
        Some(Self {
            seq: value("seq")?.parse().ok()?,
            id: string("id")?,
            org: string("orgId")?,
            recorded_at: string("recordedAt")?,
            text,
            members,
        })
    }

    /// How the line would read with its members once each, in their order, without white space,
    /// unless it reads so.
    fn other_form(&self) -> Option<String> {
        let known = MEMBERS
            .iter()
            .filter_map(|name| self.members.get(*name).map(|raw| (name, raw.get())));
        let members: Vec<_> = known
            .map(|(name, raw)| format!("\"{name}\":{raw}"))
            .collect();
        let form = format!("{{{}}}", members.join(","));
        (form != self.text).then(|| shorten(&difference(&form, self.text).1))
    }

    /// What differs from what was sent.
    fn changes(&self, sent: &str) -> Vec<String> {
        let Ok(sent) = serde_json::from_str::<Members<'_>>(sent) else {
            return vec![format!(
                "what was sent is no JSON object: {}",
                shorten(sent)
            )];
        };
        let mut changes = Vec::new();
        for (name, was) in &sent {
            match self.members.get(name) {
                None => changes.push(format!("{name} is missing")),
                Some(is) if is.get() != was.get() => {
                    let (was, is) = difference(was.get(), is.get());
                    changes.push(format!("{name} was …{was}, is …{is}"));
                }
                Some(_) => {}
            }
        }
        let known = |name: &String| sent.contains_key(name) || ADDED.contains(&name.as_str());
        let added = self.members.keys().filter(|name| !known(name));
        changes.extend(added.map(|name| format!("{name} was not there")));
        changes
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// Both texts from where they differ on.
fn difference(one: &str, other: &str) -> (String, String) {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let same = same.count();
    let rest = |text: &str| text.chars().skip(same).take(SHOWN_CHARS).collect();
    (rest(one), rest(other))
}
