//! Connections that break, freeze, are refused, or tell less than they should.

use std::time::Duration;

use harness::{events::events, faults::tcp::Mode};

use super::{
    AT_ONCE, CONFIRM_WAIT, RECOVERY, ask_for_run, lead_through, must_deliver, must_hold,
    must_pass_test, proxy, quiet_org, start, start_through, within,
};

/// When nothing has come for so long, nothing will.
const SILENCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn confirms_that_never_arrive_cost_time_only() {
    let (before_api, before_worker) = (proxy().await, proxy().await);
    let world = start_through(&before_api, "").await;
    world.start_worker_with(|config| lead_through(&before_worker, "", &mut config.amqp_url));
    let (acme, customer) = quiet_org(&world, "acme").await;
    let program = world.broker.connect().await;
    let (mut jobs, mut outcomes) = (program.jobs().await, program.outcomes().await);
    let mut sent = events(55, 60);
    acme.ingest(&sent).await;
    before_api.set(Mode::DropConfirms);
    before_worker.set(Mode::DropConfirms);

    // The job is in the queue, though the API does not know.
    let run = ask_for_run(&acme).await;
    must_deliver(&acme, &run, 60).await;
    let test = within(CONFIRM_WAIT, acme.test()).await;
    test.expect_error(503, "broker_unavailable");
    let outcome = outcomes.next_of("run.succeeded").await;
    assert_eq!(outcome.body["runId"], run.as_str());

    before_api.set(Mode::Pass);
    before_worker.set(Mode::Pass);
    must_pass_test(&acme).await;
    let more = events(1_055, 10);
    acme.ingest(&more).await;
    sent.extend(more);
    must_deliver(&acme, &ask_for_run(&acme).await, 10).await;
    must_hold(&customer, "acme", &sent);
    // It was done within a second, so there was nothing to publish again.
    let published = jobs.rest(SILENCE).await;
    let of_run = published.iter().filter(|job| job.body["runId"] == *run);
    assert!((1..=2).contains(&of_run.count()), "{published:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_replaced() {
    const HEARTBEAT: &str = "?heartbeat=2";
    let (before_api, before_worker) = (proxy().await, proxy().await);
    let world = start_through(&before_api, HEARTBEAT).await;
    world.start_worker_with(|config| lead_through(&before_worker, HEARTBEAT, &mut config.amqp_url));
    let (acme, customer) = quiet_org(&world, "acme").await;
    let sent = events(56, 90);
    let (first, rest) = sent.split_at(30);
    let (second, third) = rest.split_at(30);

    // The worker's alone, which nothing but heartbeats can tell.
    before_worker.freeze_open();
    acme.ingest(first).await;
    must_deliver(&acme, &ask_for_run(&acme).await, 30).await;

    before_api.freeze_open();
    acme.ingest(second).await;
    must_deliver(&acme, &ask_for_run(&acme).await, 30).await;

    before_api.freeze_open();
    before_worker.freeze_open();
    acme.ingest(third).await;
    must_deliver(&acme, &ask_for_run(&acme).await, 30).await;
    must_pass_test(&acme).await;
    must_hold(&customer, "acme", &sent);
}

/// A worker on a connection that is half open still ends in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_connection_does_not_hold_up_the_end() {
    let before_worker = proxy().await;
    let world = start().await;
    let url = before_worker.url(world.broker.amqp_url());
    let mut worker = world.spawn_worker(&[("AMQP_URL", &url)]);
    let (acme, customer) = quiet_org(&world, "acme").await;

    before_worker.freeze_open();
    let status = within(Duration::from_secs(10), worker.terminate()).await;

    assert!(status.success(), "{status}:\n{}", worker.log());
    assert!(!worker.log().contains("given back"), "{}", worker.log());
    let sent = events(57, 20);
    acme.ingest(&sent).await;
    let run = ask_for_run(&acme).await;
    world.start_worker();
    must_deliver(&acme, &run, 20).await;
    must_hold(&customer, "acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_broker_closes_are_made_again() {
    // The API publishes over one, the worker publishes over one and consumes over another.
    const CONNECTIONS: usize = 3;
    let world = start().await;
    let worker = world.spawn_worker(&[]);
    let (acme, customer) = quiet_org(&world, "acme").await;
    let sent = events(58, 90);
    let mut closed = 0;
    for batch in sent.chunks(30) {
        closed += world.broker.close_connections(CONNECTIONS).await;
        acme.ingest(batch).await;
        must_deliver(&acme, &ask_for_run(&acme).await, 30).await;
        must_pass_test(&acme).await;
    }
    must_hold(&customer, "acme", &sent);
    let log = worker.log();
    let interruptions = log.matches("is interrupted; connecting again").count();
    assert!((1..=closed).contains(&interruptions), "{closed}:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_the_api_goes_on() {
    let broker = proxy().await;
    let world = start_through(&broker, "").await;
    world.start_worker_with(|config| lead_through(&broker, "", &mut config.amqp_url));
    let (acme, customer) = quiet_org(&world, "acme").await;
    let other = world.org("other").await;
    let to_other = world.customer(&other);
    let sent = events(59, 30);

    broker.refuse(true).await;

    acme.ingest(&sent).await;
    let run = within(AT_ONCE, ask_for_run(&acme)).await;
    for _ in 0..3 {
        let test = within(AT_ONCE, acme.test()).await;
        test.expect_error(503, "broker_unavailable");
    }
    let saved = other.save(to_other.settings()).await.expect(201);
    assert_eq!(saved["state"], "awaiting_test");
    assert_eq!(acme.config().await["state"], "active");
    let runs = acme.runs().await;
    assert_eq!(
        (&runs[0]["id"], &runs[0]["status"]),
        (&run.as_str().into(), &"queued".into())
    );

    broker.refuse(false).await;
    must_deliver(&acme, &run, 30).await;
    within(RECOVERY, other.wait_for_state("active")).await;
    must_pass_test(&acme).await;
    must_hold(&customer, "acme", &sent);
}
