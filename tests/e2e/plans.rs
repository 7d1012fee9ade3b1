//! What an object will hold and where is frozen before its first byte goes out; and sessions, which
//! are one organisation's own.

use harness::{Customer, Org, World, bucket::KeyParts, events::events};
use serde_json::{Value, json};

/// An organisation whose first 100 events could not be written, though all was ready. 50 more have
/// come in since. Returns the object that was planned.
async fn org_with_planned_object<'w>(world: &'w World) -> (Org<'w>, Customer, Value) {
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(1, 150);
    customer.break_role();
    acme.ingest(&sent[..100]).await;
    acme.wait_for_state("paused").await;
    acme.ingest(&sent[100..]).await;
    let runs = acme.runs().await;
    let failed = runs.iter().find(|run| run["status"] == "failed").unwrap();
    let failed = acme.run(failed["id"].as_str().unwrap()).await;
    let planned = failed["objects"][0].clone();
    assert_eq!(
        (&planned["status"], &planned["lastSeq"]),
        (&json!("planned"), &json!(100))
    );
    assert_eq!(
        (&planned["sha256"], &planned["storedAt"]),
        (&Value::Null, &Value::Null)
    );
    (acme, customer, planned)
}

fn ranges(customer: &Customer) -> Vec<(String, i64, i64)> {
    let exports = customer.bucket().exports("acme").into_iter();
    exports
        .map(|(parts, _)| (parts.prefix, parts.first_seq, parts.last_seq))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_destination_gets_the_very_object_that_was_planned() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, planned) = org_with_planned_object(&world).await;
    customer.mend_role();
    acme.wait_until_delivered(&customer, 150).await;
    customer.bucket().must_hold("acme", &events(1, 150));
    assert_eq!(
        customer.bucket().keys()[0],
        planned["key"].as_str().unwrap()
    );
    assert_eq!(
        ranges(&customer),
        [(String::new(), 1, 100), (String::new(), 101, 150)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_changes_nothing_about_the_object() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, planned) = org_with_planned_object(&world).await;
    let other_role = customer.add_role("another-name");
    acme.save(customer.settings_with(json!({"roleArn": other_role})))
        .await
        .expect(201);
    acme.wait_until_delivered(&customer, 150).await;
    customer.bucket().must_hold("acme", &events(1, 150));
    assert_eq!(
        customer.bucket().keys()[0],
        planned["key"].as_str().unwrap()
    );
}

/// Nor does it matter whose the bucket is said to be, which key encrypts, or how the next object is to be
/// compressed.
#[tokio::test(flavor = "multi_thread")]
async fn another_owner_key_or_compression_changes_nothing_about_the_object() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, planned) = org_with_planned_object(&world).await;
    let key = customer.add_key();
    customer.allow_key(&key, &["kms:GenerateDataKey", "kms:Decrypt"]);
    let changes = json!({
        "bucketOwner": customer.account,
        "kmsKeyArn": key,
        "compression": "zstd",
    });
    acme.save(customer.settings_with(changes)).await.expect(201);
    acme.wait_until_delivered(&customer, 150).await;
    customer.bucket().must_hold("acme", &events(1, 150));
    assert_eq!(
        customer.bucket().keys()[0],
        planned["key"].as_str().unwrap()
    );
    let writes = world.aws.write_log();
    let stored = writes.iter().find(|write| planned["key"] == write.key);
    assert_eq!(stored.unwrap().kms_key_arn, Some(key));
    let key = planned["key"].as_str().unwrap();
    let head = world.head_object(&customer, key).await;
    assert_eq!(head.content_type(), Some("application/gzip"));
    let suffixes = |key: String| key.rsplit('.').next().unwrap().to_owned();
    let suffixes: Vec<_> = customer.bucket().keys().into_iter().map(suffixes).collect();
    assert_eq!(suffixes, ["gz", "zst"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_prefix_gets_the_same_range_and_the_old_key_is_named() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, planned) = org_with_planned_object(&world).await;
    customer.mend_role();
    acme.save(customer.settings_with(json!({"prefix": "new"})))
        .await
        .expect(201);
    acme.wait_until_delivered(&customer, 150).await;

    customer.bucket().must_hold("acme", &events(1, 150));
    assert_eq!(
        ranges(&customer),
        [("new".into(), 1, 100), ("new".into(), 101, 150)]
    );
    let old_key = planned["key"].as_str().unwrap();
    assert_eq!(KeyParts::of(old_key).prefix, "");
    let runs = acme.runs().await;
    let told = |run: &Value| {
        run["warning"]
            .as_str()
            .is_some_and(|text| text.contains(old_key))
    };
    assert!(runs.iter().any(told), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_early_is_replaced_in_the_same_run() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(2, 60);
    for batch in sent.chunks(20) {
        acme.ingest(batch).await;
        let last = batch.last().unwrap();
        let at = sent.iter().position(|event| event.id == last.id).unwrap() + 1;
        acme.wait_until_delivered(&customer, at.try_into().unwrap())
            .await;
        world.aws.expire_sessions().unwrap();
    }
    customer.bucket().must_hold("acme", &sent);
    let expired = world
        .aws
        .calls()
        .into_iter()
        .filter(|c| c.error_code.as_deref() == Some("ExpiredToken"));
    assert!(
        expired.count() >= 2,
        "the sessions were used when they had ended"
    );
    let runs = acme.runs().await;
    let at_once = |run: &Value| run["status"] == "succeeded" && run["attempts"] == 1;
    assert!(runs.iter().all(at_once), "{runs:?}");
}

/// Beta's people have found out the names of acme's role and bucket.
#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_role_is_of_no_use() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    acme.ingest(&events(3, 10)).await;
    acme.wait_until_delivered(&customer, 10).await;

    let beta = world.org("beta").await;
    assert_ne!(beta.external_id(), acme.external_id());
    beta.save(customer.settings()).await.expect(201);
    beta.ingest(&events(4, 10)).await;
    let paused = beta.wait_for_state("paused").await;
    assert!(
        paused["stateReason"]
            .as_str()
            .unwrap()
            .contains(beta.external_id()),
        "{paused}"
    );
    assert!(!paused.to_string().contains(acme.external_id()), "{paused}");
    let result = beta.test().await.expect(200);
    assert_eq!(result["stages"][0]["success"], false, "{result}");
    assert_eq!(customer.bucket().last_seq("beta"), 0);
}
