//! The shape of one audit event.

use common::ids::OrgId;
use jiff::Timestamp;

use super::{
    EncodedEvent, MAX_ACTION_BYTES, MAX_DEPTH, MAX_EVENT_BYTES, MAX_ID_BYTES, MAX_TARGETS,
    RESERVED_ACTIONS,
    scan::{Kind, ScanError, Scanner, Span, unescape},
    time::rfc3339,
};

/// How much of a sender's own field name an error repeats, in characters.
const MAX_NAME_SHOWN: usize = 64;
const CONTEXT_FIELDS: &str = "location, userAgent";
const PARTY_FIELDS: &str = "type, id, name";
const EVENT_FIELDS: &str = "id, occurredAt, action, actor, targets, context, metadata";

/// What is wrong with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its text is not JSON.
    Syntax { expected: &'static str, at: usize },
    /// A field (or the whole event, where there is no field) breaks a rule. `problem` is the rest of
    /// a sentence that begins with the field.
    Rule {
        field: Option<String>,
        problem: String,
    },
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Syntax { expected, at } => Self::Syntax { expected, at },
            ScanError::Refused(why) => Self::Rule {
                field: None,
                problem: why.to_owned(),
            },
        }
    }
}

impl Fault {
    fn at(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Rule {
            field: Some(field.into()),
            problem: problem.into(),
        }
    }

    /// Puts `parent` in front of the field.
    fn inside(self, parent: impl FnOnce() -> String) -> Self {
        match self {
            Self::Rule { field, problem } => {
                let field = match field {
                    Some(index) if index.starts_with('[') => parent() + &index,
                    Some(field) => format!("{}.{field}", parent()),
                    None => parent(),
                };
                Self::Rule {
                    field: Some(field),
                    problem,
                }
            }
            syntax @ Self::Syntax { .. } => syntax,
        }
    }
}

/// The values of an event as they stand in its text.
#[derive(Default)]
struct Fields {
    id: Option<Span>,
    occurred_at: Option<Span>,
    action: Option<Span>,
    actor: Option<Span>,
    targets: Option<Span>,
    context: Option<Span>,
    metadata: Option<Span>,
}

/// Reads the next event of `scanner` and puts its text into the order in which it is exported.
pub(super) fn read_event(scanner: &mut Scanner<'_>, org: &OrgId) -> Result<EncodedEvent, Fault> {
    if scanner.kind() != Kind::Object {
        // What is not even JSON is reported as that.
        scanner.value(MAX_DEPTH)?;
        return Err(Fault::Rule {
            field: None,
            problem: "must be a JSON object".into(),
        });
    }
    let mut fields = Fields::default();
    scanner.object(|scanner, key| read_field(scanner, key, &mut fields))?;

    let missing = |field: &str| Fault::at(field, "is missing");
    let id = fields.id.ok_or_else(|| missing("id"))?;
    let occurred_at = fields.occurred_at.ok_or_else(|| missing("occurredAt"))?;
    let action = fields.action.ok_or_else(|| missing("action"))?;
    let actor = fields.actor.ok_or_else(|| missing("actor"))?;

    let event_id = unescape(scanner.raw(id));
    check_length("id", &event_id, MAX_ID_BYTES)?;
    let time = check_time(&unescape(scanner.raw(occurred_at)))?;
    check_action(&unescape(scanner.raw(action)))?;

    let member = |out: &mut String, name: &str, span: Span| {
        out.push_str(name);
        scanner.append_compact(span, out);
    };
    let size = |span: Span| span.end - span.start;
    let mut head = String::with_capacity(size(id) + size(occurred_at) + org.as_str().len() + 32);
    member(&mut head, "\"id\":", id);
    head.push_str(",\"orgId\":\"");
    head.push_str(org.as_str());
    member(&mut head, "\",\"occurredAt\":", occurred_at);

    let optional = [
        (",\"targets\":", fields.targets),
        (",\"context\":", fields.context),
        (",\"metadata\":", fields.metadata),
    ];
    let optional_size: usize = optional
        .iter()
        .filter_map(|(_, span)| *span)
        .map(size)
        .sum();
    let mut tail = String::with_capacity(size(action) + size(actor) + optional_size + 64);
    member(&mut tail, ",\"action\":", action);
    member(&mut tail, ",\"actor\":", actor);
    for (name, span) in optional {
        if let Some(span) = span {
            member(&mut tail, name, span);
        }
    }
    tail.push('}');

    let bytes = head.len() + tail.len();
    if bytes > MAX_EVENT_BYTES {
        let problem = format!(
            "is too large: {bytes} bytes without white space, at most {MAX_EVENT_BYTES} are allowed"
        );
        return Err(Fault::Rule {
            field: None,
            problem,
        });
    }
    Ok(EncodedEvent {
        event_id: event_id.into_owned(),
        occurred_at: time,
        head,
        tail,
    })
}

