//! Jobs that other programs submit by messages, and what they are told of them.

mod contract;
mod dead_letters;
mod lost_and_doubled;

use std::time::Duration;

use common::queue::topology;
use contract::{expect_outcome, export, must_conform, new_id, test};
use harness::{
    Customer, Org, World,
    broker::{Listener, OtherProgram},
    events::events,
};
use lapin::{BasicProperties, options::BasicGetOptions};
use serde_json::{Value, json};

const EXPORT: &str = topology::EXPORT.routing_key;
const TEST: &str = topology::TEST_CONNECTION.routing_key;
/// When nothing has come for so long, nothing will.
const SILENCE: Duration = Duration::from_secs(2);

/// A world in which nothing is exported unless somebody asks for it.
async fn start() -> World {
    World::start_with(|config| config.interval_seconds = 3_600).await
}

/// The same with a worker, an organisation whose delivery is active, and another program that has
/// been listening for outcomes since.
async fn start_with_acme(world: &World) -> (Org<'_>, Customer, OtherProgram, Listener) {
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    looked_at(world, &acme).await;
    let program = world.broker.connect().await;
    let outcomes = program.outcomes().await;
    (acme, customer, program, outcomes)
}

/// A run that an admin has asked for.
async fn queued_run(org: &Org<'_>) -> String {
    let run = org.ask("POST", "/audit-export/runs").send().await;
    run.expect(202)["id"].as_str().unwrap().to_owned()
}

/// An organisation whose delivery is active while no worker runs.
async fn acme_without_worker(world: &World) -> (Org<'_>, Customer) {
    let worker = world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    looked_at(world, &acme).await;
    worker.drain().await;
    (acme, customer)
}

/// Waits until the scheduler has looked at an organisation whose delivery has just become active: it
/// queues a run then if there are events, and next after the interval.
pub(crate) async fn looked_at(world: &World, org: &Org<'_>) {
    let client = world.database.client().await;
    let sql = "select next_check_at > now() from export_state where org_id = $1";
    let look = || async {
        let row = client.query_one(sql, &[&org.id()]).await.unwrap();
        row.get::<_, Option<bool>>(0)?.then_some(())
    };
    org.eventually("the scheduler has looked at it", look).await;
}

/// Takes a message out of a queue, if there is one.
async fn take(world: &World, queue: &str) -> Option<Value> {
    let connection = common::queue::connect(world.broker.amqp_url(), "a look")
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let got = channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: true })
        .await;
    got.unwrap()
        .map(|message| serde_json::from_slice(&message.delivery.data).unwrap_or_default())
}

