//! A worker that ends exactly between two steps of a job, for each two: claim, freeze, upload, store,
//! finish, acknowledge. Another goes on from there. See exporter/src/crash.rs.

use std::os::unix::process::ExitStatusExt;

use futures_util::{StreamExt, stream};
use harness::{
    World,
    events::{Event, Generator, events},
    process::Process,
};
use serde_json::json;

/// What a worker does with every run, in this order.
const OF_RUNS: [&str; 9] = [
    "claiming=return",
    "claimed=return",
    "announced=return",
    "visible=return",
    "delivered=return",
    "storing=return",
    "stored=return",
    // The first message is that of the test.
    "settling=1*off->return",
    "settled=1*off->return",
];
/// What it does besides for an object in parts.
const OF_UPLOADS: [&str; 6] = [
    "upload-expected=return",
    "upload-begun=return",
    "upload-known=return",
    "part=return",
    "part=1*off->return",
    "parts=return",
];
/// What it does with every connection test.
const OF_TESTS: [&str; 5] = [
    "test-claimed=return",
    "test-made=return",
    "test-finished=return",
    "settling=return",
    "settled=return",
];
/// Worlds at once.
const AT_ONCE: usize = 4;
/// `SIGABRT`: the end at a crash point.
const ABORTED: i32 = 6;

/// Events of one object in three parts.
fn large_events() -> Vec<Event> {
    Generator::new(12).bytes(250_000).take(150).collect()
}

async fn a_worker_ends_and_another_goes_on(place: &str, sent: &[Event]) {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    for batch in sent.chunks(50) {
        acme.ingest(batch).await;
    }
    let mut doomed = world.spawn_worker(&[("FAILPOINTS", place)]);
    acme.save(customer.settings()).await.expect(201);
    let status = acme
        .eventually(&format!("the end at {place}"), || {
            std::future::ready(doomed.ended())
        })
        .await;
    assert_eq!(status.signal(), Some(ABORTED), "{place}: {}", doomed.log());

    let next: Process = world.spawn_worker(&[]);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    customer.bucket().must_hold("acme", sent);
    customer.nothing_was_rewritten();
    assert_eq!(world.aws.open_uploads(&customer.bucket_name), [], "{place}");
    assert_eq!(acme.config().await["state"], json!("active"), "{place}");
    drop(next);
}

async fn for_each(places: impl IntoIterator<Item = &str>, sent: &[Event]) {
    stream::iter(places)
        .for_each_concurrent(AT_ONCE, |place| {
            a_worker_ends_and_another_goes_on(place, sent)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_run_with_a_small_object() {
    for_each(OF_RUNS, &events(13, 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_run_with_an_object_in_parts() {
    for_each(OF_RUNS.into_iter().chain(OF_UPLOADS), &large_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_test() {
    for_each(OF_TESTS, &events(14, 50)).await;
}