/// Reads one field's value and tells where it stands.
type ReadField = fn(&mut Scanner<'_>) -> Result<Span, Fault>;

fn read_field(scanner: &mut Scanner<'_>, key: Span, fields: &mut Fields) -> Result<(), Fault> {
    let name = unescape(scanner.raw(key));
    let (slot, read): (_, ReadField) = match &*name {
        "id" => (&mut fields.id, read_string),
        "occurredAt" => (&mut fields.occurred_at, read_string),
        "action" => (&mut fields.action, read_string),
        "actor" => (&mut fields.actor, read_party),
        "targets" => (&mut fields.targets, |s| nullable(s, read_targets)),
        "context" => (&mut fields.context, |s| nullable(s, read_context)),
        "metadata" => (&mut fields.metadata, |s| nullable(s, read_metadata)),
        other => return Err(unknown(other, "an event", EVENT_FIELDS)),
    };
    fill(slot, &name, scanner, read)
}

fn read_string(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    require(scanner, Kind::String, "must be a string")?;
    Ok(scanner.string()?)
}

/// An actor or a target: `{type, id, name?}`.
fn read_party(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    require(scanner, Kind::Object, "must be an object")?;
    let (mut kind, mut id, mut label) = (None, None, None);
    let begin = scanner.begin();
    scanner.object(|scanner, key| {
        let name = unescape(scanner.raw(key));
        match &*name {
            "type" => fill(&mut kind, &name, scanner, read_filled_string),
            "id" => fill(&mut id, &name, scanner, read_filled_string),
            "name" => fill(&mut label, &name, scanner, |s| nullable(s, read_string)),
            other => Err(unknown(other, "this object", PARTY_FIELDS)),
        }
    })?;
    let span = scanner.end(begin);
    for (field, value) in [("type", kind), ("id", id)] {
        value.ok_or_else(|| Fault::at(field, "is missing"))?;
    }
    Ok(span)
}

fn read_filled_string(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    let span = read_string(scanner)?;
    if unescape(scanner.raw(span)).trim().is_empty() {
        return Err(Fault::Rule {
            field: None,
            problem: "must not be blank".into(),
        });
    }
    Ok(span)
}

fn read_targets(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    require(scanner, Kind::Array, "must be an array or null")?;
    let mut index = 0;
    let begin = scanner.begin();
    scanner.array(|scanner| {
        if index == MAX_TARGETS {
            let problem = format!("must have at most {MAX_TARGETS} entries");
            return Err(Fault::Rule {
                field: None,
                problem,
            });
        }
        read_party(scanner).map_err(|fault| fault.inside(|| format!("[{index}]")))?;
        index += 1;
        Ok(())
    })?;
    Ok(scanner.end(begin))
}

fn read_context(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    require(scanner, Kind::Object, "must be an object or null")?;
    let (mut location, mut user_agent) = (None, None);
    let begin = scanner.begin();
    scanner.object(|scanner, key| {
        let name = unescape(scanner.raw(key));
        let slot = match &*name {
            "location" => &mut location,
            "userAgent" => &mut user_agent,
            other => return Err(unknown(other, "context", CONTEXT_FIELDS)),
        };
        fill(slot, &name, scanner, |s| nullable(s, read_string))
    })?;
    Ok(scanner.end(begin))
}

/// Anything, as long as it is an object. The event itself is the first of the allowed levels.
fn read_metadata(scanner: &mut Scanner<'_>) -> Result<Span, Fault> {
    require(scanner, Kind::Object, "must be an object or null")?;
    Ok(scanner.value(MAX_DEPTH - 1)?)
}

fn nullable(
    scanner: &mut Scanner<'_>,
    read: impl FnOnce(&mut Scanner<'_>) -> Result<Span, Fault>,
) -> Result<Span, Fault> {
    if scanner.kind() == Kind::Null {
        Ok(scanner.null()?)
    } else {
        read(scanner)
    }
}

/// Reads a field into its place, once.
fn fill(
    slot: &mut Option<Span>,
    name: &str,
    scanner: &mut Scanner<'_>,
    read: impl FnOnce(&mut Scanner<'_>) -> Result<Span, Fault>,
) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::at(name, "is given twice"));
    }
    *slot = Some(read(scanner).map_err(|fault| fault.inside(|| name.to_owned()))?);
    Ok(())
}

fn require(scanner: &mut Scanner<'_>, kind: Kind, problem: &str) -> Result<(), Fault> {
    if scanner.kind() == kind {
        return Ok(());
    }
    // What is not even JSON is reported as that.
    scanner.value(MAX_DEPTH)?;
    Err(Fault::Rule {
        field: None,
        problem: problem.to_owned(),
    })
}

fn unknown(name: &str, parent: &str, known: &str) -> Fault {
    let mut shown: String = name.chars().take(MAX_NAME_SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    Fault::at(
        shown,
        format!("is not a field of {parent}, which are {known}"),
    )
}

fn check_length(field: &str, text: &str, max_bytes: usize) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::at(field, "must not be blank"));
    }
    if text.len() > max_bytes {
        return Err(Fault::at(
            field,
            format!("must be at most {max_bytes} bytes long"),
        ));
    }
    Ok(())
}

fn check_time(text: &str) -> Result<Timestamp, Fault> {
    rfc3339(text).ok_or_else(|| {
        Fault::at(
            "occurredAt",
            "must be an RFC 3339 time with an offset, such as 2026-01-31T23:59:59.5Z",
        )
    })
}

fn check_action(action: &str) -> Result<(), Fault> {
    check_length("action", action, MAX_ACTION_BYTES)?;
    if action.starts_with(RESERVED_ACTIONS) {
        return Err(Fault::at(
            "action",
            format!("must not begin with {RESERVED_ACTIONS}, which the system reserves"),
        ));
    }
    Ok(())
}
