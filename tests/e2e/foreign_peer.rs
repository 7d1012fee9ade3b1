//! Tests of destinations, and exports, against a server of S3, STS and IAM that nobody here wrote.

use harness::{
    World,
    api::Answer,
    events::{Generator, events, noise_events},
    ministack::Ministack,
};
use serde_json::{Value, json};

use crate::jobs::looked_at;

const STAGES: [&str; 5] = [
    "assume_role",
    "confused_deputy",
    "put_object",
    "multipart_upload",
    "delete_object",
];

/// A world with a worker whose AWS is the peer. Nothing is exported unless somebody asks for it.
async fn start() -> (World, Ministack) {
    let world = World::start_with(|config| config.interval_seconds = 3_600);
    let (world, peer) = tokio::join!(world, Ministack::start());
    world.start_worker_at(&peer.service(), |_| {});
    (world, peer)
}

/// Checks that all stages before this one passed and this one, the last, did not; its sentence.
#[track_caller]
fn expect_failure(answer: &Answer, stage: &str) -> String {
    let result = answer.expect(200);
    assert_eq!(result["success"], false, "{stage}: {result}");
    let stages = result["stages"].as_array().unwrap();
    let seen: Vec<_> = stages
        .iter()
        .map(|stage| (&stage["name"], &stage["success"]))
        .collect();
    let at = STAGES.iter().position(|name| *name == stage).unwrap();
    let names = STAGES[..=at].iter().map(|name| json!(name));
    let expected: Vec<(Value, Value)> = names
        .map(|name| (name.clone(), json!(name != stage)))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, success)| (name, success))
        .collect();
    assert_eq!(seen, expected, "{result}");
    let error = result["error"].as_str().unwrap().to_owned();
    assert_eq!(stages[at]["error"], error);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_destination_passes_every_stage() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    world.api.must_never_show(&customer.role_arn);

    let result = acme.test_of(customer.settings()).await.expect(200);

    assert_eq!(result["success"], true, "{result}");
    assert_eq!(
        (&result["error"], &result["warning"]),
        (&Value::Null, &Value::Null)
    );
    let stages = result["stages"].as_array().unwrap();
    assert!(
        stages.iter().all(|stage| stage["success"] == true),
        "{result}"
    );
    let names: Vec<_> = stages.iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, STAGES);
    assert_eq!(
        customer.fetch().await.bucket.keys(),
        [""; 0],
        "a test removes what it wrote"
    );

    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    world.api.must_never_show(&customer.role_arn);
    let service = peer.service_arn();

    let answer = acme
        .test_of(customer.settings_with("prefix", "elsewhere"))
        .await;
    let error = expect_failure(&answer, "put_object");
    assert!(
        error.contains("s3:PutObject on arn:aws:s3:::") && error.contains("elsewhere/*"),
        "{error}"
    );
    // With fewer rights S3 would not tell the role which buckets exist.
    customer.allow_on("*", &["s3:*"]).await;
    let answer = acme
        .test_of(customer.settings_with("bucket", "nobody-has-this-bucket"))
        .await;
    let error = expect_failure(&answer, "put_object");
    assert!(
        error.contains("nobody-has-this-bucket does not exist"),
        "{error}"
    );
    let answer = acme
        .test_of(customer.settings_with("region", "eu-west-1"))
        .await;
    let error = expect_failure(&answer, "put_object");
    assert!(error.contains("set region to eu-central-1"), "{error}");
    customer.mend_role().await;

    customer
        .set_trust(&customer.trust(&service, "another-external-id"))
        .await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "assume_role");
    assert!(
        error.contains("trust policy") && error.contains(acme.external_id()),
        "{error}"
    );
    let stranger = "arn:aws:iam::333333333333:root";
    customer
        .set_trust(&customer.trust(stranger, acme.external_id()))
        .await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "assume_role");
    assert!(error.contains("trust policy"), "{error}");

    // Roles that others could have us write to.
    let mut asks_for_nothing = customer.good_trust();
    asks_for_nothing["Statement"][0]["Condition"] = json!({});
    customer.set_trust(&asks_for_nothing).await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "confused_deputy");
    assert!(error.contains("without any external id"), "{error}");
    let mut takes_any = customer.good_trust();
    takes_any["Statement"][0]["Condition"] = json!({"StringLike": {"sts:ExternalId": "*"}});
    customer.set_trust(&takes_any).await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "confused_deputy");
    assert!(error.contains("with any other"), "{error}");
    customer.set_trust(&customer.good_trust()).await;

    customer.allow(&["s3:GetObject"]).await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "put_object");
    assert!(error.contains("allow it s3:PutObject"), "{error}");

    // Enough for an export: what stays behind is named, and is no failure.
    customer.allow(&["s3:PutObject"]).await;
    let result = acme.test_of(customer.settings()).await.expect(200);
    assert_eq!(result["success"], true, "{result}");
    let warning = result["warning"].as_str().unwrap();
    let keys = customer.fetch().await.bucket.keys();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(
        keys.iter()
            .all(|key| key.starts_with("security/audit/audit-export-test/")),
        "{keys:?}"
    );
    assert!(keys.iter().all(|key| warning.contains(key)), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_arrive_once_in_order_and_go_on_where_they_ended() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    world.api.must_never_show(&customer.role_arn);
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    looked_at(&world, &acme).await;

    let mut sent = events(21, 3_000);
    for batch in sent.chunks(1_000) {
        acme.ingest(batch).await;
    }
    let run = acme.export_now().await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let fetched = customer.fetch().await;
    fetched.bucket.must_hold("acme", &sent);
    let before = fetched.bucket.keys();

    // Large enough to be uploaded in parts.
    let large: Vec<_> = Generator::new(22).bytes(10_000).take(2_200).collect();
    for batch in large.chunks(1_100) {
        acme.ingest(batch).await;
    }
    sent.extend(large);
    let run = acme.export_now().await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let fetched = customer.fetch().await;
    fetched.bucket.must_hold("acme", &sent);
    let exports = fetched.bucket.exports("acme");
    assert!(
        exports
            .iter()
            .all(|(parts, _)| parts.prefix == "security/audit")
    );
    let keys = fetched.bucket.keys();
    assert_eq!(
        keys.len(),
        exports.len(),
        "nothing else lies there: {keys:?}"
    );
    assert!(
        before.iter().all(|key| keys.contains(key)),
        "what was there stays"
    );
    let (_, last) = exports.last().unwrap();
    let size = last.bytes().len();
    assert!(size > 8 * 1024 * 1024, "{size} bytes go in one part");
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_survives_lost_permissions() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    world.api.must_never_show(&customer.role_arn);
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let mut sent = events(23, 200);
    acme.ingest(&sent).await;
    acme.export_now().await;

    // The session that the exporter has at hand is good still, and of no use.
    customer.allow(&["s3:GetObject"]).await;
    let more = events(24, 200);
    acme.ingest(&more).await;
    sent.extend(more);
    let run = acme.export_now().await;
    assert_eq!(
        (&run["status"], &run["errorClass"]),
        (&json!("failed"), &json!("permanent")),
        "{run}"
    );
    let config = acme.config().await;
    assert_eq!(config["state"], "paused", "{config}");
    assert!(
        config["lastError"]
            .as_str()
            .unwrap()
            .contains("s3:PutObject"),
        "{config}"
    );
    customer.mend_role().await;
    acme.wait_for_state("active").await;
    acme.export_now().await;
    customer.fetch().await.bucket.must_hold("acme", &sent);

    // Our own key is not the customer's affair.
    peer.set_service_key("Inactive").await;
    let error = expect_failure(&acme.test().await, "assume_role");
    assert!(error.contains("on our side"), "{error}");
    assert_eq!(acme.config().await["state"], "active");
    peer.set_service_key("Active").await;
    let more = events(25, 200);
    acme.ingest(&more).await;
    sent.extend(more);
    acme.export_now().await;
    customer.fetch().await.bucket.must_hold("acme", &sent);
    assert_eq!(acme.test().await.expect(200)["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_names_the_key_that_the_config_names() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    let key = "arn:aws:kms:eu-central-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    customer.demand_kms().await;
    let error = expect_failure(&acme.test_of(customer.settings()).await, "put_object");
    assert!(error.contains("set kmsKeyArn"), "{error}");

    let settings = customer.settings_with("kmsKeyArn", key);
    acme.save(settings).await.expect(201);
    acme.wait_for_state("active").await;
    looked_at(&world, &acme).await;
    let mut sent = events(26, 100);
    acme.ingest(&sent).await;
    acme.export_now().await;
    // Large enough to be uploaded in parts.
    let large = noise_events(27, 44, 240 * 1024);
    acme.ingest(&large).await;
    sent.extend(large);
    acme.export_now().await;
    let fetched = customer.fetch().await;
    fetched.bucket.must_hold("acme", &sent);
    for object in fetched.bucket.keys() {
        let told = customer.key_of(&object).await;
        assert_eq!(told.as_deref(), Some(key), "{object}");
    }
}
