//! What the key of an object tells.

use jiff::civil::Date;
use uuid::Uuid;

const ORG: &str = "org_id=";
const TEST_FOLDER: &str = "audit-export-test";
/// How keys end, by codec.
const SUFFIXES: [(&str, &str); 2] = [("gzip", ".jsonl.gz"), ("zstd", ".jsonl.zst")];

/// The parts of `{prefix/}org_id={orgId}/date={YYYY-MM-DD}/{firstSeq:020}-{lastSeq:020}-{planId}.jsonl.gz`, or `.zst`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyParts {
    pub(super) prefix: String,
    pub(super) org: String,
    pub(super) date: Date,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) plan_id: Uuid,
    pub(super) suffix: &'static str,
}

impl KeyParts {
    /// Reads a key; `None` where it does not have exactly the documented form.
    pub(super) fn read(key: &str) -> Option<Self> {
        let (folders, name) = key.rsplit_once('/')?;
        let (folders, date) = folders.rsplit_once("/date=")?;
        // A prefix may look like an organisation's folder: the last one counts.
        let (prefix, org) = match folders.rsplit_once('/') {
            Some((prefix, folder)) => (prefix, folder.strip_prefix(ORG)?),
            None => ("", folders.strip_prefix(ORG)?),
        };
        let suffix = suffix_of(name)?;
        let (first, rest) = name.strip_suffix(suffix)?.split_once('-')?;
        let (last, plan_id) = rest.split_once('-')?;
        let parts = Self {
            prefix: prefix.to_owned(),
            org: org.to_owned(),
            date: date.parse().ok()?,
            first_seq: first.parse().ok()?,
            last_seq: last.parse().ok()?,
            plan_id: plan_id.parse().ok()?,
            suffix,
        };
        // The parsers take other forms of the same values, too.
        (parts.key() == key).then_some(parts)
    }

    fn key(&self) -> String {
        let Self {
            prefix,
            org,
            date,
            first_seq,
            last_seq,
            plan_id,
            suffix,
        } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!(
            "{prefix}{slash}{ORG}{org}/date={date}/{first_seq:020}-{last_seq:020}-{plan_id}{suffix}"
        )
    }
}

fn suffix_of(key: &str) -> Option<&'static str> {
    let mut suffixes = SUFFIXES.into_iter().map(|(_, suffix)| suffix);
    suffixes.find(|suffix| key.ends_with(suffix))
}

/// How the key of an object of this codec ends; empty where there is no such codec.
pub(super) fn suffix_of_codec(codec: &str) -> &'static str {
    let found = SUFFIXES.into_iter().find(|(name, _)| *name == codec);
    found.map_or("", |(_, suffix)| suffix)
}

/// Whether it is the key of a connection test's object.
pub(super) fn is_of_a_test(key: &str) -> bool {
    let folder = key.rsplit('/').nth(1);
    folder == Some(TEST_FOLDER) && suffix_of(key).is_none()
}

/// Whose events an object holds by its key, which need not be well formed; empty where nobody is named,
/// `None` for what is no export at all.
pub(super) fn org_of(key: &str) -> Option<&str> {
    if is_of_a_test(key) {
        return None;
    }
    let named = key.rsplit('/').find_map(|name| name.strip_prefix(ORG));
    named.or_else(|| suffix_of(key).map(|_| ""))
}
