//! Where requests go is the operator's to say. (Which hosts the SDK makes of names and regions is
//! tested where its clients are made: exporter/src/s3/session/hosts.rs.)

use harness::{World, attacks, world::sdk_config};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_tenant_names_chooses_a_host() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    for (field, value) in [
        ("bucket", "169.254.169.254"),
        ("bucket", "evil.example.com/"),
        ("bucket", "https://evil.example.com"),
        ("bucket", "user@evil.example.com"),
        ("bucket", "evil.example.com:443"),
        ("bucket", "acme?x="),
        ("bucket", "acme#"),
        ("bucket", "%2f%2fevil.example.com"),
        ("region", "eu-central-1.evil.example.com"),
        ("region", "evil.example.com/eu-central-1"),
        ("region", "eu-central-1#"),
        ("region", "localhost"),
    ] {
        let settings = customer.settings_with(json!({field: value}));
        for answer in [
            acme.save(settings.clone()).await,
            acme.test_of(settings).await,
        ] {
            let refused = answer.expect_error(422, "invalid_request");
            let sentence = refused["error"].as_str().unwrap();
            assert!(sentence.contains(field), "{value}: {sentence}");
        }
    }
    for field in ["endpoint", "endpointUrl", "stsEndpoint", "host"] {
        let settings = customer.settings_with(json!({field: "http://169.254.169.254/"}));
        let refused = acme
            .save(settings)
            .await
            .expect_error(422, "invalid_request");
        let sentence = refused["error"].as_str().unwrap();
        assert!(sentence.contains(field), "{sentence}");
    }
    attacks::record(
        "abuse",
        "buckets, regions and unknown fields that name a host of the tenant's choice",
        "422, with the field",
    );
}

/// Under an endpoint that has a name, buckets are labels before it; one with dots would be several.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_name_looks_like_a_host_is_the_operators_still() {
    let world = World::start().await;
    let endpoint = format!("http://localhost:{}", world.aws.address().port());
    world.start_worker_at(&sdk_config(&endpoint), |config| {
        config.s3_path_style = false
    });
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let name = "metadata.example.internal";
    customer.add_bucket(name, harness::world::REGION);

    let tested = acme
        .test_of(customer.settings_with(json!({"bucket": name})))
        .await;

    let result = tested.expect(200);
    assert_eq!(result["success"], true, "{result}");
    assert!(
        world
            .aws
            .write_log()
            .iter()
            .any(|write| write.bucket == name)
    );
    attacks::record(
        "abuse",
        "a bucket whose name is that of a host",
        "it stands in the path of the operator's endpoint",
    );
}
