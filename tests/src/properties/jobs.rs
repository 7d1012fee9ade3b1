//! Job messages, which any program may publish.

use common::jobs::{InvalidJob, Job, VERSION};
use serde_json::Value;

use super::json;

/// Words of the refusals' own, which a message may hold, too.
const OWN_WORDS: [&str; 12] = [
    "test-connection",
    "column",
    "duplicate",
    "expected",
    "export",
    "field",
    "missing",
    "orgId",
    "runId",
    "testId",
    "type",
    "version",
];

/// What is accepted says what the message says, and comes through the queue once more as it is; what
/// is refused does not come back in the reason.
pub fn jobs(data: &[u8]) {
    match Job::decode(data) {
        Ok(job) => {
            let again = job.encode();
            assert_eq!(Job::decode(&again).unwrap(), job);
            let sent: Value = serde_json::from_slice(data).unwrap();
            let again: Value = serde_json::from_slice(&again).unwrap();
            assert!(sent.is_object(), "{sent}");
            let mut compared = 0;
            for (name, value) in again.as_object().unwrap() {
                compared += 1;
                match name.as_str() {
                    // An id may be written in more than one way.
                    "runId" | "testId" => assert_eq!(id(&sent[name]), id(value)),
                    _ => assert_eq!(&sent[name], value, "{name}"),
                }
            }
            assert_eq!(compared, 4);
        }
        Err(InvalidJob::Version(version)) => assert_ne!(version, VERSION),
        Err(InvalidJob::NotAnObject) => assert!(!data.trim_ascii_start().starts_with(b"{")),
        Err(InvalidJob::Malformed(error)) => {
            let reason = InvalidJob::Malformed(error).to_string();
            for sent in json::strings(data).iter().filter(|sent| is_telling(sent)) {
                assert!(!reason.contains(sent), "{sent:?} in {reason:?}");
            }
        }
    }
}

/// Whether a text could not stand in a reason by chance.
fn is_telling(text: &str) -> bool {
    let others = OWN_WORDS
        .iter()
        .fold(text.to_owned(), |text, word| text.replace(word, ""));
    let part = OWN_WORDS.iter().any(|word| word.contains(text));
    !part && others.chars().filter(|c| c.is_alphanumeric()).count() >= 8
}

fn id(value: &Value) -> uuid::Uuid {
    value.as_str().unwrap().parse().unwrap()
}
