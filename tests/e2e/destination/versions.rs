//! What makes another destination: it has a version of its own, which has to pass a test of its own.

use harness::World;
use serde_json::{Value, json};

use super::STRANGER;

/// The config's version, and how many of the system's own tests each version has had.
async fn versions(world: &World) -> (i64, Vec<(i64, i64)>) {
    let client = world.database.client().await;
    let current = client
        .query_one("select version from export_configs", &[])
        .await
        .unwrap();
    let tests = client
        .query(
            "select version, count(*) from connection_tests
              where trigger = 'automatic' group by version order by version",
            &[],
        )
        .await
        .unwrap();
    let tests = tests.iter().map(|row| (row.get(0), row.get(1))).collect();
    (current.get(0), tests)
}

/// There is no worker, so that no test is ever done.
#[tokio::test(flavor = "multi_thread")]
async fn each_part_makes_another_version_and_the_same_values_do_not() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let (key, other_key) = (customer.add_key(), customer.add_key());
    let mut settings = customer.settings();
    acme.save(settings.clone()).await.expect(201);
    assert_eq!(versions(&world).await, (1, vec![(1, 1)]));

    let changes = [
        json!({"bucket": "another-bucket"}),
        json!({"roleArn": customer.add_role("another-role")}),
        json!({"prefix": "audit"}),
        json!({"prefix": "audit/logs"}),
        json!({"prefix": null}),
        json!({"bucketOwner": STRANGER}),
        json!({"bucketOwner": customer.account}),
        json!({"bucketOwner": null}),
        json!({"kmsKeyArn": key}),
        json!({"kmsKeyArn": other_key}),
        json!({"kmsKeyArn": ""}),
        json!({"compression": "zstd"}),
        json!({"compression": "gzip"}),
        json!({"region": "us-east-1"}),
    ];
    let mut expected = 1;
    for change in changes {
        for (name, value) in change.as_object().unwrap() {
            settings[name] = value.clone();
        }
        expected += 1;
        let saved = acme.save(settings.clone()).await.expect(201);
        assert_eq!(saved["state"], "awaiting_test", "{change}");
        let (version, tests) = versions(&world).await;
        assert_eq!(version, expected, "{change}");
        assert_eq!(tests.last(), Some(&(expected, 1)), "{change}");

        // The same again, in full and with as much left out as may be.
        let shortest = json!({"bucket": settings["bucket"], "region": settings["region"]});
        for same in [settings.clone(), shortest] {
            let again = acme.save(same).await.expect(201);
            assert_eq!(versions(&world).await.0, expected, "{change}");
            for name in [
                "bucketOwner",
                "kmsKeyArn",
                "compression",
                "prefix",
                "roleArnMasked",
            ] {
                assert_eq!(again[name], saved[name], "{change}: {name}");
            }
        }
    }
    // What is no part of the destination makes no other of it.
    settings["enabled"] = json!(false);
    acme.save(settings).await.expect(201);
    assert_eq!(versions(&world).await.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_waits_for_a_test_of_its_own() {
    let world = World::start().await;
    let worker = world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let key = customer.add_key();
    customer.allow_key(&key, &["kms:GenerateDataKey", "kms:Decrypt"]);
    worker.drain().await;
    for (field, value) in [
        ("bucketOwner", json!(customer.account)),
        ("kmsKeyArn", json!(key)),
        ("compression", json!("zstd")),
    ] {
        let saved = acme
            .save(customer.settings_with(json!({field: value})))
            .await
            .expect(201);
        assert_eq!(
            (&saved["state"], &saved["lastTestedAt"]),
            (&json!("awaiting_test"), &Value::Null),
            "{field}"
        );
        let worker = world.start_worker();
        let active = acme.wait_for_state("active").await;
        assert_eq!(active[field], value);
        worker.drain().await;
        // The same values leave it as tested as it was.
        let again = acme.save(customer.settings()).await.expect(201);
        assert_eq!(again["state"], "active", "{field}");
    }
}

/// Tests of other settings use them, take what is left out from those that are stored, and store
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_other_settings_leaves_the_stored_ones_alone() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let owner = json!({"bucketOwner": customer.account});
    acme.save(customer.settings_with(owner)).await.expect(201);
    let stored = acme.wait_for_state("active").await;
    let calls = world.aws.calls().len();
    let result = acme.test_of(customer.settings()).await.expect(200);
    assert_eq!(result["success"], true, "{result}");
    let elsewhere = json!({"bucketOwner": STRANGER});
    let result = acme.test_of(customer.settings_with(elsewhere)).await;
    super::failed_in(&result.expect(200), "put_object");
    assert_eq!(acme.config().await, stored);
    let owners: Vec<_> = world.aws.calls()[calls..]
        .iter()
        .filter(|call| call.service == "s3")
        .map(|call| call.expected_owner.clone().unwrap())
        .collect();
    assert_eq!(owners[0], customer.account);
    assert_eq!(owners.last().unwrap(), STRANGER);
}
