//! The messages of the contract with other programs, and its schemas.

use std::time::Duration;

use harness::{World, broker::Message, events::events, schema::conforms};
use serde_json::{Value, json};
use uuid::Uuid;

use super::SILENCE;

/// An id that nobody has used.
pub(super) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The message by which an export is submitted.
pub(super) fn export(org: &str, run: &str) -> Value {
    let job = json!({"type": "export", "version": 1, "orgId": org, "runId": run});
    must_conform("job", &job);
    job
}

/// The message by which a test is submitted.
pub(super) fn test(org: &str, test: &str) -> Value {
    let job = json!({"type": "test-connection", "version": 1, "orgId": org, "testId": test});
    must_conform("job", &job);
    job
}

/// Checks that a message is just this outcome of a run or a test, with these members besides, and is
/// as the schema says.
#[track_caller]
pub(super) fn expect_outcome(message: &Message, kind: &str, org: &str, id: &str, more: Value) {
    let mut expected = more;
    expected["type"] = json!(kind);
    expected["version"] = json!(1);
    expected["orgId"] = json!(org);
    let of_run = kind.starts_with("run.");
    expected[if of_run { "runId" } else { "testId" }] = json!(id);
    assert_eq!(message.body, expected);
    assert_eq!(message.routing_key, kind);
    must_conform("outcome", &message.body);
}

/// Checks a message against the published schema.
#[track_caller]
pub(super) fn must_conform(schema: &str, message: &Value) {
    let text = match schema {
        "job" => include_str!("../../../common/schemas/job.v1.schema.json"),
        _ => include_str!("../../../common/schemas/outcome.v1.schema.json"),
    };
    if let Err(error) = conforms(&serde_json::from_str(text).unwrap(), message) {
        panic!("{error}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_holds_ids_and_nothing_else() {
    let world = World::start().await;
    let program = world.broker.connect().await;
    let mut jobs = program.jobs().await;
    let mut outcomes = program.outcomes().await;
    world.start_worker_with(|config| config.run_max_events = 10);
    let (acme, customer) = world.active_org("acme").await;
    acme.ingest(&events(37, 25)).await;
    acme.wait_until_delivered(&customer, 25).await;
    acme.test().await.expect(200);
    customer.break_role();
    acme.ingest(&events(38, 5)).await;
    acme.wait_for_state("paused").await;

    let published = jobs.rest(SILENCE).await;
    assert!(published.len() >= 5, "{published:?}");
    for message in &published {
        must_conform("job", &message.body);
        assert_eq!(message.body.as_object().unwrap().len(), 4, "{message:?}");
        assert_eq!(message.routing_key, message.body["type"].as_str().unwrap());
    }
    let outcomes = outcomes.rest(Duration::ZERO).await;
    for outcome in &outcomes {
        must_conform("outcome", &outcome.body);
        let text = String::from_utf8_lossy(&outcome.bytes);
        assert!(!text.contains(&customer.role_arn), "{text}");
    }
    for kind in [
        "run.succeeded",
        "run.failed",
        "test.succeeded",
        "test.failed",
    ] {
        let mut kinds = outcomes.iter().map(|outcome| &outcome.routing_key);
        assert!(kinds.any(|seen| seen == kind), "no {kind} in {outcomes:?}");
    }
}
