//! The list of what is not as promised, bounded: one mistake breaks many events.

use std::{collections::BTreeMap, fmt::Display};

/// How many problems of one kind are told of one organisation.
const MAX_PER_KIND: usize = 10;

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The numbers in `audit_events`.
    Sequence,
    /// The stored ranges.
    Range,
    /// Where the cursor stands.
    Cursor,
    /// A plan that was not carried out.
    Plan,
    /// A run that has not ended.
    Run,
    /// An object that is missing, not whole or not what its row says.
    Object,
    /// The name of an object.
    Key,
    /// A line that is not the event it should be.
    Line,
    /// Another organisation's event.
    Leaked,
    /// An object that should not be there.
    Unknown,
    /// An acknowledged event in no stored object.
    Lost,
    /// An event that is there more than once.
    Doubled,
    /// What was done to a key.
    Write,
    /// An upload that is open.
    Upload,
}

impl Kind {
    /// The word that its problems begin with.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Range => "range",
            Self::Cursor => "cursor",
            Self::Plan => "plan",
            Self::Run => "run",
            Self::Object => "object",
            Self::Key => "key",
            Self::Line => "line",
            Self::Leaked => "leaked",
            Self::Unknown => "unknown object",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Write => "write",
            Self::Upload => "open upload",
        }
    }
}

/// The problems of one organisation.
#[derive(Debug)]
pub(super) struct Problems {
    org: String,
    lines: Vec<String>,
    counts: BTreeMap<Kind, usize>,
}

impl Problems {
    /// None yet.
    pub(super) fn of(org: &str) -> Self {
        Self {
            org: org.to_owned(),
            lines: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Adds one.
    pub(super) fn add(&mut self, kind: Kind, text: impl Display) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_PER_KIND {
            let line = format!("{}: org {}: {text}", kind.word(), self.org);
            self.lines.push(line);
        }
    }

    /// All of them, and how many more there are of each kind.
    pub(super) fn into_lines(mut self) -> Vec<String> {
        for (kind, count) in self.counts {
            if count > MAX_PER_KIND {
                let more = count - MAX_PER_KIND;
                let line = format!(
                    "{}: org {}: {more} more of this kind",
                    kind.word(),
                    self.org
                );
                self.lines.push(line);
            }
        }
        self.lines
    }
}
