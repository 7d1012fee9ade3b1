//! The events that the benchmark works on.

use std::{fmt::Write, fs, path::Path};

use harness::{bucket::unzip, events::Generator};
use serde_json::value::RawValue;

/// Different events, which are used again and again under new ids.
const DIFFERENT: usize = 2_000;
/// How gzip begins (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Events without end.
#[derive(Debug)]
pub struct Events {
    /// What stands before and behind each event's id.
    around: Vec<(String, String)>,
}

impl Events {
    /// The events of a file, or made-up ones.
    pub fn read(file: Option<&Path>) -> Self {
        let lines: Vec<String> = match file {
            Some(path) => text_of(path).lines().map(str::to_owned).collect(),
            None => Generator::new(1)
                .take(DIFFERENT)
                .map(|event| event.json())
                .collect(),
        };
        let around = lines.iter().map(|line| around_id(line)).collect();
        Self { around }
    }

    /// A request body with these events, one a line; each number is another event.
    pub fn ndjson(&self, numbers: std::ops::Range<usize>) -> String {
        let mut text = String::new();
        for number in numbers {
            let (before, behind) = &self.around[number % self.around.len()];
            writeln!(text, "{before}\"bench-{number:09}\"{behind}").unwrap();
        }
        text
    }
}

fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match bytes.starts_with(&GZIP_MAGIC) {
        true => unzip(&bytes),
        false => String::from_utf8(bytes).unwrap(),
    }
}

fn around_id(line: &str) -> (String, String) {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_str(line).expect("an event a line");
    let id = event.id.get();
    let at = id.as_ptr().addr() - line.as_ptr().addr();
    (line[..at].to_owned(), line[at + id.len()..].to_owned())
}
