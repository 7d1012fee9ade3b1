//! Cells whose fault meets a connection test: deletions, which nothing else makes, and a few faults
//! of every other operation.

use std::time::Instant;

use harness::{Customer, faults::http::Operation};
use serde_json::{Value, json};

use super::{
    lab::{self, Lab},
    made,
    rows::Row,
    table::{self, Kind, Mode, TestEnding},
};

/// Calls of one operation that a test may make: one for each of the two things it asks for with it,
/// and four retries.
const MOST_CALLS: usize = 6;

/// Deletions that meet a fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) ending: TestEnding,
}

/// Another operation, all of whose calls meet a fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Test {
    pub(super) operation: Operation,
    pub(super) kind: Kind,
    pub(super) says: &'static [&'static str],
}

impl Deletion {
    /// Tests what an organisation of its own has configured.
    pub(super) async fn run(self, lab: &Lab, number: usize) -> Row {
        let Self { kind, mode, ending } = self;
        let (org, customer) = lab.active_org(number).await;
        let calls = lab::calls_of(Operation::DeleteObject, &customer);
        let calls = match mode {
            Mode::Once => calls.first(1),
            Mode::UntilLifted => calls,
        };
        let fault = made::fault(Operation::DeleteObject, kind);
        let injected = lab.proxy.inject(calls, fault);
        let began = Instant::now();

        let result = org.test().await.expect(200);

        let calls = deletions(lab, &customer, began);
        assert!(injected.hits() > 0, "the fault met no call");
        assert!(calls <= MOST_CALLS, "{calls} calls: {result}");
        match ending {
            TestEnding::Passes(most) => {
                passes(&result);
                assert_eq!(result["warning"], Value::Null, "{result}");
                assert_eq!(
                    customer.bucket().keys(),
                    [""; 0],
                    "all is removed: {result}"
                );
                assert!(calls <= most, "{calls} calls: {result}");
            }
            TestEnding::Warns => {
                passes(&result);
                let left_over = customer.bucket().keys();
                let warning = result["warning"].as_str().unwrap_or_default();
                assert!(!left_over.is_empty(), "{result}");
                assert!(
                    left_over.iter().all(|key| warning.contains(key.as_str())),
                    "{left_over:?}: {result}"
                );
            }
            TestEnding::Fails => fails(&result, "delete_object"),
        }
        // What an export does not need stops no export.
        let config = org.config().await;
        assert_eq!(config["state"], "active", "{config}");
        injected.lift();
        passes(&org.test().await.expect(200));
        customer.nothing_was_rewritten();
        Row {
            fault: format!("{kind:?}"),
            mode: format!("{mode:?}"),
            ending: format!("{ending:?}"),
            calls,
            faults: injected.hits(),
            milliseconds: began.elapsed().as_millis(),
            sent: 0,
            delivered: 0,
        }
    }
}

fn deletions(lab: &Lab, customer: &Customer, since: Instant) -> usize {
    let mut seen = lab.proxy.seen();
    seen.retain(|seen| {
        seen.at >= since
            && seen.operation == Operation::DeleteObject
            && seen.bucket.as_ref() == Some(&customer.bucket_name)
    });
    seen.len()
}

impl Test {
    /// Tests a destination that is not configured.
    pub(super) async fn run(self, lab: &Lab, number: usize) -> Row {
        let Self {
            operation,
            kind,
            says,
        } = self;
        let org = lab.world.org(&format!("org-{number:04}")).await;
        let customer = lab.world.customer(&org);
        let calls = lab::calls_of(operation, &customer);
        let injected = lab.proxy.inject(calls, made::fault(operation, kind));
        let began = Instant::now();

        // 504 comes after 30 s.
        let result = org.test_of(customer.settings()).await.expect(200);

        let milliseconds = began.elapsed().as_millis();
        let calls = injected.hits();
        assert!(calls <= MOST_CALLS, "{calls} calls: {result}");
        if kind == Kind::AccessDenied {
            assert_eq!(calls, 1, "asked once: {result}");
        }
        fails(&result, table::stage_of(operation));
        let sentence = result["error"].as_str().unwrap();
        for part in says {
            let part = lab::in_words_of(&org, &customer, part);
            assert!(sentence.contains(&part), "{part:?} is not in: {sentence}");
        }
        injected.lift();
        passes(&org.test_of(customer.settings()).await.expect(200));
        Row {
            fault: format!("{kind:?}"),
            mode: "test".into(),
            ending: format!("fails in {}", table::stage_of(operation)),
            calls,
            faults: calls,
            milliseconds,
            sent: 0,
            delivered: 0,
        }
    }
}

fn passes(result: &Value) {
    assert_eq!(result["success"], true, "{result}");
    assert_eq!(result.get("error"), None, "{result}");
}

/// Checks that it failed in this stage, after all before it had passed, and says so.
fn fails(result: &Value, stage: &str) {
    assert_eq!(result["success"], false, "{result}");
    let stages = result["stages"].as_array().unwrap();
    let Some((failed, before)) = stages.split_last() else {
        panic!("the stage is not named: {result}");
    };
    assert_eq!(failed["name"], stage, "{result}");
    assert_eq!(failed["success"], json!(false), "{result}");
    assert!(
        before.iter().all(|stage| stage["success"] == true),
        "{result}"
    );
    assert_eq!(failed["error"], result["error"], "{result}");
    let sentence = result["error"].as_str().unwrap_or_default();
    assert!(sentence.contains(' '), "not a sentence: {result}");
}
