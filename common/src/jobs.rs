//! The job messages on the queue and the outcomes on the results exchange: a public contract, whose
//! JSON Schemas stand in `common/schemas/` and whose wire form is frozen by the tests below.
//!
//! A message carries ids, never work: the row is the truth, and the message only wakes a worker.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::ids::{OrgId, RunId, TestId};

/// The only version of job messages so far.
pub const VERSION: u32 = 1;

/// A job message. Members that are not known are ignored, so that later versions may add some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Job {
    /// Deliver what is pending.
    Export {
        /// 1.
        version: u32,
        /// Whose events.
        org_id: OrgId,
        /// The run; its row is made if it does not exist.
        run_id: RunId,
    },
    /// Test the organisation's destination.
    TestConnection {
        /// 1.
        version: u32,
        /// Whose destination.
        org_id: OrgId,
        /// The test; its row is made, for the stored config, if it does not exist.
        test_id: TestId,
    },
}

/// Why a message is not a job.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJob {
    /// Not JSON, or not of the documented form.
    #[error("the message is not a job: {}", problem(.0))]
    Malformed(#[from] serde_json::Error),
    /// An array of what an object's members would be, which is not documented.
    #[error("the message is not a job: it must be a JSON object")]
    NotAnObject,
    /// Of a version this program does not know.
    #[error("the message has version {0}, this program knows {VERSION}")]
    Version(u32),
}

/// The parser's text without the values that it quotes: a message may hold anything, and the text ends
/// up in a header and in the log.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_a_member = ["missing field", "duplicate field"];
    if error.classify() != Category::Data || names_a_member.iter().any(|it| text.starts_with(it)) {
        return text;
    }
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "a member is not as documented".into(),
    }
}

impl Job {
    /// An export job.
    pub fn export(org_id: OrgId, run_id: RunId) -> Self {
        Self::Export {
            version: VERSION,
            org_id,
            run_id,
        }
    }

    /// A test job.
    pub fn test_connection(org_id: OrgId, test_id: TestId) -> Self {
        Self::TestConnection {
            version: VERSION,
            org_id,
            test_id,
        }
    }

    /// Reads a message's body.
    pub fn decode(body: &[u8]) -> Result<Self, InvalidJob> {
        let job: Self = serde_json::from_slice(body)?;
        match job {
            Self::Export { version, .. } | Self::TestConnection { version, .. }
                if version != VERSION =>
            {
                Err(InvalidJob::Version(version))
            }
            // An array of all values in order would do for serde, too.
            _ if !body.trim_ascii_start().starts_with(b"{") => Err(InvalidJob::NotAnObject),
            _ => Ok(job),
        }
    }

    /// The message's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a job is plain strings and numbers")
    }
}

/// What became of a job, published to the results exchange under its routing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// Everything the run covered is delivered.
    #[serde(rename = "run.succeeded")]
    RunSucceeded {
        /// 1.
        version: u32,
        /// Whose run.
        org_id: OrgId,
        /// Which run.
        run_id: RunId,
        /// How many events it delivered.
        events: i64,
    },
    /// The run ended with an error; its row has the details.
    #[serde(rename = "run.failed")]
    RunFailed {
        /// 1.
        version: u32,
        /// Whose run.
        org_id: OrgId,
        /// Which run.
        run_id: RunId,
        /// The sentence that also stands in the run.
        error: String,
    },
    /// The run was not begun.
    #[serde(rename = "run.rejected")]
    RunRejected {
        /// 1.
        version: u32,
        /// Whose run.
        org_id: OrgId,
        /// Which run.
        run_id: RunId,
        /// `run_in_progress` or `not_active`.
        reason: RejectReason,
    },
    /// The destination works.
    #[serde(rename = "test.succeeded")]
    TestSucceeded {
        /// 1.
        version: u32,
        /// Whose test.
        org_id: OrgId,
        /// Which test.
        test_id: TestId,
    },
    /// The destination does not work, or could not be tested.
    #[serde(rename = "test.failed")]
    TestFailed {
        /// 1.
        version: u32,
        /// Whose test.
        org_id: OrgId,
        /// Which test.
        test_id: TestId,
        /// The sentence that also stands in the test's result.
        error: String,
    },
}

/// Why a run was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Another run of the organisation is queued or running.
    RunInProgress,
    /// Delivery is not configured, disabled, not tested yet, or paused.
    NotActive,
}

