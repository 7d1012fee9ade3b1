//! A broker that is short of memory: it takes no messages from anybody until it has some again.

use std::time::Duration;

use harness::{World, events::events, servers};
use serde_json::json;

use crate::setting::Changed;

const SHORT: &[&str] = &["set_vm_memory_high_watermark", "0.000001"];
const AMPLE: &[&str] = &["set_vm_memory_high_watermark", "0.4"];
/// What has to be answered at once.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn at_once<T>(answer: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(AT_ONCE, answer).await;
    answered.unwrap_or_else(|_| panic!("not answered within {AT_ONCE:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_stops_publishing_and_nothing_else() {
    let _alone = servers::exclusive().await;
    let world = World::start_with(|config| config.test_timeout_seconds = 5).await;
    let worker = world.spawn_worker(&[]);
    let (acme, customer) = world.active_org("acme").await;
    let mut sent = events(71, 50);
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 50).await;

    let alarm = Changed::by(SHORT, AMPLE).await;

    // A connection is told when it next publishes; the message that brings this about may pass.
    let blocked = || async { (acme.test().await.status == 503).then_some(()) };
    acme.eventually("tests are refused", blocked).await;
    for _ in 0..5 {
        let test = at_once(acme.test()).await;
        test.expect_error(503, "broker_unavailable");
    }
    let more = events(72, 50);
    at_once(acme.ingest(&more)).await;
    sent.extend(more);
    let run = at_once(acme.ask("POST", "/audit-export/runs").send()).await;
    let run = run.expect(202)["id"].as_str().unwrap().to_owned();
    at_once(acme.config()).await;
    assert_eq!(at_once(acme.run(&run)).await["status"], "queued");

    alarm.put_back().await;
    acme.wait_for_run(&run).await;
    acme.wait_until_delivered(&customer, 100).await;
    let test = || async { (acme.test().await.status == 200).then_some(()) };
    acme.eventually("tests are done again", test).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    assert_eq!(acme.run(&run).await["status"], json!("succeeded"));
    // The worker's connection for publishing may have been blocked, once.
    let log = worker.log();
    let told = log.matches("the broker takes no messages").count();
    assert!(told <= 1, "{log}");
}
