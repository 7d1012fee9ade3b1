//! Messages that get lost, come twice or come late: the rows are the truth.

use common::queue::topology;
use harness::{World, events::events};
use serde_json::json;

use super::{SILENCE, looked_at, queued_run};

/// That all messages are lost costs time only.
#[tokio::test(flavor = "multi_thread")]
async fn purged_queues_lose_nothing() {
    let world = World::start_with(|config| {
        config.interval_seconds = 3_600;
        config.republish_seconds = 2;
    })
    .await;
    let worker = world.start_worker();
    let (acme, to_acme) = world.active_org("acme").await;
    let (other, to_other) = world.active_org("other").await;
    looked_at(&world, &acme).await;
    looked_at(&world, &other).await;
    worker.drain().await;
    let sent = events(36, 300);
    let mut runs = Vec::new();
    for org in [&acme, &other] {
        org.ingest(&sent).await;
        runs.push(queued_run(org).await);
    }
    let new = world.org("new").await;
    new.save(world.customer(&new).settings()).await.expect(201);
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;

    for queue in [topology::EXPORT.queue, topology::TEST_CONNECTION.queue] {
        world.broker.purge(queue).await;
    }
    world.start_worker();

    for (org, run) in [&acme, &other].into_iter().zip(&runs) {
        let run = org.wait_for_run(run).await;
        assert_eq!(
            (&run["status"], &run["events"]),
            (&json!("succeeded"), &json!(300)),
            "{run}"
        );
    }
    new.wait_for_state("active").await;
    to_acme.bucket().must_hold("acme", &sent);
    to_other.bucket().must_hold("other", &sent);
    // However often they were published, they were done once.
    let told = outcomes.rest(SILENCE).await;
    let mut done: Vec<_> = told
        .iter()
        .filter_map(|outcome| outcome.body["runId"].as_str())
        .collect();
    done.sort_unstable();
    runs.sort_unstable();
    assert_eq!(done, runs);
    to_acme.nothing_was_rewritten();
}

/// Messages that come again, late or in any order change nothing but the time.
#[tokio::test(flavor = "multi_thread")]
async fn doubled_messages_do_no_harm() {
    let world = World::start().await;
    let (worker, _other) = (world.start_worker(), world.start_worker());
    let (acme, customer) = world.active_org("acme").await;
    let program = world.broker.connect().await;
    let mut jobs = program.jobs().await;
    let sent = events(39, 400);
    for batch in sent.chunks(100) {
        acme.ingest(batch).await;
        let job = jobs.next_of("export").await;
        for _ in 0..20 {
            program.submit("export", &job.body).await;
        }
    }
    acme.wait_until_delivered(&customer, 400).await;
    worker.drain().await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let runs = acme.runs().await;
    assert!(runs.iter().all(|run| run["attempts"] == 1), "{runs:?}");
}
