//! Workers that end, or fall silent, in the middle of their work.

use std::time::Duration;

use harness::{
    Customer, Event, Org, World,
    events::{Generator, events},
    process::Process,
};
use local_aws::CallRecord;

/// Events that make an object of several parts.
pub(crate) fn large_events() -> Vec<Event> {
    let different: Vec<_> = Generator::new(8).bytes(3_000).take(500).collect();
    let large = (0..12_000).map(|n| different[n % 500].with_id(format!("large-{n}")));
    large.collect()
}

/// How many parts of events were sent; connection tests send one as well.
fn parts_of_exports(world: &World) -> usize {
    let part_of_an_export = |call: &CallRecord| {
        call.operation == "UploadPart" && call.key.as_deref().unwrap().contains("org_id=")
    };
    let calls = world.aws.calls();
    calls.iter().filter(|call| part_of_an_export(call)).count()
}

/// Makes an organisation with events, lets a worker export them, and returns when the worker has sent
/// the first part of their object.
pub(crate) async fn in_mid_export<'w>(
    world: &'w World,
    events: &[Event],
) -> (Org<'w>, Customer, Process) {
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    for batch in events.chunks(4_000) {
        acme.ingest(batch).await;
    }
    let worker = world.spawn_worker(&[]);
    acme.save(customer.settings()).await.expect(201);
    let look = || async { (parts_of_exports(world) > 0).then_some(()) };
    acme.eventually("a part is uploaded", look).await;
    (acme, customer, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_upload_is_done_again() {
    let world = World::start().await;
    let sent = large_events();
    let (acme, customer, mut worker) = in_mid_export(&world, &sent).await;

    worker.kill();
    assert!(
        !world.aws.open_uploads(&customer.bucket_name).is_empty(),
        "killed too late"
    );
    let _other = world.spawn_worker(&[]);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;

    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    assert_eq!(world.aws.open_uploads(&customer.bucket_name), []);
    let runs = acme.runs().await;
    assert!(
        runs.iter().all(|run| run["status"] == "succeeded"),
        "{runs:?}"
    );
    assert!(runs.iter().any(|run| run["attempts"] == 2), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again() {
    const EVENTS: i64 = 3_000;
    let world = World::start().await;
    let small_runs = [
        ("AUDIT_EXPORT_RUN_MAX_EVENTS", "60"),
        ("AUDIT_EXPORT_LEASE_SECONDS", "1"),
    ];
    let mut worker = world.spawn_worker(&small_runs);
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(9, EVENTS.try_into().unwrap());
    acme.ingest(&sent).await;
    for kill in 1..=4 {
        let progress =
            || async { (customer.bucket().last_seq("acme") >= kill * 400).then_some(()) };
        acme.eventually("it goes on", progress).await;
        worker.kill();
        worker = world.spawn_worker(&small_runs);
    }
    acme.wait_until_delivered(&customer, EVENTS).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}

/// A worker that is stopped like a virtual machine that is moved: it wakes up when its lease has
/// long been another's, and does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_late_does_no_harm() {
    let world = World::start().await;
    let listener = world.broker.connect().await;
    let mut outcomes = listener.outcomes().await;
    let mut sent = large_events();
    let (acme, customer, sleeper) = in_mid_export(&world, &sent).await;

    sleeper.signal("STOP");
    assert!(
        !world.aws.open_uploads(&customer.bucket_name).is_empty(),
        "stopped too late"
    );
    let other = world.start_worker();
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    sleeper.signal("CONT");
    // Whatever the sleeper still does, it does it beside the next export.
    let more = events(10, 500);
    acme.ingest(&more).await;
    sent.extend(more);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    let outcomes = outcomes.rest(Duration::from_secs(3)).await;

    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let runs = acme.runs().await;
    let delivered: u64 = runs.iter().map(|run| run["events"].as_u64().unwrap()).sum();
    assert_eq!(delivered, sent.len() as u64, "{runs:?}");
    let told: u64 = outcomes
        .iter()
        .filter_map(|outcome| outcome.body["events"].as_u64())
        .sum();
    assert_eq!(told, sent.len() as u64, "{outcomes:?}");
    other.drain().await;
}

/// Two that take turns at being stopped: the first wakes up while the second holds the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_only_worked_on_by_the_one_who_holds_its_lease() {
    let world = World::start().await;
    let sent = large_events();
    let (acme, customer, first) = in_mid_export(&world, &sent).await;
    first.signal("STOP");
    // What it had sent may still be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = parts_of_exports(&world);
    let second = world.spawn_worker(&[("AUDIT_EXPORT_LEASE_SECONDS", "60")]);
    let look = || async { (parts_of_exports(&world) > before).then_some(()) };
    acme.eventually("the second has taken over", look).await;
    second.signal("STOP");
    assert_eq!(customer.bucket().last_seq("acme"), 0, "stopped too late");

    first.signal("CONT");
    let look = || async { first.log().contains("the lease was lost").then_some(()) };
    acme.eventually("the first gives up", look).await;
    assert_eq!(
        customer.bucket().last_seq("acme"),
        0,
        "it went on all the same"
    );
    second.signal("CONT");
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;

    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let runs = acme.runs().await;
    assert_eq!(
        (runs.len(), &runs[0]["attempts"]),
        (1, &2.into()),
        "{runs:?}"
    );
}
