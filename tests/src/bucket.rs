//! What lies in a customer's bucket, read from the files behind it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use serde_json::value::RawValue;

use crate::events::Event;

/// A bucket, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Bucket {
    dir: PathBuf,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its file.
    pub path: PathBuf,
}

/// What the name of an object of events tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParts {
    /// What stands before `org_id=`.
    pub prefix: String,
    /// Whose events.
    pub org: String,
    /// Of which day.
    pub date: String,
    /// The first event.
    pub first_seq: i64,
    /// The last event.
    pub last_seq: i64,
}

/// An event as it stands in an object.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The line, without its line feed.
    pub line: String,
    /// The folder of its object.
    pub date: String,
}

impl Bucket {
    /// The bucket whose objects are files in this folder.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// All objects, by key.
    pub fn objects(&self) -> Vec<Object> {
        let mut objects = Vec::new();
        collect(&self.dir, "", &mut objects);
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<String> {
        self.objects().into_iter().map(|o| o.key).collect()
    }

    /// The objects of the organisation's events, in the order of their events.
    pub fn exports(&self, org: &str) -> Vec<(KeyParts, Object)> {
        let part = format!("org_id={org}/");
        let objects = self.objects().into_iter().filter(|o| o.key.contains(&part));
        let mut exports: Vec<_> = objects.map(|o| (KeyParts::of(&o.key), o)).collect();
        exports.sort_by_key(|(parts, _)| parts.first_seq);
        exports
    }

    /// The organisation's events in their order. Checks that the objects are whole, that their names
    /// tell what is in them, that no event is missing or there twice, beginning with `first_seq`, and
    /// that time goes forward and stays within the day of each object.
    pub fn events_from(&self, org: &str, first_seq: i64) -> Vec<Exported> {
        let mut events: Vec<Exported> = Vec::new();
        let mut next = first_seq;
        for (parts, object) in self.exports(org) {
            assert_eq!(
                parts.first_seq, next,
                "a gap or an overlap before {}",
                object.key
            );
            let text = object.unzipped();
            assert!(text.ends_with('\n'), "{} ends within a line", object.key);
            for line in text.lines() {
                let begin = format!("{{\"seq\":{next},");
                assert!(
                    line.starts_with(&begin),
                    "{next} expected in {}: {line}",
                    object.key
                );
                let event = Exported {
                    line: line.to_owned(),
                    date: parts.date.clone(),
                };
                let time = event.recorded_at();
                assert!(time.starts_with(&parts.date), "{time} in {}", object.key);
                let before = events.last().map_or("", Exported::recorded_at);
                assert!(time >= before, "{time} after {before}");
                events.push(event);
                next += 1;
            }
            assert_eq!(
                parts.last_seq,
                next - 1,
                "{} does not hold what its key says",
                object.key
            );
        }
        events
    }

    /// All events of the organisation: see [`Self::events_from`].
    pub fn events(&self, org: &str) -> Vec<Exported> {
        self.events_from(org, 1)
    }

    /// The last event that has arrived; 0 where none has.
    pub fn last_seq(&self, org: &str) -> i64 {
        let exports = self.exports(org);
        exports.last().map_or(0, |(parts, _)| parts.last_seq)
    }

    /// Checks that the bucket holds exactly these events, in this order and byte for byte.
    #[track_caller]
    pub fn must_hold(&self, org: &str, sent: &[Event]) {
        let exported = self.events(org);
        assert_eq!(exported.len(), sent.len(), "number of events of {org}");
        for (n, (exported, sent)) in exported.iter().zip(sent).enumerate() {
            let seq = i64::try_from(n + 1).unwrap();
            let expected = sent.line(org, seq, exported.recorded_at());
            assert_eq!(exported.line, expected);
        }
    }
}

fn collect(dir: &Path, prefix: &str, objects: &mut Vec<Object>) {
    // A folder may go while it is listed: the server removes those that a deletion leaves empty.
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name().into_string().unwrap();
        let key = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{key}/"), objects),
            Ok(_) => objects.push(Object {
                key,
                path: entry.path(),
            }),
            Err(_) => {}
        }
    }
}

impl Object {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// Its text.
    pub fn unzipped(&self) -> String {
        match self.key.ends_with(".zst") {
            true => unzstd(&self.bytes()),
            false => unzip(&self.bytes()),
        }
    }
}

/// The text in a .gz file.
pub fn unzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(bytes)
        .read_to_string(&mut text)
        .expect("whole gzip, UTF-8");
    text
}

/// The text in a .zst file.
fn unzstd(bytes: &[u8]) -> String {
    let text = zstd::decode_all(bytes).expect("whole zstd");
    String::from_utf8(text).expect("UTF-8")
}

impl KeyParts {
    /// Reads `{prefix/}org_id={orgId}/date={YYYY-MM-DD}/{firstSeq:020}-{lastSeq:020}-{planId}.jsonl.gz`, or `.zst`.
    pub fn of(key: &str) -> Self {
        let read = || {
            let (prefix, rest) = match key.split_once("/org_id=") {
                Some((prefix, rest)) => (prefix, rest),
                None => ("", key.strip_prefix("org_id=")?),
            };
            let (org, rest) = rest.split_once("/date=")?;
            let (date, name) = rest.split_once('/')?;
            let (name, suffix) = name.split_once(".jsonl.")?;
            ["gz", "zst"].contains(&suffix).then_some(())?;
            let (first, rest) = name.split_once('-')?;
            let (last, plan) = rest.split_once('-')?;
            plan.parse::<uuid::Uuid>().ok()?;
            date.parse::<jiff::civil::Date>().ok()?;
            let number = |digits: &str| (digits.len() == 20).then(|| digits.parse().ok())?;
            Some(Self {
                prefix: prefix.into(),
                org: org.into(),
                date: date.into(),
                first_seq: number(first)?,
                last_seq: number(last)?,
            })
        };
        read().unwrap_or_else(|| panic!("not the key of an export: {key}"))
    }
}

impl Exported {
    /// Its members, each as the text that stands there.
    pub fn members(&self) -> BTreeMap<String, Box<RawValue>> {
        serde_json::from_str(&self.line).unwrap_or_else(|e| panic!("{e}: {}", self.line))
    }

    /// One member's text; empty where it is not there.
    pub fn raw(&self, name: &str) -> String {
        let members = self.members();
        members.get(name).map_or("", |raw| raw.get()).to_owned()
    }

    /// Its id.
    pub fn id(&self) -> String {
        serde_json::from_str(&self.raw("id")).unwrap()
    }

    /// When it was recorded: the member that stands right before `action`.
    pub fn recorded_at(&self) -> &str {
        let (_, rest) = self
            .line
            .split_once(",\"recordedAt\":\"")
            .expect("recordedAt");
        rest.split_once('"').expect("a string").0
    }
}
