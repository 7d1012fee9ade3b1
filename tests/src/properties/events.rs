//! Audit events, as a JSON array and as lines.

use std::collections::{BTreeMap, HashSet};

use api::ingest::{EncodedEvent, Format, parse};
use serde_json::value::RawValue;

use super::{
    json::{self, Members, Piece},
    time::rfc3339,
};

const ORG: &str = "acme";

/// What is accepted, and in which form it is stored, is exactly what the documented rules say of a
/// body that another JSON parser reads; both formats, with any white space, mean the same.
pub fn events(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let array: Option<Vec<&RawValue>> = text.and_then(|text| serde_json::from_str(text).ok());
    let lines: Option<Vec<&RawValue>> = text.and_then(|text| {
        let lines = text.split('\n');
        let lines = lines.filter(|line| !line.trim_matches([' ', '\t', '\r']).is_empty());
        lines.map(|line| serde_json::from_str(line).ok()).collect()
    });
    is_as_documented(data, Format::Array, array.as_deref());
    is_as_documented(data, Format::Ndjson, lines.as_deref());
    if let Some(array) = array {
        formats_agree(data, &array);
    }
}

fn is_as_documented(data: &[u8], format: Format, events: Option<&[&RawValue]>) {
    let expected: Option<Vec<EncodedEvent>> =
        events.and_then(|events| events.iter().map(|event| stored(event)).collect());
    let expected = expected.filter(|events| !events.is_empty());
    let parsed = parse(data, format, &ORG.parse().unwrap());
    assert_eq!(parsed.clone().ok(), expected, "{format:?}: {parsed:?}");
    for event in parsed.into_iter().flatten() {
        let line = format!(
            "{{\"seq\":1,{},\"recordedAt\":\"\"{}",
            event.head, event.tail
        );
        let Members(members) = serde_json::from_str(&line).unwrap();
        let names: HashSet<_> = members.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), members.len(), "{line}");
    }
}

/// Also in what is wrong with an event.
fn formats_agree(data: &[u8], array: &[&RawValue]) {
    let org = ORG.parse().unwrap();
    let parsed = parse(data, Format::Array, &org);
    // No string holds a bare line feed, so those within an event are white space.
    let lines: Vec<_> = array
        .iter()
        .map(|event| event.get().replace('\n', " "))
        .collect();
    assert_eq!(
        parse(lines.join("\n").as_bytes(), Format::Ndjson, &org),
        parsed
    );
    let spaced = spaced(std::str::from_utf8(data).unwrap());
    assert_eq!(parse(spaced.as_bytes(), Format::Array, &org), parsed);
}

/// The event in the form in which it is stored; `None` where a rule refuses it.
fn stored(event: &RawValue) -> Option<EncodedEvent> {
    for piece in json::pieces(event.get()) {
        if let Piece::Quoted(quoted) = piece {
            let meaning: String = serde_json::from_str(quoted).ok()?;
            if meaning.contains('\0') {
                return None;
            }
        }
    }
    let required = ["id", "occurredAt", "action", "actor"];
    let members = members(event, &required, &["targets", "context", "metadata"])?;
    let optional = |name: &str| members.get(name).filter(|value| value.get() != "null");

    let (id, action) = (json::text(&members["id"])?, json::text(&members["action"])?);
    let short = |text: &str| (1..=256).contains(&text.len()) && !text.trim().is_empty();
    let time = rfc3339(&json::text(&members["occurredAt"])?)?;
    if !short(&id) || !short(&action) || action.starts_with("audit_export.") {
        return None;
    }
    party(&members["actor"])?;
    if let Some(targets) = optional("targets") {
        let targets: Vec<Box<RawValue>> = serde_json::from_str(targets.get()).ok()?;
        if targets.len() > 1_000 {
            return None;
        }
        targets
            .iter()
            .map(|target| party(target))
            .collect::<Option<()>>()?;
    }
    if let Some(context) = optional("context") {
        let members = self::members(context, &[], &["location", "userAgent"])?;
        members
            .values()
            .map(|value| text_or_null(value))
            .collect::<Option<()>>()?;
    }
    if let Some(metadata) = optional("metadata")
        && !(metadata.get().starts_with('{') && depth(metadata.get()) < 32)
    {
        return None;
    }

    let member = |name: &str| Some(format!("\"{name}\":{}", compact(members.get(name)?.get())));
    let head = [
        member("id")?,
        format!("\"orgId\":\"{ORG}\""),
        member("occurredAt")?,
    ];
    let tail = ["action", "actor", "targets", "context", "metadata"];
    let tail: Vec<_> = tail.into_iter().filter_map(member).collect();
    Some(EncodedEvent {
        event_id: id,
        occurred_at: jiff::Timestamp::from_nanosecond(time).unwrap(),
        head: head.join(","),
        tail: format!(",{}}}", tail.join(",")),
    })
}

/// The members of an object that has all the required ones, no other than the optional ones, and
/// none twice.
fn members(
    object: &RawValue,
    required: &[&str],
    optional: &[&str],
) -> Option<BTreeMap<String, Box<RawValue>>> {
    let Members(listed) = serde_json::from_str(object.get()).ok()?;
    let count = listed.len();
    let members: BTreeMap<_, _> = listed.into_iter().collect();
    let known = |name: &String| required.contains(&&**name) || optional.contains(&&**name);
    let complete = required.iter().all(|name| members.contains_key(*name));
    (members.len() == count && complete && members.keys().all(known)).then_some(members)
}

fn party(object: &RawValue) -> Option<()> {
    let members = members(object, &["type", "id"], &["name"])?;
    for name in ["type", "id"] {
        if json::text(&members[name])?.trim().is_empty() {
            return None;
        }
    }
    members
        .get("name")
        .map_or(Some(()), |name| text_or_null(name))
}

fn text_or_null(value: &RawValue) -> Option<()> {
    (value.get() == "null" || json::text(value).is_some()).then_some(())
}

/// How many objects and arrays stand within each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    for piece in json::pieces(json) {
        if let Piece::Between(text) = piece {
            for byte in text.bytes() {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                deepest = deepest.max(depth);
            }
        }
    }
    deepest
}

fn compact(json: &str) -> String {
    let mut out = String::new();
    for piece in json::pieces(json) {
        match piece {
            Piece::Quoted(text) => out += text,
            Piece::Between(text) => out.extend(text.split([' ', '\t', '\r', '\n'])),
        }
    }
    out
}

/// The same JSON with white space wherever it may stand.
fn spaced(json: &str) -> String {
    let mut out = String::from("\n");
    for piece in json::pieces(json) {
        match piece {
            Piece::Quoted(text) => out.extend([" ", text, "\t"]),
            Piece::Between(text) => {
                for character in text.chars() {
                    match character {
                        '{' | '}' | '[' | ']' | ',' | ':' => {
                            out.extend(["\r\n", &character.to_string(), " "])
                        }
                        other => out.push(other),
                    }
                }
            }
        }
    }
    out
}
