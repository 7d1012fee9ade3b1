//! Testing a destination: what is found, and what an admin is told.

use std::time::{Duration, Instant};

use exporter::config::Strictness;
use harness::{
    Customer, Org, World,
    faults::http::{self, Calls, HttpProxy, Operation},
    world::{PRINCIPAL_ARN, sdk_config},
};
use serde_json::{Value, json};

/// The stages in their order.
const STAGES: [&str; 5] = [
    "assume_role",
    "confused_deputy",
    "put_object",
    "multipart_upload",
    "delete_object",
];

/// Checks the form of a result and returns the names of its stages.
fn stages(result: &Value) -> Vec<&str> {
    assert!(
        result["testId"]
            .as_str()
            .unwrap()
            .parse::<uuid::Uuid>()
            .is_ok()
    );
    let stages = result["stages"].as_array().unwrap();
    for stage in stages {
        assert!(stage["durationMs"].is_u64(), "{stage}");
        assert_eq!(
            stage["success"] == true,
            stage.get("error").is_none(),
            "{stage}"
        );
    }
    stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect()
}

async fn org_with_customer(world: &World) -> (Org<'_>, Customer) {
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    (acme, customer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_destination_passes_and_is_left_clean() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = org_with_customer(&world).await;

    let result = acme
        .test_of(customer.settings_with(json!({"prefix": "a/b"})))
        .await
        .expect(200);

    assert_eq!(result["success"], true, "{result}");
    assert_eq!(stages(&result), STAGES);
    assert_eq!((result.get("error"), result.get("warning")), (None, None));
    assert_eq!(customer.bucket().keys(), [""; 0]);
    let writes = world.aws.write_log();
    let folder = format!(
        "a/b/audit-export-test/{}",
        result["testId"].as_str().unwrap()
    );
    assert!(!writes.is_empty() && writes.iter().all(|write| write.key.starts_with(&folder)));
    customer.nothing_was_rewritten();
    let session = &writes[0].principal;
    assert!(
        session.contains("/audit-export-acme-"),
        "the session tells the org: {session}"
    );
}

/// What is wrong, and what the sentence has to say.
struct Fault {
    name: &'static str,
    break_it: fn(&Customer) -> Value,
    stage: &'static str,
    advice: &'static [&'static str],
}

