//! A job that takes longer than RabbitMQ lets a message be unsettled: the broker closes the channel
//! while the work goes on.

use std::time::Duration;

use harness::{
    World,
    events::events,
    faults::http::{Calls, Fault, HttpProxy, Operation},
    servers,
};
use serde_json::json;

use crate::setting::Changed;

/// Channels that are opened from now on look every second, and close after three.
const SHORT: &[&str] = &[
    "eval",
    "application:set_env(rabbit, consumer_timeout, 3000), \
     application:set_env(rabbit, channel_tick_interval, 1000).",
];
/// RabbitMQ's defaults.
const DEFAULT: &[&str] = &[
    "eval",
    "application:set_env(rabbit, consumer_timeout, 1800000), \
     application:set_env(rabbit, channel_tick_interval, 60000).",
];
/// How long the upload takes.
const UPLOAD: Duration = Duration::from_secs(10);
/// When nothing has come for so long, nothing will.
const SILENCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_outlasts_its_channel_is_done_once() {
    let _alone = servers::exclusive().await;
    let world = World::start().await;
    let aws = HttpProxy::start(world.aws.address()).await;
    let endpoint = aws.endpoint();
    let _short = Changed::by(SHORT, DEFAULT).await;
    let worker = world.spawn_worker(&[
        ("AWS_ENDPOINT_URL_S3", &endpoint),
        ("RUST_LOG", "info,exporter=debug"),
    ]);
    let (acme, customer) = world.active_org("acme").await;
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    let sent = events(73, 60);
    let (slow, quick) = sent.split_at(40);
    let uploads = Calls::of(Operation::PutObject).with_key("org_id=").first(1);
    let delayed = aws.inject(uploads, Fault::Delay(UPLOAD));

    acme.ingest(slow).await;
    acme.wait_until_delivered(&customer, 40).await;

    assert_eq!(delayed.hits(), 1);
    let log = worker.log();
    assert!(log.contains("consuming is interrupted"), "{log}");
    assert!(log.contains("the message is stale"), "{log}");
    let runs = acme.runs().await;
    let run = runs.iter().find(|run| run["events"] == 40);
    let run = run.expect("one run delivers what was sent at once");
    assert_eq!(
        (&run["status"], &run["attempts"]),
        (&json!("succeeded"), &json!(1)),
        "{run}"
    );
    // The worker consumes on.
    acme.ingest(quick).await;
    acme.wait_until_delivered(&customer, 60).await;
    acme.test().await.expect(200);
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let told = outcomes.rest(SILENCE).await;
    let of_run = told.iter().filter(|told| told.body["runId"] == run["id"]);
    assert_eq!(of_run.count(), 1, "{told:?}");
}
