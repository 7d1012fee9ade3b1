//! Whose bucket it is. Strangers are generous here: their buckets take what anybody sends.

use std::time::Duration;

use harness::{
    Customer, Org, World, attacks,
    events::{events, noise_events},
    faults::http::{Answer, Calls, Fault, HttpProxy, Operation},
    wait::within,
    world::{REGION, sdk_config},
};
use serde_json::json;

use super::{STRANGER, failed_in};

/// Long enough for several runs and probes.
const A_WHILE: Duration = Duration::from_secs(3);
/// The account in which an organisation keeps its logs.
const LOG_ACCOUNT: &str = "777777777777";
const LOG_BUCKET: &str = "central-logs-of-acme";

async fn org_with_customer(world: &World) -> (Org<'_>, Customer) {
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    (acme, customer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_account_fails_the_test_with_the_advice() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = org_with_customer(&world).await;
    let open = customer.add_bucket_of(STRANGER, "open-to-all", REGION);
    customer.open_bucket("open-to-all", "*");

    let strange = customer.settings_with(json!({"bucket": "open-to-all"}));
    let result = acme.test_of(strange).await.expect(200);
    let sentence = failed_in(&result, "put_object");
    for part in ["the role's own account", "set bucketOwner"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(open.keys(), [""; 0]);

    // One's own, under another's number.
    let mistaken = customer.settings_with(json!({"bucketOwner": STRANGER}));
    let result = acme.test_of(mistaken.clone()).await.expect(200);
    let sentence = failed_in(&result, "put_object");
    assert!(sentence.contains("correct bucketOwner"), "{sentence}");
    assert_eq!(customer.bucket().keys(), [""; 0]);
    acme.save(mistaken).await.expect(201);
    let paused = acme.wait_for_state("paused").await;
    assert_eq!(paused["stateReason"], sentence);
    assert_eq!(paused["bucketOwner"], STRANGER);

    attacks::record(
        "bucket of a stranger",
        "a destination whose bucket is another account's and takes what anybody sends",
        "S3 denies each request, since it names the account that must own the bucket; the test says bucketOwner",
    );

    // Mended by leaving it to the role again.
    acme.save(customer.settings_with(json!({"bucketOwner": null})))
        .await
        .expect(201);
    let active = acme.wait_for_state("active").await;
    assert_eq!(active["bucketOwner"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_central_log_account_works_where_its_number_is_given() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = org_with_customer(&world).await;
    let central = customer.add_bucket_of(LOG_ACCOUNT, LOG_BUCKET, REGION);
    let settings = customer.settings_with(json!({"bucket": LOG_BUCKET}));
    let mut with_owner = settings.clone();
    with_owner["bucketOwner"] = json!(LOG_ACCOUNT);

    // The bucket's policy does not know the role yet.
    let result = acme.test_of(with_owner.clone()).await.expect(200);
    let sentence = failed_in(&result, "put_object");
    assert!(
        sentence.contains("in the bucket's policy as well"),
        "{sentence}"
    );
    customer.open_bucket(LOG_BUCKET, &customer.role_arn);
    let result = acme.test_of(settings).await.expect(200);
    failed_in(&result, "put_object");
    assert_eq!(central.keys(), [""; 0]);

    let saved = acme.save(with_owner).await.expect(201);
    assert_eq!(saved["bucketOwner"], LOG_ACCOUNT);
    acme.wait_for_state("active").await;
    let sent = events(31, 100);
    acme.ingest(&sent).await;
    let arrived = async |last_seq| {
        let look = || async { (central.last_seq("acme") == last_seq).then_some(()) };
        acme.eventually("the log account gets everything", look)
            .await;
    };
    arrived(100).await;

    // Probes name the owner as well.
    customer.open_bucket(LOG_BUCKET, STRANGER);
    let more = events(35, 50);
    acme.ingest(&more).await;
    acme.wait_for_state("paused").await;
    customer.open_bucket(LOG_BUCKET, &customer.role_arn);
    arrived(150).await;
    central.must_hold("acme", &[sent, more].concat());
}

/// The customer's role may write to a bucket of this name, and the stranger lets it. Nothing but the
/// expected owner stands in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_a_stranger_has_made_again_gets_nothing() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(32, 150);
    acme.ingest(&sent[..50]).await;
    acme.wait_until_delivered(&customer, 50).await;

    customer.open_bucket(&customer.bucket_name, "*");
    customer.move_bucket(&customer.bucket_name, STRANGER);
    let before = (world.aws.write_log().len(), customer.bucket().keys());
    acme.ingest(&sent[50..100]).await;
    let paused = acme.wait_for_state("paused").await;
    let reason = paused["stateReason"].as_str().unwrap();
    assert!(reason.contains("the role's own account"), "{reason}");
    acme.ingest(&sent[100..]).await;
    let written = || async { (world.aws.write_log().len() > before.0).then_some(()) };
    assert_eq!(within(A_WHILE, written).await, None);
    assert_eq!(
        (world.aws.write_log().len(), customer.bucket().keys()),
        before
    );
    assert_eq!(world.open_uploads(), []);
    assert_eq!(acme.config().await["state"], "paused");

    attacks::record(
        "bucket of a stranger",
        "the bucket of an active destination is deleted and made again in a stranger's account",
        "nothing arrives there, not even a test; delivery is paused with the reason",
    );

    customer.move_bucket(&customer.bucket_name, &customer.account);
    acme.wait_until_delivered(&customer, 150).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}

/// Tests, exports in one request and in parts, and the end of uploads that an earlier destination has
/// left behind.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_to_s3_names_the_owner() {
    let world = World::start().await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    world.start_worker_at(&sdk_config(&proxy.endpoint()), |_| {});
    let (acme, customer) = world.active_org("acme").await;
    let mut sent = events(33, 20);
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 20).await;

    // An upload that can neither be completed nor ended.
    let denied = || Fault::Answer(Answer::s3(403, "AccessDenied"));
    let rules = [
        Operation::CompleteMultipartUpload,
        Operation::AbortMultipartUpload,
        Operation::ListMultipartUploads,
    ]
    .map(|operation| proxy.inject(Calls::of(operation), denied()));
    let large = noise_events(34, 44, 240 * 1024);
    acme.ingest(&large).await;
    sent.extend(large);
    acme.wait_for_state("paused").await;
    assert_ne!(world.open_uploads(), []);
    for rule in rules {
        rule.lift();
    }
    let elsewhere =
        customer.settings_with(json!({"prefix": "new", "bucketOwner": customer.account}));
    acme.save(elsewhere).await.expect(201);
    acme.wait_until_delivered(&customer, 64).await;
    let ended = || async { world.open_uploads().is_empty().then_some(()) };
    acme.eventually("the old upload is ended", ended).await;
    customer.bucket().must_hold("acme", &sent);

    let calls = world.aws.calls();
    let to_s3: Vec<_> = calls.iter().filter(|call| call.service == "s3").collect();
    for call in &to_s3 {
        let owner = call.expected_owner.as_ref();
        assert_eq!(owner, Some(&customer.account), "{call:?}");
    }
    for operation in [
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "DeleteObject",
    ] {
        let seen = to_s3.iter().any(|call| call.operation == operation);
        assert!(seen, "no {operation} was made");
    }
}
