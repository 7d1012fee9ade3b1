//! The broker's failures: what is missing in it, what it does not say, and connections that break.

mod connections;
mod topology;

use std::time::Duration;

use common::queue::topology as queues;
use harness::{
    Customer, Event, Org, World,
    broker::{Death, address},
    events::events,
    faults::tcp::TcpProxy,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::jobs::looked_at;

/// What has to be answered at once, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long the API may take to answer while it waits for a confirm that does not come.
const CONFIRM_WAIT: Duration = Duration::from_secs(10);
/// How long it may take until all goes on again: heartbeats, pauses and publishing again take ten
/// seconds at most with the settings of these tests.
const RECOVERY: Duration = Duration::from_secs(30);

/// A world in which nothing is exported unless somebody asks for it.
async fn start() -> World {
    World::start_with(|config| config.interval_seconds = 3_600).await
}

/// The same, with the API behind a proxy.
async fn start_through(proxy: &TcpProxy, query: &str) -> World {
    World::start_with(|config| {
        config.interval_seconds = 3_600;
        lead_through(proxy, query, &mut config.amqp_url);
    })
    .await
}

fn lead_through(proxy: &TcpProxy, query: &str, amqp_url: &mut SecretString) {
    let url = proxy.url(amqp_url.expose_secret());
    *amqp_url = format!("{url}{query}").into();
}

/// A proxy before the broker.
async fn proxy() -> TcpProxy {
    TcpProxy::start(address()).await
}

/// An organisation whose delivery is active and for which nothing is under way.
async fn quiet_org<'w>(world: &'w World, id: &str) -> (Org<'w>, Customer) {
    let (org, customer) = world.active_org(id).await;
    looked_at(world, &org).await;
    (org, customer)
}

/// What is answered within this time.
async fn within<T>(time: Duration, answer: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(time, answer).await;
    answered.unwrap_or_else(|_| panic!("not answered within {time:?}"))
}

/// Asks for an export, and returns the run.
async fn ask_for_run(org: &Org<'_>) -> String {
    let asking = org.ask("POST", "/audit-export/runs").send();
    let run = within(CONFIRM_WAIT, asking).await.expect(202);
    run["id"].as_str().unwrap().to_owned()
}

/// Waits until a run has delivered so many events, the first time it was tried.
async fn must_deliver(org: &Org<'_>, run: &str, events: usize) {
    let run = within(RECOVERY, org.wait_for_run(run)).await;
    assert_eq!(
        (&run["status"], &run["events"], &run["attempts"]),
        (&json!("succeeded"), &json!(events), &json!(1)),
        "{run}"
    );
}

/// Tests what is configured until the broker takes the job and a worker does it.
async fn must_pass_test(org: &Org<'_>) -> Value {
    let test = || async {
        let answer = org.test().await;
        if answer.status == 503 {
            answer.expect_error(503, "broker_unavailable");
            return None;
        }
        Some(answer.expect(200))
    };
    let result = within(RECOVERY, org.eventually("the test is done", test)).await;
    assert_eq!(result["success"], true, "{result}");
    result
}

/// Checks that everything has arrived once.
#[track_caller]
fn must_hold(customer: &Customer, org: &str, sent: &[Event]) {
    customer.bucket().must_hold(org, sent);
    customer.nothing_was_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_back_too_often_is_a_dead_letter_and_done_all_the_same() {
    let world = start().await;
    let worker = world.start_worker();
    let (acme, customer) = quiet_org(&world, "acme").await;
    worker.drain().await;
    let sent = events(61, 40);
    acme.ingest(&sent).await;
    let run = ask_for_run(&acme).await;
    let program = world.broker.connect().await;

    let dead = program.reject_until_dead(queues::EXPORT.queue).await;

    let death = Death {
        reason: "delivery_limit".into(),
        queue: queues::EXPORT.queue.into(),
    };
    assert_eq!(dead.death, Some(death), "{dead:?}");
    assert_eq!(dead.body["runId"], run.as_str());
    assert_eq!(acme.run(&run).await["status"], "queued");
    // The row is the truth: it is published again.
    world.start_worker();
    must_deliver(&acme, &run, 40).await;
    must_hold(&customer, "acme", &sent);
}
