//! JSON, read apart from the code that is looked at.

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// An object's members as they stand there: values as text, doubled names twice.
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The text of a JSON string; `None` where it is another value, or holds half of a surrogate pair.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The pieces of a text that is JSON: what stands in quotation marks, and what stands between.
pub(super) fn pieces(json: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let mut end = start + 1;
        let bytes = rest.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let end = rest.ceil_char_boundary((end + 1).min(rest.len()));
        pieces.push(Piece::Between(&rest[..start]));
        pieces.push(Piece::Quoted(&rest[start..end]));
        rest = &rest[end..];
    }
    pieces.push(Piece::Between(rest));
    pieces
}

/// See [`pieces`].
pub(super) enum Piece<'a> {
    Quoted(&'a str),
    Between(&'a str),
}

/// What the strings in a text mean that may be JSON.
pub(super) fn strings(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data);
    let meaning = |piece| match piece {
        Piece::Quoted(text) => serde_json::from_str(text).ok(),
        Piece::Between(_) => None,
    };
    pieces(&text).into_iter().filter_map(meaning).collect()
}