/// Whether the organisation has this run.
async fn has_run(org: &Org<'_>, id: &str) -> bool {
    let answer = org
        .ask("GET", &format!("/audit-export/runs/{id}"))
        .send()
        .await;
    if answer.status == 404 {
        answer.expect_error(404, "run_not_found");
    }
    answer.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_run_is_created_and_delivered_once() {
    let world = start().await;
    let (acme, customer, program, mut outcomes) = start_with_acme(&world).await;
    let sent = events(31, 120);
    acme.ingest(&sent).await;
    let id = new_id();

    // The same id twice is one job.
    for _ in 0..3 {
        program.submit(EXPORT, &export("acme", &id)).await;
    }
    let outcome = outcomes.next().await;

    let more = json!({"events": 120});
    expect_outcome(&outcome, "run.succeeded", "acme", &id, more);
    let run = acme.run(&id).await;
    assert_eq!(
        (&run["status"], &run["trigger"]),
        (&json!("succeeded"), &json!("submitted"))
    );
    assert_eq!(
        (&run["events"], &run["attempts"]),
        (&json!(120), &json!(1)),
        "{run}"
    );
    customer.bucket().must_hold("acme", &sent);

    // And once more, when it has long ended.
    program.submit(EXPORT, &export("acme", &id)).await;
    assert!(outcomes.rest(SILENCE).await.is_empty());
    assert_eq!(acme.run(&id).await, run);
    assert_eq!(acme.runs().await.len(), 1);
    assert_eq!(take(&world, topology::DEAD_LETTERS).await, None);
    assert_eq!(take(&world, topology::EXPORT.queue).await, None);
    customer.nothing_was_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_at_a_time() {
    let world = start().await;
    let (acme, customer) = acme_without_worker(&world).await;
    let sent = events(32, 50);
    acme.ingest(&sent).await;
    // A run that is queued and stays so: its message is gone.
    let first = queued_run(&acme).await;
    let message = take(&world, topology::EXPORT.queue).await.unwrap();
    assert_eq!(message, export("acme", &first));
    world.start_worker();
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;

    let second = new_id();
    program.submit(EXPORT, &export("acme", &second)).await;

    let outcome = outcomes.next().await;
    let more = json!({"reason": "run_in_progress"});
    expect_outcome(&outcome, "run.rejected", "acme", &second, more);
    assert!(!has_run(&acme, &second).await);
    assert_eq!(acme.run(&first).await["status"], "queued");

    program.submit(EXPORT, &message).await;
    assert_eq!(outcomes.next().await.body["runId"], first);
    assert_eq!(acme.run(&first).await["status"], "succeeded");
    // What was rejected may be asked for again, even under the same id.
    program.submit(EXPORT, &export("acme", &second)).await;
    let outcome = outcomes.next().await;
    assert_eq!(
        (&outcome.body["runId"], &outcome.body["events"]),
        (&json!(second), &json!(0))
    );
    customer.bucket().must_hold("acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_active_organisations_have_runs() {
    let world = start().await;
    let (acme, customer) = acme_without_worker(&world).await;
    let bare = world.org("bare").await;
    // Asked for while delivery was active, begun when it is not.
    let queued = queued_run(&acme).await;
    acme.save(customer.settings_with(json!({"enabled": false})))
        .await
        .expect(201);
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    let not_active = || json!({"reason": "not_active"});

    world.start_worker();
    let outcome = outcomes.next().await;
    expect_outcome(&outcome, "run.rejected", "acme", &queued, not_active());
    for org in [&acme, &bare] {
        let id = new_id();
        program.submit(EXPORT, &export(org.id(), &id)).await;
        let outcome = outcomes.next().await;
        expect_outcome(&outcome, "run.rejected", org.id(), &id, not_active());
        assert!(!has_run(org, &id).await);
    }
    let run = acme.run(&queued).await;
    assert_eq!(
        (&run["status"], &run["errorClass"]),
        (&json!("failed"), &json!("not_active")),
        "{run}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_work_on_is_a_dead_letter() {
    let world = start().await;
    let (acme, customer, program, mut outcomes) = start_with_acme(&world).await;
    let (other, _) = world.active_org("other").await;
    let (run, tested) = (new_id(), new_id());
    program.submit(EXPORT, &export("acme", &run)).await;
    outcomes.next_of("run.succeeded").await;
    program.submit(TEST, &test("acme", &tested)).await;
    outcomes.next_of("test.succeeded").await;
    let before = acme.run(&run).await;
    let text = |job: Value| job.to_string().into_bytes();
    let mut of_version_2 = export("acme", &new_id());
    of_version_2["version"] = json!(2);
    let without_id = json!({"type": "export", "version": 1, "orgId": "acme"});
    let of_no_kind = json!({"type": "delete", "version": 1, "orgId": "acme", "runId": new_id()});

    for (key, body, reason) in [
        (
            EXPORT,
            text(export("nobody", &new_id())),
            "no organisation has this id",
        ),
        (
            TEST,
            text(test("nobody", &new_id())),
            "no organisation has this id",
        ),
        (
            EXPORT,
            text(export("other", &run)),
            "belongs to another organisation",
        ),
        (
            TEST,
            text(test("other", &tested)),
            "belongs to another organisation",
        ),
        (EXPORT, b"\xff\x00 no JSON".to_vec(), "not a job"),
        (TEST, Vec::new(), "not a job"),
        (EXPORT, text(without_id), "runId"),
        (EXPORT, text(of_no_kind), "test-connection"),
        (EXPORT, text(of_version_2), "version 2"),
    ] {
        program
            .publish(key, &body, BasicProperties::default())
            .await;
        let dead = program.dead_letter().await;
        assert_eq!((&dead.routing_key[..], &dead.bytes), (key, &body));
        let told = dead.reason.unwrap_or_default();
        assert!(told.contains(reason), "{reason} is not in {told:?}");
    }

    // Nothing came of them, and the worker works.
    assert_eq!(acme.run(&run).await, before);
    assert!(other.runs().await.is_empty());
    assert!(outcomes.rest(SILENCE).await.is_empty());
    let sent = events(33, 10);
    acme.ingest(&sent).await;
    program.submit(EXPORT, &export("acme", &new_id())).await;
    assert_eq!(outcomes.next().await.body["events"], 10);
    customer.bucket().must_hold("acme", &sent);
    assert_eq!(take(&world, topology::DEAD_LETTERS).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_test_tests_what_is_stored() {
    let world = start().await;
    let (acme, customer, program, mut outcomes) = start_with_acme(&world).await;
    let bare = world.org("bare").await;
    let before = acme.config().await;
    let id = new_id();
    for _ in 0..3 {
        program.submit(TEST, &test("acme", &id)).await;
    }

    let outcome = outcomes.next().await;

    expect_outcome(&outcome, "test.succeeded", "acme", &id, json!({}));
    assert!(
        outcomes.rest(SILENCE).await.is_empty(),
        "the same id twice is one job"
    );
    let config = acme.config().await;
    assert_eq!(config["lastTestOk"], true);
    assert_ne!(config["lastTestedAt"], before["lastTestedAt"]);
    let client = world.database.client().await;
    let row = client
        .query_one(
            "select org_id, trigger, state from connection_tests where id::text = $1",
            &[&id],
        )
        .await
        .unwrap();
    let row: Vec<String> = (0..3).map(|n| row.get(n)).collect();
    assert_eq!(row, ["acme", "submitted", "succeeded"]);

    let id = new_id();
    program.submit(TEST, &test(bare.id(), &id)).await;
    let outcome = outcomes.next().await;
    let more = json!({"error": "export is not configured"});
    expect_outcome(&outcome, "test.failed", "bare", &id, more);

    customer.break_role();
    let id = new_id();
    program.submit(TEST, &test("acme", &id)).await;
    let outcome = outcomes.next().await;
    let config = acme.config().await;
    assert_eq!(
        (&config["lastTestOk"], &config["state"]),
        (&json!(false), &json!("paused")),
        "{config}"
    );
    let error = config["lastError"].as_str().unwrap();
    assert!(error.contains("s3:PutObject"), "{error}");
    let more = json!({"error": error});
    expect_outcome(&outcome, "test.failed", "acme", &id, more);
    let text = String::from_utf8(outcome.bytes).unwrap();
    assert!(!text.contains(&customer.role_arn), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_an_answer_gets_it() {
    let world = start().await;
    let (acme, customer, program, mut outcomes) = start_with_acme(&world).await;
    let (queue, mut answers) = program.private_queue().await;
    let bare = world.org("bare").await;

    for (n, (key, job, outcome)) in [
        (EXPORT, export("acme", &new_id()), "run.succeeded"),
        (EXPORT, export(bare.id(), &new_id()), "run.rejected"),
        (TEST, test("acme", &new_id()), "test.succeeded"),
        (TEST, test(bare.id(), &new_id()), "test.failed"),
    ]
    .into_iter()
    .enumerate()
    {
        let question = format!("question {n}");
        let properties = BasicProperties::default()
            .with_reply_to(queue.as_str().into())
            .with_correlation_id(question.as_str().into());
        program
            .publish(key, job.to_string().as_bytes(), properties)
            .await;
        let told = outcomes.next().await;
        let answer = answers.next().await;
        assert_eq!(told.routing_key, outcome);
        assert_eq!(
            (&answer.correlation_id, &told.correlation_id),
            (&Some(question.clone()), &Some(question))
        );
        assert_eq!(answer.body, told.body);
        must_conform("outcome", &answer.body);
    }

    // An answer that nobody waits for any more holds up nothing.
    let sent = events(34, 5);
    acme.ingest(&sent).await;
    let gone = BasicProperties::default().with_reply_to("a queue that is gone".into());
    program
        .publish(
            EXPORT,
            export("acme", &new_id()).to_string().as_bytes(),
            gone,
        )
        .await;
    outcomes.next_of("run.succeeded").await;
    customer.bucket().must_hold("acme", &sent);
    assert_eq!(acme.export_now().await["status"], "succeeded");
    assert!(answers.rest(SILENCE).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_with_the_reason() {
    let world = start().await;
    let (acme, customer, program, mut outcomes) = start_with_acme(&world).await;
    acme.ingest(&events(35, 5)).await;
    customer.break_role();
    let id = new_id();

    program.submit(EXPORT, &export("acme", &id)).await;

    let outcome = outcomes.next_of("run.failed").await;
    let run = acme.run(&id).await;
    assert_eq!(
        (&run["status"], &run["errorClass"]),
        (&json!("failed"), &json!("permanent")),
        "{run}"
    );
    let more = json!({"error": run["error"]});
    expect_outcome(&outcome, "run.failed", "acme", &id, more);
    let text = String::from_utf8(outcome.bytes).unwrap();
    assert!(
        text.contains("s3:PutObject") && !text.contains(&customer.role_arn),
        "{text}"
    );
}
