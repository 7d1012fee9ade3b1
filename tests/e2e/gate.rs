//! Enabled means tested: what has to happen before the first event goes out, and what stops and
//! resumes delivery.

use std::time::Duration;

use harness::{Customer, Org, World, events::events, wait::within};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Long enough for several rounds of the scheduler.
const A_WHILE: Duration = Duration::from_secs(3);

async fn nothing_arrives(org: &Org<'_>, customer: &Customer, last_seq: i64) {
    let arrived = || async { (customer.bucket().last_seq(org.id()) > last_seq).then_some(()) };
    assert_eq!(
        within(A_WHILE, arrived).await,
        None,
        "something was delivered"
    );
    let refused = org.ask("POST", "/audit-export/runs").send().await;
    refused.expect_error(409, "not_active");
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_begins_once_the_saved_destination_has_passed_its_test() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let sent = events(1, 200);
    acme.ingest(&sent).await;

    let saved = acme.save(customer.settings()).await.expect(201);
    assert_eq!(
        (&saved["state"], &saved["lastTestOk"]),
        (&json!("awaiting_test"), &Value::Null)
    );
    nothing_arrives(&acme, &customer, 0).await;

    // Nobody asks for anything: a worker is all that was missing.
    world.start_worker();
    let active = acme.wait_for_state("active").await;
    assert_eq!(
        (&active["lastTestOk"], &active["lastError"]),
        (&json!(true), &Value::Null)
    );
    acme.wait_until_delivered(&customer, 200).await;
    customer.bucket().must_hold("acme", &sent);
    assert!(acme.config().await["lastExportedAt"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_becomes_good_later_goes_live_by_itself() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    customer.break_role();
    let sent = events(2, 100);
    acme.ingest(&sent).await;

    acme.save(customer.settings()).await.expect(201);
    let paused = acme.wait_for_state("paused").await;
    assert_eq!(paused["lastTestOk"], false);
    assert!(
        paused["stateReason"]
            .as_str()
            .unwrap()
            .contains("s3:PutObject"),
        "{paused}"
    );
    assert_eq!(paused["lastError"], paused["stateReason"]);
    assert!(paused["nextProbeAt"].is_string(), "{paused}");
    nothing_arrives(&acme, &customer, 0).await;

    customer.mend_role();
    let active = acme.wait_for_state("active").await;
    assert_eq!(
        (&active["lastTestOk"], &active["nextProbeAt"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(active.get("stateReason"), None);
    acme.wait_until_delivered(&customer, 100).await;
    customer.bucket().must_hold("acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_breaks_pauses_with_the_reason_and_resumes() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(3, 300);
    acme.ingest(&sent[..100]).await;
    acme.wait_until_delivered(&customer, 100).await;

    customer.break_role();
    acme.ingest(&sent[100..200]).await;
    let paused = acme.wait_for_state("paused").await;
    let runs = acme.runs().await;
    let failed = &runs[0];
    assert_eq!(
        (&failed["status"], &failed["errorClass"]),
        (&json!("failed"), &json!("permanent"))
    );
    assert_eq!(
        (&failed["errorCode"], &failed["events"]),
        (&json!("AccessDenied"), &json!(0))
    );
    assert!(
        failed["error"].as_str().unwrap().contains("s3:PutObject"),
        "{failed}"
    );
    assert!(paused["stateReason"].is_string(), "{paused}");
    // What comes in meanwhile is kept; and the broken side is probed, not hammered.
    acme.ingest(&sent[200..]).await;
    nothing_arrives(&acme, &customer, 100).await;
    let again = acme.runs().await.len();
    assert_eq!(again, runs.len(), "no run while it is paused");

    customer.mend_role();
    acme.wait_until_delivered(&customer, 300).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let config = acme.config().await;
    assert_eq!(
        (&config["state"], &config["lastError"]),
        (&json!("active"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_gets_nothing_until_it_is_enabled() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let sent = events(4, 100);
    let disabled = acme
        .save(customer.settings_with(json!({"enabled": false})))
        .await
        .expect(201);
    assert_eq!(
        (&disabled["enabled"], &disabled["state"]),
        (&json!(false), &json!("disabled"))
    );
    acme.ingest(&sent[..50]).await;
    nothing_arrives(&acme, &customer, 0).await;
    assert_eq!(
        world.aws.write_log(),
        [],
        "nothing is tested that is not to be used"
    );

    acme.save(customer.settings_with(json!({"enabled": true})))
        .await
        .expect(201);
    acme.wait_until_delivered(&customer, 50).await;
    // Left out of an update it stays as it is.
    acme.save(customer.settings_with(json!({"enabled": false})))
        .await
        .expect(201);
    assert_eq!(
        acme.save(customer.settings()).await.expect(201)["enabled"],
        false
    );
    acme.ingest(&sent[50..]).await;
    nothing_arrives(&acme, &customer, 50).await;
    acme.save(customer.settings_with(json!({"enabled": true})))
        .await
        .expect(201);
    acme.wait_until_delivered(&customer, 100).await;
    customer.bucket().must_hold("acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_destination_is_tested_first_and_goes_on_where_the_old_one_stopped() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(5, 400);
    acme.ingest(&sent[..100]).await;
    acme.wait_until_delivered(&customer, 100).await;

    // Another prefix of the same bucket.
    let changed = acme
        .save(customer.settings_with(json!({"prefix": "new"})))
        .await
        .expect(201);
    assert_eq!(
        (&changed["prefix"], &changed["lastTestOk"]),
        (&json!("new"), &Value::Null)
    );
    acme.wait_for_state("active").await;
    acme.ingest(&sent[100..200]).await;
    acme.wait_until_delivered(&customer, 200).await;
    customer.bucket().must_hold("acme", &sent[..200]);
    let prefixes: Vec<_> = customer
        .bucket()
        .exports("acme")
        .into_iter()
        .map(|(parts, _)| parts.prefix)
        .collect();
    assert_eq!(prefixes, ["", "new"]);

    // Another bucket, which does not exist yet.
    acme.save(customer.settings_with(json!({"bucket": "second-bucket"})))
        .await
        .expect(201);
    let paused = acme.wait_for_state("paused").await;
    assert!(
        paused["stateReason"]
            .as_str()
            .unwrap()
            .contains("second-bucket"),
        "{paused}"
    );
    acme.ingest(&sent[200..300]).await;
    nothing_arrives(&acme, &customer, 200).await;
    let second = customer.add_bucket("second-bucket", "eu-central-1");
    acme.wait_for_state("active").await;
    let look = || async { (second.last_seq("acme") == 300).then_some(()) };
    acme.eventually("the second bucket gets the rest", look)
        .await;
    assert_eq!(second.events_from("acme", 201).len(), 100);

    // And back again.
    acme.save(customer.settings_with(json!({"prefix": ""})))
        .await
        .expect(201);
    acme.wait_for_state("active").await;
    acme.ingest(&sent[300..]).await;
    acme.wait_until_delivered(&customer, 400).await;
    let back = customer.bucket().exports("acme").pop().unwrap().0;
    assert_eq!(
        (back.prefix.as_str(), back.first_seq, back.last_seq),
        ("", 301, 400)
    );
    customer.nothing_was_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_may_begin_now_and_survives_the_config() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let sent = events(6, 150);
    acme.ingest(&sent[..50]).await;
    acme.save(customer.settings_with(json!({"startFrom": "now"})))
        .await
        .expect(201);
    acme.wait_for_state("active").await;
    acme.ingest(&sent[50..100]).await;
    acme.wait_until_delivered(&customer, 100).await;
    assert_eq!(customer.bucket().events_from("acme", 51).len(), 50);

    let deleted = acme.ask("DELETE", "/audit-export/config").send().await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    acme.ingest(&sent[100..]).await;
    nothing_arrives(&acme, &customer, 100).await;
    let again = customer.settings_with(json!({"startFrom": "beginning"}));
    acme.save(again)
        .await
        .expect_error(409, "start_from_not_first");
    acme.save(customer.settings()).await.expect(201);
    acme.wait_until_delivered(&customer, 150).await;
    let exported = customer.bucket().events_from("acme", 51);
    assert_eq!(exported.len(), 100);
    assert_eq!(exported[99].id(), sent[149].id);
}

/// A test passes where a delivery does not, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_only_tests_reach_does_not_flood_the_runs() {
    let world = World::start().await;
    world.start_worker_with(|config| {
        config.probe_first = Duration::from_millis(500);
        config.probe_longest = Duration::from_mins(10);
    });
    let (acme, customer) = world.active_org("acme").await;
    let mut policy = customer.good_policy();
    policy["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/org_id=*",
    }));
    customer.set_policy(policy);
    let sent = events(6, 10);
    acme.ingest(&sent).await;
    let failed = || async {
        let runs = acme.runs().await;
        let failed = runs.iter().filter(|run| run["status"] == "failed").count();
        (failed >= 3).then_some(())
    };
    acme.eventually("three runs have failed", failed).await;
    // By now the pause is four times as long as the first was.
    let paused = || async {
        let status = acme
            .ask("GET", "/audit-export/status")
            .send()
            .await
            .expect(200);
        let time = |field: &str| status[field].as_str()?.parse::<Timestamp>().ok();
        Some(
            time("nextProbeAt")?
                .duration_since(time("pausedAt")?)
                .as_millis(),
        )
    };
    let pause = acme.eventually("it is paused", paused).await;
    assert!(pause >= 2_000, "{pause} ms");

    customer.mend_role();
    acme.save(customer.settings()).await.expect(201);
    acme.wait_until_delivered(&customer, 10).await;
    customer.bucket().must_hold("acme", &sent);
    // What was delivered ends it: the next trouble begins with short pauses.
    customer.break_role();
    acme.ingest(&events(7, 1)).await;
    acme.wait_for_state("paused").await;
    customer.mend_role();
    acme.wait_until_delivered(&customer, 11).await;
}
