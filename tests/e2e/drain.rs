//! SIGTERM: no new work, what is in hand is finished or given back, exit code 0 within the grace.

mod api;

use std::time::{Duration, Instant};

use harness::{
    World,
    events::events,
    faults::http::{Calls, Fault, HttpProxy, Operation},
    process::Process,
    within,
};

use crate::crash::{in_mid_export, large_events};

/// What a process may take beyond its grace on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(5);

/// Sends SIGTERM; the process has to end well within its grace.
async fn ends_within(process: &mut Process, grace_seconds: u64) {
    let deadline = Duration::from_secs(grace_seconds) + SLACK;
    let status = tokio::time::timeout(deadline, process.terminate()).await;
    let status = status.unwrap_or_else(|_| panic!("it goes on:\n{}", process.log()));
    assert!(status.success(), "{status}:\n{}", process.log());
}

/// Waits until a process has written this.
async fn says(process: &Process, text: &str) {
    let look = || async { process.log().contains(text).then_some(()) };
    let said = within(Duration::from_secs(20), look).await;
    said.unwrap_or_else(|| panic!("it does not say {text}:\n{}", process.log()));
}

/// Nobody has to wait for a lease to expire.
async fn nothing_is_leased(world: &World) {
    let sql =
        "select org_id, state from export_runs where lease_token is not null or state = 'running'
               union all
               select org_id, state from connection_tests
                where lease_token is not null or state = 'running'";
    let rows = world.database.client().await.query(sql, &[]).await.unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}

/// A worker that reaches S3 through a proxy.
async fn worker_behind_proxy(world: &World, grace: &str) -> (HttpProxy, Process) {
    let proxy = HttpProxy::start(world.aws.address()).await;
    let worker = world.spawn_worker(&[
        ("AWS_ENDPOINT_URL_S3", &proxy.endpoint()),
        ("AUDIT_EXPORT_DRAIN_SECONDS", grace),
    ]);
    (proxy, worker)
}

/// The uploads of events, which are not those of tests.
fn uploads() -> Calls {
    Calls::of(Operation::PutObject).with_key("org_id=")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_finishes_or_gives_back() {
    let world = World::start().await;
    let sent = large_events();
    let (acme, customer, mut worker) = in_mid_export(&world, &sent).await;

    ends_within(&mut worker, 10).await;

    assert!(worker.log().contains("drained"), "{}", worker.log());
    nothing_is_leased(&world).await;
    let _other = world.spawn_worker(&[]);
    acme.wait_until_delivered(&customer, sent.len().try_into().unwrap())
        .await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_ends_at_once() {
    let world = World::start().await;
    let mut worker = world.spawn_worker(&[]);
    says(&worker, "waiting for jobs").await;
    let began = Instant::now();
    ends_within(&mut worker, 10).await;
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    nothing_is_leased(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_in_progress_is_finished() {
    let world = World::start().await;
    let (proxy, mut worker) = worker_behind_proxy(&world, "10").await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let slow = Fault::Delay(Duration::from_secs(2));
    let slow = proxy.inject(Calls::of(Operation::PutObject).first(1), slow);

    let ending = async {
        let look = || async { (slow.hits() > 0).then_some(()) };
        acme.eventually("the test waits for S3", look).await;
        ends_within(&mut worker, 10).await;
        nothing_is_leased(&world).await;
    };
    let (answer, ()) = tokio::join!(acme.test_of(customer.settings()), ending);

    let result = answer.expect(200);
    assert_eq!(result["success"], true, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_hangs_is_given_back_and_done_by_another_worker() {
    let world = World::start().await;
    let (proxy, mut worker) = worker_behind_proxy(&world, "3").await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let hanging = proxy.inject(Calls::of(Operation::PutObject), Fault::Hang);

    let ending = async {
        let look = || async { (hanging.hits() > 0).then_some(()) };
        acme.eventually("the test waits for S3", look).await;
        ends_within(&mut worker, 3).await;
        nothing_is_leased(&world).await;
        world.spawn_worker(&[])
    };
    let (answer, _other) = tokio::join!(acme.test_of(customer.settings()), ending);

    let result = answer.expect(200);
    assert_eq!(result["success"], true, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_changes_nothing() {
    let world = World::start().await;
    let (proxy, mut worker) = worker_behind_proxy(&world, "10").await;
    let (acme, customer) = world.active_org("acme").await;
    let slow = proxy.inject(uploads(), Fault::Delay(Duration::from_secs(3)));
    let sent = events(41, 200);
    acme.ingest(&sent).await;
    let look = || async { (slow.hits() > 0).then_some(()) };
    acme.eventually("an upload waits for S3", look).await;

    worker.signal("TERM");
    says(&worker, "draining").await;
    ends_within(&mut worker, 10).await;

    // It was finished, and not given up because of the second.
    customer.bucket().must_hold("acme", &sent);
    nothing_is_leased(&world).await;
    let runs = acme.runs().await;
    let succeeded = runs.iter().all(|run| run["status"] == "succeeded");
    assert!(succeeded && !runs.is_empty(), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_given_back_within_the_grace() {
    let world = World::start().await;
    let (proxy, mut worker) = worker_behind_proxy(&world, "3").await;
    let (acme, customer) = world.active_org("acme").await;
    let hanging = proxy.inject(uploads(), Fault::Hang);
    let sent = events(42, 200);
    acme.ingest(&sent).await;
    let look = || async { (hanging.hits() > 0).then_some(()) };
    acme.eventually("an upload hangs", look).await;

    ends_within(&mut worker, 3).await;

    nothing_is_leased(&world).await;
    let runs = acme.runs().await;
    assert_eq!(runs[0]["status"], "queued", "{runs:?}");
    assert_eq!(customer.bucket().last_seq("acme"), 0);
    let _other = world.spawn_worker(&[]);
    acme.wait_until_delivered(&customer, 200).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}
