//! A worker that ends exactly between two steps of a job, for each two: claim, freeze, upload, store,
//! finish, acknowledge. Another goes on from there. See exporter/src/crash.rs.

use std::{
    collections::BTreeMap,
    fmt::Write,
    os::unix::process::ExitStatusExt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use harness::{
    World,
    checker::{Sent, Verdict},
    events::{Event, Generator, events},
    report,
};

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

/// What became of a job whose worker ended.
struct Ended {
    place: &'static str,
    verdict: Verdict,
    /// From the end of the worker until all was delivered.
    took: Duration,
}

async fn a_worker_ends_and_another_goes_on(place: &'static str, sent: &[Event]) -> Ended {
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

    let ended = Instant::now();
    let _next = world.spawn_worker(&[]);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    let took = ended.elapsed();
    let sent = sent.iter().map(Sent::from).collect();
    let verdict = world.check(&BTreeMap::from([("acme".into(), sent)])).await;
    assert!(verdict.is_good(), "{place}: {verdict:#?}");
    assert_eq!(world.open_uploads(), [], "{place}");
    assert_eq!(acme.config().await["state"], "active", "{place}");
    Ended {
        place,
        verdict,
        took,
    }
}

/// Ends a worker at each of these places, and writes down what became of it.
async fn for_each(what: &str, places: impl IntoIterator<Item = &'static str>, sent: Vec<Event>) {
    let sent: Arc<[Event]> = sent.into();
    let one = |place| {
        let sent = sent.clone();
        tokio::spawn(async move { a_worker_ends_and_another_goes_on(place, &sent).await })
    };
    // All of them, also where one fails: a world cannot be cleaned up when its runtime is gone.
    let all: Vec<_> = stream::iter(places)
        .map(one)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let ended: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let mut table = format!("the worker ends in the course of {what}, and another goes on\n");
    table += "  at                          sent  delivered  lost  doubled       ms\n";
    for Ended {
        place,
        verdict,
        took,
    } in &ended
    {
        let Verdict {
            sent,
            delivered,
            lost,
            doubled,
            ..
        } = verdict;
        let ms = took.as_millis();
        writeln!(
            table,
            "  {place:26}  {sent:4}  {delivered:9}  {lost:4}  {doubled:7}  {ms:7}"
        )
        .unwrap();
    }
    report::write(&format!("crash-points of {what}").replace(' ', "-"), &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_run_with_a_small_object() {
    for_each("a run", OF_RUNS, events(13, 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_run_with_an_object_in_parts() {
    for_each(
        "a run with parts",
        OF_RUNS.into_iter().chain(OF_UPLOADS),
        large_events(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_steps_of_a_test() {
    for_each("a connection test", OF_TESTS, events(14, 50)).await;
}