impl Outcome {
    /// The routing key on the results exchange.
    pub fn routing_key(&self) -> &'static str {
        match self {
            Self::RunSucceeded { .. } => "run.succeeded",
            Self::RunFailed { .. } => "run.failed",
            Self::RunRejected { .. } => "run.rejected",
            Self::TestSucceeded { .. } => "test.succeeded",
            Self::TestFailed { .. } => "test.failed",
        }
    }

    /// The message's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an outcome is plain strings and numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";

    fn org() -> OrgId {
        "acme".parse().unwrap()
    }

    /// Other programs publish these bytes: a change here breaks them.
    #[test]
    fn the_wire_form_of_jobs_is_frozen() {
        let export = format!(r#"{{"type":"export","version":1,"orgId":"acme","runId":"{ID}"}}"#);
        let test =
            format!(r#"{{"type":"test-connection","version":1,"orgId":"acme","testId":"{ID}"}}"#);
        let run_id = ID.parse().unwrap();
        let test_id = ID.parse().unwrap();
        for (job, text) in [
            (Job::export(org(), run_id), export),
            (Job::test_connection(org(), test_id), test),
        ] {
            assert_eq!(String::from_utf8(job.encode()).unwrap(), text);
            assert_eq!(Job::decode(text.as_bytes()).unwrap(), job);
        }
    }

    #[test]
    fn the_wire_form_of_outcomes_is_frozen() {
        let run_id = ID.parse().unwrap();
        let test_id = ID.parse().unwrap();
        let version = VERSION;
        let cases = [
            (
                Outcome::RunSucceeded {
                    version,
                    org_id: org(),
                    run_id,
                    events: 7,
                },
                format!(r#""runId":"{ID}","events":7"#),
            ),
            (
                Outcome::RunFailed {
                    version,
                    org_id: org(),
                    run_id,
                    error: "no".into(),
                },
                format!(r#""runId":"{ID}","error":"no""#),
            ),
            (
                Outcome::RunRejected {
                    version,
                    org_id: org(),
                    run_id,
                    reason: RejectReason::RunInProgress,
                },
                format!(r#""runId":"{ID}","reason":"run_in_progress""#),
            ),
            (
                Outcome::TestSucceeded {
                    version,
                    org_id: org(),
                    test_id,
                },
                format!(r#""testId":"{ID}""#),
            ),
            (
                Outcome::TestFailed {
                    version,
                    org_id: org(),
                    test_id,
                    error: "no".into(),
                },
                format!(r#""testId":"{ID}","error":"no""#),
            ),
        ];
        for (outcome, rest) in cases {
            let key = outcome.routing_key();
            let text = format!(r#"{{"type":"{key}","version":1,"orgId":"acme",{rest}}}"#);
            assert_eq!(String::from_utf8(outcome.encode()).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_a_job_is_refused_and_additions_are_not() {
        let bad: [&[u8]; 6] = [
            b"",
            b"\xff\xff",
            b"[]",
            br#"{"type":"export","version":1,"orgId":"acme"}"#,
            br#"{"type":"delete","version":1,"orgId":"acme","runId":"x"}"#,
            br#"{"type":"export","version":1,"orgId":"a/b","runId":"0198c0de-0000-7000-8000-000000000001"}"#,
        ];
        for body in bad {
            assert!(
                matches!(Job::decode(body), Err(InvalidJob::Malformed(_))),
                "{body:?}"
            );
        }
        let array = format!(r#"["export",1,"acme","{ID}"]"#);
        assert!(matches!(
            Job::decode(array.as_bytes()),
            Err(InvalidJob::NotAnObject)
        ));
        for body in [
            r#""hunter2""#,
            r#"{"type":"hunter2, expected hunter2"}"#,
            r#"{"type":"export","version":"hunter2"}"#,
            r#"{"type":"export","version":1,"orgId":"hunter2/"}"#,
            r#"{"type":"export","version":1,"orgId":"acme","runId":"hunter2"}"#,
        ] {
            let error = Job::decode(body.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let later = format!(r#"{{"type":"export","version":2,"orgId":"acme","runId":"{ID}"}}"#);
        assert!(matches!(
            Job::decode(later.as_bytes()),
            Err(InvalidJob::Version(2))
        ));
        let more =
            format!(r#"{{"type":"export","version":1,"orgId":"acme","runId":"{ID}","x":1}}"#);
        assert!(Job::decode(more.as_bytes()).is_ok());
    }
}
