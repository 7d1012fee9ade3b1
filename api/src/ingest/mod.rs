//! Audit events as they come in: a JSON array or NDJSON, checked and brought into the form in which
//! they are stored and exported.
//!
//! Pure and in one pass over the body. Either the whole batch is good or none of it is taken; the
//! first fault is reported with the event's index and the field.

mod event;
mod scan;
mod time;

use common::ids::OrgId;
use jiff::Timestamp;

use event::{Fault, read_event};
use scan::Scanner;

/// The largest event, in bytes: its stored text (white space between tokens removed, `orgId` added)
/// without `seq` and `recordedAt`.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// The most events in one request.
pub const MAX_EVENTS: usize = 10_000;
/// The largest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How many objects and arrays may stand within each other, the event's own object being the first.
pub const MAX_DEPTH: usize = 32;
/// The longest event id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The longest action, in bytes.
pub const MAX_ACTION_BYTES: usize = 256;
/// The most targets of one event.
pub const MAX_TARGETS: usize = 1_000;
/// How the actions begin that only the system itself records.
pub const RESERVED_ACTIONS: &str = "audit_export.";

/// How the events of a request are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON array (`application/json`).
    Array,
    /// One event a line; blank lines are skipped (`application/x-ndjson`, `application/ndjson`).
    Ndjson,
}

impl Format {
    /// The format that a Content-Type names, whatever its parameters.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") {
            Some(Self::Array)
        } else if is("application/x-ndjson") || is("application/ndjson") {
            Some(Self::Ndjson)
        } else {
            None
        }
    }
}

/// An event in the form in which it is stored. Its line in the bucket is
/// `{"seq":N,` + `head` + `,"recordedAt":"…"` + `tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The sender's id, unescaped: the same id is the same event.
    pub event_id: String,
    /// When it happened, by the sender's clock.
    pub occurred_at: Timestamp,
    /// `"id":…,"orgId":…,"occurredAt":…`
    pub head: String,
    /// `,"action":…,"actor":…`, the optional fields that were sent, and the closing brace.
    pub tail: String,
}

/// Why a batch was refused as a whole. Each is a sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The body, or one of its lines, is not JSON.
    #[error("{0}")]
    InvalidJson(String),
    /// The body is JSON, but no array.
    #[error(
        "the body must be a JSON array of events; for one event a line, send Content-Type: application/x-ndjson"
    )]
    NotAnArray,
    /// An event breaks a rule.
    #[error("{message}")]
    InvalidEvent {
        /// Its place in the batch, from 0.
        index: usize,
        /// The field, where it is one field's fault.
        field: Option<String>,
        /// Both of these and the rule.
        message: String,
    },
    /// There was nothing in it, which is more likely a mistake than meant.
    #[error("the request holds no events")]
    Empty,
    /// More than [`MAX_EVENTS`].
    #[error("the request holds more than {MAX_EVENTS} events; send them in several requests")]
    TooMany,
}

/// Reads a request's events.
///
/// # Errors
/// The first thing that is wrong with the batch.
pub fn parse(body: &[u8], format: Format, org: &OrgId) -> Result<Vec<EncodedEvent>, IngestError> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(body, error.valid_up_to(), format)),
    };
    let events = match format {
        Format::Array => parse_array(text, org)?,
        Format::Ndjson => parse_lines(text, org)?,
    };
    if events.is_empty() {
        Err(IngestError::Empty)
    } else {
        Ok(events)
    }
}

fn parse_array(text: &str, org: &OrgId) -> Result<Vec<EncodedEvent>, IngestError> {
    /// Ends the walk over the array with the error that is already there.
    enum Stop {
        Scan(scan::ScanError),
        Ingest(IngestError),
    }
    impl From<scan::ScanError> for Stop {
        fn from(error: scan::ScanError) -> Self {
            Self::Scan(error)
        }
    }

    let mut scanner = Scanner::new(text);
    scanner.skip_spaces();
    if scanner.kind() != scan::Kind::Array {
        return Err(match scanner.value(MAX_DEPTH) {
            Err(scan::ScanError::Syntax { expected, at }) => syntax_error(text, expected, at),
            _ => IngestError::NotAnArray,
        });
    }
    let mut events = Vec::new();
    let walked = scanner.array(|scanner| {
        if events.len() == MAX_EVENTS {
            return Err(Stop::Ingest(IngestError::TooMany));
        }
        let event = read_event(scanner, org).map_err(|fault| match fault {
            Fault::Syntax { expected, at } => Stop::Ingest(syntax_error(text, expected, at)),
            Fault::Rule { field, problem } => {
                Stop::Ingest(invalid_event(events.len(), field, &problem))
            }
        })?;
        events.push(event);
        Ok(())
    });
    match walked {
        Ok(()) if scanner.at_end() => Ok(events),
        Ok(()) => Err(syntax_error(
            text,
            "the end of the body",
            scanner.position(),
        )),
        Err(Stop::Ingest(error)) => Err(error),
        Err(Stop::Scan(scan::ScanError::Syntax { expected, at })) => {
            Err(syntax_error(text, expected, at))
        }
        Err(Stop::Scan(scan::ScanError::Refused(why))) => {
            Err(invalid_event(events.len(), None, why))
        }
    }
}

fn parse_lines(text: &str, org: &OrgId) -> Result<Vec<EncodedEvent>, IngestError> {
    let mut events = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let mut scanner = Scanner::new(line);
        if scanner.at_end() {
            continue;
        }
        if events.len() == MAX_EVENTS {
            return Err(IngestError::TooMany);
        }
        let syntax = |expected: &str, at: usize| {
            let (number, column) = (index + 1, column(line, at));
            IngestError::InvalidJson(format!(
                "line {number} is not JSON: expected {expected} at column {column}"
            ))
        };
        let event = read_event(&mut scanner, org).map_err(|fault| match fault {
            Fault::Syntax { expected, at } => syntax(expected, at),
            Fault::Rule { field, problem } => invalid_event(events.len(), field, &problem),
        })?;
        if !scanner.at_end() {
            return Err(syntax("the end of the line", scanner.position()));
        }
        events.push(event);
    }
    Ok(events)
}

fn invalid_event(index: usize, field: Option<String>, problem: &str) -> IngestError {
    let message = match &field {
        Some(field) => format!("event {index}: {field} {problem}"),
        None => format!("event {index}: {problem}"),
    };
    IngestError::InvalidEvent {
        index,
        field,
        message,
    }
}

fn syntax_error(text: &str, expected: &str, at: usize) -> IngestError {
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let line_start = before
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |newline| newline + 1);
    let column = column(&text[line_start..], at - line_start);
    IngestError::InvalidJson(format!(
        "the body is not JSON: expected {expected} at line {line}, column {column}"
    ))
}

/// The number, from 1, of the character that stands at byte `at` of a line.
fn column(line: &str, at: usize) -> usize {
    line.char_indices()
        .take_while(|(start, _)| *start < at)
        .count()
        + 1
}

fn not_utf8(body: &[u8], at: usize, format: Format) -> IngestError {
    IngestError::InvalidJson(match format {
        Format::Array => format!("the body is not UTF-8: bad byte at offset {at}"),
        Format::Ndjson => {
            let line = body[..at].iter().filter(|&&b| b == b'\n').count() + 1;
            format!("line {line} is not UTF-8")
        }
    })
}

#[cfg(test)]
mod tests;
