//! Encryption with a KMS key: the one that the config names, or the bucket's own.

use harness::{
    Customer, Org, World, attacks,
    events::{events, noise_events},
    world::{REGION, sdk_config_of},
};
use serde_json::json;

use super::{failed_in, with_key};

const GENERATE: &str = "kms:GenerateDataKey";
const DECRYPT: &str = "kms:Decrypt";

/// An organisation and its customer, who has a key.
async fn org_with_key(world: &World) -> (Org<'_>, Customer, String) {
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let key = customer.add_key();
    (acme, customer, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_lacks_on_the_key_is_found_in_its_stage() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, key) = org_with_key(&world).await;
    let test = async || acme.test_of(with_key(&customer, &key)).await.expect(200);

    let sentence = failed_in(&test().await, "put_object");
    assert!(
        sentence.contains("that kmsKeyArn names: allow it kms:GenerateDataKey"),
        "{sentence}"
    );
    customer.allow_key(&key, &[GENERATE]);
    let sentence = failed_in(&test().await, "multipart_upload");
    assert!(
        sentence.contains("that kmsKeyArn names: allow it kms:Decrypt"),
        "{sentence}"
    );
    customer.allow_key(&key, &[DECRYPT]);
    failed_in(&test().await, "put_object");
    assert_eq!(customer.bucket().keys(), [""; 0], "tests are cleaned up");
    customer.allow_key(&key, &[GENERATE, DECRYPT]);
    assert_eq!(test().await["success"], true);

    attacks::record(
        "KMS key",
        "the role may only kms:GenerateDataKey, or only kms:Decrypt",
        "the test fails in its stage and names the permission that is missing",
    );

    // One that is not there, and one that belongs to another region.
    let missing = format!(
        "arn:aws:kms:{REGION}:{}:key/{}",
        customer.account,
        uuid::Uuid::nil()
    );
    let result = acme.test_of(with_key(&customer, &missing)).await;
    let sentence = failed_in(&result.expect(200), "put_object");
    assert!(sentence.contains("does not find the KMS key"), "{sentence}");
    let far = key.replace(REGION, "us-east-1");
    let refused = acme.test_of(with_key(&customer, &far)).await;
    let refused = refused.expect_error(422, "invalid_request");
    assert_eq!(refused["field"], "kmsKeyArn");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_encrypted_with_the_key_that_the_config_names() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, key) = org_with_key(&world).await;
    customer.allow_key(&key, &[GENERATE, DECRYPT]);
    // Its policy takes nothing else, as many do.
    let demand = json!([{
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": format!("arn:aws:s3:::{}/*", customer.bucket_name),
        "Condition": {
            "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key},
        },
    }]);
    customer.set_bucket_policy(&customer.bucket_name, demand);
    let without = acme.test_of(customer.settings()).await.expect(200);
    let sentence = failed_in(&without, "put_object");
    assert!(sentence.contains("set kmsKeyArn"), "{sentence}");
    let other = customer.add_key();
    customer.allow_key("*", &[GENERATE, DECRYPT]);
    let wrong = acme.test_of(with_key(&customer, &other)).await;
    let sentence = failed_in(&wrong.expect(200), "put_object");
    assert!(sentence.contains("correct kmsKeyArn"), "{sentence}");

    let saved = acme.save(with_key(&customer, &key)).await.expect(201);
    assert_eq!(saved["kmsKeyArn"], key);
    acme.wait_for_state("active").await;
    let mut sent = events(41, 50);
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 50).await;
    // The second object is uploaded in parts.
    let large = noise_events(42, 44, 240 * 1024);
    acme.ingest(&large).await;
    sent.extend(large);
    acme.wait_until_delivered(&customer, 94).await;
    customer.bucket().must_hold("acme", &sent);

    let writes = world.aws.write_log().into_iter();
    let made: Vec<_> = writes.filter(|write| write.op != "DeleteObject").collect();
    for write in &made {
        assert_eq!(write.kms_key_arn.as_ref(), Some(&key), "{write:?}");
    }
    for (op, of_tests) in [
        ("PutObject", true),
        ("CompleteMultipartUpload", true),
        ("PutObject", false),
        ("CompleteMultipartUpload", false),
    ] {
        let seen = made
            .iter()
            .any(|write| write.op == op && write.key.contains("audit-export-test/") == of_tests);
        assert!(seen, "no {op}: {made:?}");
    }
    // As the customer sees it.
    let (id, secret) = world.owner_of(&customer);
    let config = sdk_config_of(&world.aws.endpoint(), &id, &secret);
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    let s3 = aws_sdk_s3::Client::from_conf(config.build());
    for (_, object) in customer.bucket().exports("acme") {
        let head = s3.head_object().bucket(&customer.bucket_name);
        let head = head.key(&object.key).send().await.unwrap();
        assert_eq!(head.ssekms_key_id(), Some(key.as_str()), "{}", object.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_pauses_delivery_until_it_is_enabled() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, key) = org_with_key(&world).await;
    customer.allow_key(&key, &[GENERATE, DECRYPT]);
    acme.save(with_key(&customer, &key)).await.expect(201);
    acme.wait_for_state("active").await;

    customer.set_key_disabled(&key, true);
    let sent = events(43, 30);
    acme.ingest(&sent).await;
    let paused = acme.wait_for_state("paused").await;
    let reason = paused["stateReason"].as_str().unwrap();
    assert!(reason.contains("enable the key"), "{reason}");
    assert_eq!(customer.bucket().keys(), [""; 0]);
    customer.set_key_disabled(&key, false);
    acme.wait_until_delivered(&customer, 30).await;
    customer.bucket().must_hold("acme", &sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_own_key_is_told_from_the_configs() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer, key) = org_with_key(&world).await;
    customer.set_default_key(&key);
    let result = acme.test_of(customer.settings()).await.expect(200);
    let sentence = failed_in(&result, "put_object");
    for part in ["encrypts with by default", "allow it kms:GenerateDataKey"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    customer.allow_key(&key, &[GENERATE, DECRYPT]);
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
}