const FAULTS: [Fault; 10] = [
    Fault {
        name: "missing bucket",
        break_it: |customer| customer.settings_with(json!({"bucket": "nobodys-bucket"})),
        stage: "put_object",
        advice: &["nobodys-bucket does not exist", "create it in eu-central-1"],
    },
    Fault {
        name: "wrong external id",
        break_it: |customer| {
            let other = json!({"StringEquals": {"sts:ExternalId": "another-customers-id"}});
            customer.set_trust(customer.trust(PRINCIPAL_ARN, &other));
            customer.settings()
        },
        stage: "assume_role",
        advice: &[
            "trust policy does not allow",
            "sts:ExternalId = {external id}",
        ],
    },
    Fault {
        name: "untrusted role",
        break_it: |customer| {
            let id = json!({"StringEquals": {"sts:ExternalId": customer.external_id}});
            customer.set_trust(customer.trust("arn:aws:iam::999999999999:root", &id));
            customer.settings()
        },
        stage: "assume_role",
        advice: &["trust policy does not allow", "name our principal"],
    },
    Fault {
        name: "no such role",
        break_it: |customer| {
            let role = format!("arn:aws:iam::{}:role/no-such-role", customer.account);
            customer.settings_with(json!({"roleArn": role}))
        },
        stage: "assume_role",
        advice: &["check that the role exists"],
    },
    Fault {
        name: "external id not asked for",
        break_it: |customer| {
            customer.set_trust(customer.trust(PRINCIPAL_ARN, &json!({})));
            customer.settings()
        },
        stage: "confused_deputy",
        advice: &[
            "without any external id",
            "StringEquals sts:ExternalId = {external id}",
        ],
    },
    Fault {
        name: "any external id taken",
        break_it: |customer| {
            let any = json!({"StringLike": {"sts:ExternalId": "*"}});
            customer.set_trust(customer.trust(PRINCIPAL_ARN, &any));
            customer.settings()
        },
        stage: "confused_deputy",
        advice: &[
            "with any other",
            "StringEquals sts:ExternalId = {external id}",
        ],
    },
    Fault {
        name: "put denied",
        break_it: |customer| {
            customer.break_role();
            customer.settings_with(json!({"prefix": "audit"}))
        },
        stage: "put_object",
        advice: &["allow it s3:PutObject on arn:aws:s3:::{bucket}/audit/*"],
    },
    Fault {
        name: "wrong region",
        break_it: |customer| customer.settings_with(json!({"region": "us-east-1"})),
        stage: "put_object",
        advice: &[
            "is in region eu-central-1, not in us-east-1",
            "set region to eu-central-1",
        ],
    },
    Fault {
        name: "bucket of another account",
        break_it: |customer| {
            customer.add_bucket_of("999999999999", "a-strangers-bucket", "eu-central-1");
            customer.settings_with(json!({"bucket": "a-strangers-bucket"}))
        },
        stage: "put_object",
        advice: &[
            "a-strangers-bucket",
            "belongs to the role's own account",
            "set bucketOwner",
        ],
    },
    Fault {
        name: "uploads in parts denied",
        break_it: |customer| {
            let mut policy = customer.good_policy();
            policy["Statement"].as_array_mut().unwrap().push(json!({
                "Effect": "Deny",
                "Action": "s3:PutObject",
                "Resource": "*",
                "Condition": {"Null": {"s3:if-none-match": "true"}},
            }));
            customer.set_policy(policy);
            customer.settings()
        },
        stage: "multipart_upload",
        advice: &["allow it s3:PutObject"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_in_its_stage_and_explained() {
    let world = World::start().await;
    world.start_worker();
    world.api.must_never_show(PRINCIPAL_ARN);
    for (n, fault) in FAULTS.iter().enumerate() {
        let acme = world.org(&format!("org-{n}")).await;
        let customer = world.customer(&acme);
        let settings = (fault.break_it)(&customer);
        world
            .api
            .must_never_show(settings["roleArn"].as_str().unwrap());

        let result = acme.test_of(settings).await.expect(200);

        let name = fault.name;
        assert_eq!(result["success"], false, "{name}: {result}");
        let sentence = result["error"].as_str().unwrap();
        for part in fault.advice {
            let part = part
                .replace("{external id}", acme.external_id())
                .replace("{bucket}", &customer.bucket_name);
            assert!(
                sentence.contains(&part),
                "{name}: {part} is not in: {sentence}"
            );
        }
        assert!(!sentence.contains("AccessDenied"), "{name}: {sentence}");
        let failed = STAGES
            .iter()
            .position(|stage| *stage == fault.stage)
            .unwrap();
        assert_eq!(stages(&result), STAGES[..=failed], "{name}: {result}");
        for (at, stage) in result["stages"].as_array().unwrap().iter().enumerate() {
            assert_eq!(stage["success"] == false, at == failed, "{name}: {stage}");
        }
        assert_eq!(result["stages"][failed]["error"], sentence, "{name}");
        // What was written before the failure is removed all the same.
        assert_eq!(customer.bucket().keys(), [""; 0], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_delete_is_good_enough() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = org_with_customer(&world).await;
    customer.set_policy(customer.policy(&["s3:PutObject"]));

    let result = acme.test_of(customer.settings()).await.expect(200);

    assert_eq!(result["success"], true, "{result}");
    assert_eq!(stages(&result), STAGES);
    let left_over = customer.bucket().keys();
    assert_eq!(left_over.len(), 2, "{left_over:?}");
    for key in &left_over {
        assert!(
            result["warning"].as_str().unwrap().contains(key.as_str()),
            "{result}"
        );
    }
    // Nothing of anybody's is in them.
    for object in customer.bucket().objects() {
        assert_eq!(object.bytes(), b"audit-export connection test\n");
    }
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_without_external_ids_and_is_reminded() {
    let world = World::start().await;
    world.start_worker_with(|config| config.external_id_check = Strictness::Relax);
    let (acme, customer) = org_with_customer(&world).await;
    customer.set_trust(customer.trust(PRINCIPAL_ARN, &json!({})));

    let result = acme.test_of(customer.settings()).await.expect(200);

    assert_eq!(result["success"], true, "{result}");
    assert_eq!(stages(&result), STAGES);
    assert!(
        result["warning"]
            .as_str()
            .unwrap()
            .contains("sts:ExternalId"),
        "{result}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_the_test_times_out_and_is_not_done_later() {
    let world = World::start_with(|config| config.test_timeout_seconds = 2).await;
    let (acme, customer) = org_with_customer(&world).await;
    let answer = acme.test_of(customer.settings()).await;
    answer.expect_error(504, "test_timed_out");

    world.start_worker();
    let result = acme.test_of(customer.settings()).await.expect(200);
    assert_eq!(result["success"], true, "{result}");
    let id = result["testId"].as_str().unwrap();
    let writes = world.aws.write_log();
    assert!(
        writes.iter().all(|write| write.key.contains(id)),
        "{writes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_the_answer_comes_at_once_and_the_rest_works() {
    let world = World::start_with(|config| config.amqp_url = "amqp://127.0.0.1:1/%2f".into()).await;
    let (acme, customer) = org_with_customer(&world).await;

    let began = Instant::now();
    let answer = acme.test_of(customer.settings()).await;

    answer.expect_error(503, "broker_unavailable");
    assert!(!answer.header("retry-after").is_empty());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let config = acme.save(customer.settings()).await.expect(201);
    assert_eq!(config["state"], "awaiting_test");
    acme.ingest(&harness::events::events(1, 3)).await;
    acme.test().await.expect_error(503, "broker_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_tested_and_told_and_what_is_sent_leaves_no_trace() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = org_with_customer(&world).await;
    acme.test().await.expect_error(404, "not_configured");
    acme.save(customer.settings()).await.expect(201);
    let tested = acme.wait_for_state("active").await;
    assert_eq!(
        (&tested["lastTestOk"], &tested["lastError"]),
        (&json!(true), &Value::Null)
    );

    // Sent settings fail, with the stored role by its mask and by being left out.
    let other_bucket = json!({"bucket": "nobodys-bucket"});
    let mut settings = customer.settings_with(other_bucket);
    settings["roleArn"] = tested["roleArnMasked"].clone();
    assert_eq!(
        acme.test_of(settings.clone()).await.expect(200)["success"],
        false
    );
    settings.as_object_mut().unwrap().remove("roleArn");
    assert_eq!(acme.test_of(settings).await.expect(200)["success"], false);
    assert_eq!(acme.config().await, tested);

    // The stored destination fails, and it shows.
    customer.break_role();
    let result = acme.test().await.expect(200);
    let config = acme.config().await;
    assert_eq!(result["success"], false, "{result}");
    assert_eq!(
        (&config["lastTestOk"], &config["lastError"]),
        (&json!(false), &result["error"])
    );
    assert!(
        config["lastTestedAt"].as_str() > tested["lastTestedAt"].as_str(),
        "{config}"
    );

    customer.mend_role();
    assert_eq!(acme.test().await.expect(200)["success"], true);
    let config = acme.wait_for_state("active").await;
    assert_eq!(
        (&config["lastTestOk"], &config["lastError"]),
        (&json!(true), &Value::Null)
    );
}

/// As long as its worker lives, whatever S3 takes for an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_outlasts_its_lease_stays_with_its_worker() {
    let world = World::start().await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    let slow = http::Fault::Delay(Duration::from_secs(5));
    proxy.inject(Calls::of(Operation::PutObject).first(1), slow);
    for _ in 0..2 {
        world.start_worker_at(&sdk_config(&proxy.endpoint()), |config| {
            config.lease = Duration::from_secs(1);
        });
    }
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let sql = "select attempts, state from connection_tests";
    let tests = world.database.client().await.query(sql, &[]).await.unwrap();
    let seen: Vec<(i32, String)> = tests.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(seen, [(1, "succeeded".to_owned())]);
}
