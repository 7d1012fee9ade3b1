//! Queues, bindings and exchanges that are gone: whoever notices declares them again.

use common::queue::topology::{
    DEAD_LETTERS, EXPORT, JOBS_EXCHANGE, RESULTS_EXCHANGE, TEST_CONNECTION,
};
use harness::{broker::Vhost, events::events};

use super::{ask_for_run, must_deliver, must_hold, must_pass_test, quiet_org, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_queues_are_deleted_goes_on() {
    let world = start().await;
    world.start_worker();
    let (acme, customer) = quiet_org(&world, "acme").await;
    let sent = events(51, 90);
    for batch in sent.chunks(30) {
        for queue in [EXPORT.queue, TEST_CONNECTION.queue] {
            world.broker.delete_queue(queue).await;
        }
        acme.ingest(batch).await;
        must_deliver(&acme, &ask_for_run(&acme).await, 30).await;
        must_pass_test(&acme).await;
    }
    must_hold(&customer, "acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_a_deleted_queue_come_again() {
    let world = start().await;
    let worker = world.start_worker();
    let (acme, customer) = quiet_org(&world, "acme").await;
    worker.drain().await;
    let sent = events(52, 30);
    acme.ingest(&sent).await;
    let run = ask_for_run(&acme).await;

    world.broker.delete_queue(EXPORT.queue).await;

    // The API alone finds out, when it publishes the row again.
    let look = || async { world.broker.has_queue(EXPORT.queue).await.then_some(()) };
    acme.eventually("the queue is declared again", look).await;
    world.start_worker();
    must_deliver(&acme, &run, 30).await;
    must_hold(&customer, "acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_is_gone_is_made_again() {
    the_next_job_mends(53, async |broker| {
        broker.unbind(EXPORT).await;
        broker.unbind(TEST_CONNECTION).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_gone_is_made_again() {
    the_next_job_mends(54, async |broker| {
        for exchange in [JOBS_EXCHANGE, RESULTS_EXCHANGE, DEAD_LETTERS] {
            broker.delete_exchange(exchange).await;
        }
    })
    .await;
}

/// Nobody but the API and a worker is connected, so nobody else declares what is missing.
async fn the_next_job_mends(seed: u64, breaking: impl AsyncFnOnce(&Vhost)) {
    let world = start().await;
    world.start_worker();
    let (acme, customer) = quiet_org(&world, "acme").await;
    let mut sent = events(seed, 30);
    acme.ingest(&sent).await;

    breaking(&world.broker).await;

    must_deliver(&acme, &ask_for_run(&acme).await, 30).await;
    must_pass_test(&acme).await;
    // Outcomes are told again, too.
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    let more = events(seed + 1_000, 10);
    acme.ingest(&more).await;
    sent.extend(more);
    let run = ask_for_run(&acme).await;
    must_deliver(&acme, &run, 10).await;
    let outcome = outcomes.next_of("run.succeeded").await;
    assert_eq!(outcome.body["runId"], run.as_str());
    must_hold(&customer, "acme", &sent);
}
