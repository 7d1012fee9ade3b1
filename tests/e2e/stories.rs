//! Stories of a customer's, told against a server of S3, STS and IAM that nobody here wrote. The one of
//! an admin who follows the setup is told in `setup`.

use std::time::Duration;

use harness::{World, attacks, events::events, ministack::Ministack};
use serde_json::json;

/// A world with a worker whose AWS is the peer, and whose hours are seconds.
async fn start() -> (World, Ministack) {
    let world = World::start_with(|config| config.system_events = true);
    let (world, peer) = tokio::join!(world, Ministack::start());
    world.start_worker_at(&peer.service(), |config| {
        config.probe_first = Duration::from_millis(500);
        config.probe_longest = Duration::from_secs(2);
    });
    (world, peer)
}

/// The customer breaks the role, events keep coming, and some time later the customer mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_broken_for_long_is_caught_up_with_by_itself() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let sent = events(101, 600);
    let mut last_seq = 0;
    for batch in sent[..200].chunks(100) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
    }

    customer.allow(&["s3:GetObject"]).await;
    for batch in sent[200..500].chunks(20) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let paused = acme.wait_for_state("paused").await;
    let reason = paused["stateReason"].as_str().unwrap();
    assert!(reason.contains("allow it s3:PutObject"), "{reason}");
    let runs = acme.runs().await;
    let failed = runs.iter().filter(|run| run["status"] == "failed").count();
    assert_eq!(failed, 1, "one run tells of the whole time: {runs:?}");

    customer.mend_role().await;
    acme.wait_for_state("active").await;
    for batch in sent[500..].chunks(50) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
    }
    let delivered = || async {
        let status = acme
            .ask("GET", "/audit-export/status")
            .send()
            .await
            .expect(200);
        (status["deliveredSeq"].as_i64().unwrap() >= last_seq).then_some(())
    };
    acme.eventually("all is delivered", delivered).await;

    // Each of them once, in order and unchanged, among what the system itself has told.
    let arrived = customer.fetch().await.bucket.events("acme");
    let (own, product): (Vec<_>, Vec<_>) = arrived
        .iter()
        .partition(|event| event.raw("action").starts_with("\"audit_export."));
    let ids: Vec<String> = product.iter().map(|event| event.id()).collect();
    let expected: Vec<String> = sent.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids, expected);
    let told: Vec<String> = own.iter().map(|event| event.raw("action")).collect();
    for action in ["delivery.paused", "delivery.resumed"] {
        let action = format!("\"audit_export.{action}\"");
        assert_eq!(
            told.iter().filter(|told| **told == action).count(),
            1,
            "{told:?}"
        );
    }
}

/// An organisation names the role and the bucket of another one.
#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_victims_role_and_bucket_gets_nothing() {
    let (world, peer) = start().await;
    let victim = world.org("victim").await;
    let customer = peer.customer(&victim).await;
    victim.save(customer.settings()).await.expect(201);
    victim.wait_for_state("active").await;
    let sent = events(111, 20);
    victim.ingest(&sent).await;

    let mallory = world.org("mallory").await;
    mallory.ingest(&events(112, 20)).await;
    let answer = mallory.test_of(customer.settings()).await.expect(200);
    assert_eq!(answer["success"], false, "{answer}");
    let told = answer["error"].as_str().unwrap();
    assert!(!told.contains(victim.external_id()), "{told}");
    mallory.save(customer.settings()).await.expect(201);
    let paused = mallory.wait_for_state("paused").await;
    assert_eq!(paused["lastTestOk"], false);
    attacks::record(
        "confused deputy",
        "another organisation's role and bucket, named as one's own",
        "STS refuses the external id; nothing is delivered, nothing is told of the victim",
    );

    // Not even where the victim has forgotten the condition.
    let mut asks_for_nothing = customer.good_trust();
    asks_for_nothing["Statement"][0]["Condition"] = json!({});
    customer.set_trust(&asks_for_nothing).await;
    let answer = mallory.test_of(customer.settings()).await.expect(200);
    assert_eq!(answer["success"], false, "{answer}");
    let told = answer["error"].as_str().unwrap();
    assert!(told.contains("without any external id"), "{told}");
    mallory.save(customer.settings()).await.expect(201);
    let tested = || async {
        let config = mallory.config().await;
        (config["state"] == "paused" && config["lastTestOk"] == false).then_some(())
    };
    mallory.eventually("the test has failed", tested).await;
    mallory
        .ask("POST", "/audit-export/runs")
        .send()
        .await
        .expect_error(409, "not_active");
    attacks::record(
        "confused deputy",
        "the role of a victim who has forgotten the condition on the external id",
        "the test fails and names the condition; nothing is delivered",
    );

    customer.set_trust(&customer.good_trust()).await;
    let delivered = || async {
        let fetched = customer.fetch().await;
        let victims = fetched.bucket.events("victim");
        let product = |event: &&harness::bucket::Exported| {
            !event.raw("action").starts_with("\"audit_export.")
        };
        (victims.iter().filter(product).count() == sent.len()).then_some(fetched)
    };
    let fetched = victim
        .eventually("the victim's own events arrive", delivered)
        .await;
    assert!(
        fetched
            .bucket
            .keys()
            .iter()
            .all(|key| !key.contains("mallory")),
        "{:?}",
        fetched.bucket.keys()
    );
}
