//! The life of a config: first saved, changed, deleted, saved again.

use harness::{Org, World, events::events};
use serde_json::{Value, json};

use super::{refused, settings, settings_with};

const ALWAYS_PRESENT: [&str; 15] = [
    "id",
    "orgId",
    "bucket",
    "region",
    "roleArnMasked",
    "bucketOwner",
    "kmsKeyArn",
    "compression",
    "enabled",
    "lastTestedAt",
    "lastTestOk",
    "lastError",
    "lastExportedAt",
    "createdAt",
    "updatedAt",
];
const MASK: &str = "arn:aws:iam::********4321:role/lo…er";

/// What is stored beside that which the API shows.
async fn stored_role(world: &World, org: &str) -> String {
    let client = world.database.client().await;
    let sql = "select role_arn from export_configs where org_id = $1";
    client.query_one(sql, &[&org]).await.unwrap().get(0)
}

/// Checks that a time is RFC 3339 in UTC.
#[track_caller]
fn is_time(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    assert!(
        text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        "{value}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_one() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let none = acme.ask("GET", "/audit-export/config").send().await;
    refused(&none, 404, "not_configured", &json!({}));
    for role in [json!(null), json!(MASK)] {
        let answer = acme.save(settings_with(json!({"roleArn": role}))).await;
        refused(
            &answer,
            422,
            "invalid_request",
            &json!({"field": "roleArn"}),
        );
    }
    let mut without_role = settings();
    without_role.as_object_mut().unwrap().remove("roleArn");
    let answer = acme.save(without_role).await;
    refused(
        &answer,
        422,
        "invalid_request",
        &json!({"field": "roleArn"}),
    );
    let none = acme.ask("GET", "/audit-export/config").send().await;
    refused(&none, 404, "not_configured", &json!({}));

    let saved = acme.save(settings()).await.expect(201);
    for name in ALWAYS_PRESENT {
        assert!(
            saved.as_object().unwrap().contains_key(name),
            "{name}: {saved}"
        );
    }
    for name in ["lastTestedAt", "lastTestOk", "lastError", "lastExportedAt"] {
        assert_eq!(saved[name], json!(null), "{name}");
    }
    let shown = [
        "orgId",
        "bucket",
        "region",
        "roleArnMasked",
        "enabled",
        "prefix",
        "state",
        "externalId",
    ];
    assert_eq!(
        shown.map(|name| saved[name].clone()),
        [
            json!("acme"),
            json!("acme-audit-log"),
            json!("eu-central-1"),
            json!(MASK),
            json!(true),
            json!(null),
            json!("awaiting_test"),
            json!(acme.external_id()),
        ],
    );
    assert!(
        saved["id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok(),
        "{saved}"
    );
    is_time(&saved["createdAt"]);
    is_time(&saved["updatedAt"]);
    assert_eq!(acme.config().await, saved);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_it_names() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let first = acme
        .save(settings_with(json!({"prefix": "a/b", "enabled": false})))
        .await
        .expect(201);
    assert_eq!(
        (&first["state"], &first["prefix"]),
        (&json!("disabled"), &json!("a/b"))
    );
    let role = settings()["roleArn"].as_str().unwrap().to_owned();

    let second = acme
        .save(json!({"bucket": "other-bucket", "region": "us-east-1"}))
        .await
        .expect(201);
    for name in [
        "id",
        "createdAt",
        "enabled",
        "prefix",
        "roleArnMasked",
        "externalId",
    ] {
        assert_eq!(second[name], first[name], "{name}");
    }
    assert_eq!(
        (&second["bucket"], &second["region"]),
        (&json!("other-bucket"), &json!("us-east-1"))
    );
    let time = |config: &Value| {
        config["updatedAt"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    assert!(time(&second) > time(&first), "{second}");
    assert_eq!(stored_role(&world, "acme").await, role);
    assert_eq!(acme.config().await, second);

    for unchanged in [json!(MASK), json!(null)] {
        let saved = acme
            .save(settings_with(json!({"roleArn": unchanged})))
            .await
            .expect(201);
        assert_eq!(saved["roleArnMasked"], MASK);
        assert_eq!(stored_role(&world, "acme").await, role);
    }
    // Another role's mask, and one that is not whole, are no roles.
    for mask in [
        "arn:aws:iam::********4322:role/lo…er",
        "arn:aws:iam::********4321:role/…",
        "…",
        "****",
    ] {
        let answer = acme.save(settings_with(json!({"roleArn": mask}))).await;
        refused(
            &answer,
            422,
            "invalid_request",
            &json!({"field": "roleArn"}),
        );
    }
    assert_eq!(stored_role(&world, "acme").await, role);

    for (prefix, becomes) in [
        (json!("c"), json!("c")),
        (json!(""), json!(null)),
        (json!("/d/e/"), json!("d/e")),
        (json!(null), json!(null)),
    ] {
        let saved = acme
            .save(settings_with(json!({"prefix": prefix})))
            .await
            .expect(201);
        assert_eq!(saved["prefix"], becomes);
    }
    let on = acme
        .save(settings_with(json!({"enabled": true})))
        .await
        .expect(201);
    assert_eq!(
        (&on["enabled"], &on["state"]),
        (&json!(true), &json!("awaiting_test"))
    );
    let still = acme.save(settings()).await.expect(201);
    assert_eq!(still["enabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_belongs_to_one_organisation() {
    let world = World::start().await;
    let (acme, beta) = (world.org("acme").await, world.org("beta").await);
    acme.save(settings()).await.expect(201);
    beta.save(settings_with(
        json!({"roleArn": "arn:aws:iam::123456789012:role/exports"}),
    ))
    .await
    .expect(201);
    let answer = beta.save(settings_with(json!({"roleArn": MASK}))).await;
    refused(
        &answer,
        422,
        "invalid_request",
        &json!({"field": "roleArn"}),
    );
}

/// A save that changes nothing leaves what is known of the destination.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_is_as_good_as_before() {
    let world = World::start().await;
    let worker = world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    worker.drain().await;
    let before = acme.config().await;
    assert_eq!(before["lastTestOk"], true, "{before}");
    is_time(&before["lastTestedAt"]);

    let mask = before["roleArnMasked"].clone();
    let after = acme
        .save(customer.settings_with(json!({"roleArn": mask})))
        .await
        .expect(201);
    assert_eq!(after["state"], "active", "{after}");
    assert_eq!(after["lastTestedAt"], before["lastTestedAt"]);

    // Another destination has been tested by nobody.
    let after = acme
        .save(customer.settings_with(json!({"prefix": "elsewhere"})))
        .await
        .expect(201);
    assert_eq!(after["state"], "awaiting_test", "{after}");
    assert_eq!(
        (&after["lastTestedAt"], &after["lastTestOk"]),
        (&json!(null), &json!(null))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_starts_where_the_first_config_says() {
    let world = World::start().await;
    world.start_worker();
    for (id, start, first_seq) in [
        ("old", Some("beginning"), 1),
        ("default", None, 1),
        ("new", Some("now"), 4),
    ] {
        let org = world.org(id).await;
        let customer = world.customer(&org);
        let sent = events(7, 5);
        org.ingest(&sent[..3]).await;
        let start = start.map_or_else(|| json!({}), |start| json!({"startFrom": start}));
        let saved = org.save(customer.settings_with(start)).await;
        saved.expect(201);
        org.ingest(&sent[3..]).await;
        org.wait_for_state("active").await;
        org.wait_until_delivered(&customer, 5).await;
        let exports = customer.bucket().exports(id);
        assert_eq!(exports[0].0.first_seq, first_seq, "{exports:?}");
        must_refuse_a_start(&org, &customer.settings()).await;
    }
}

/// It could only be chosen once: what was delivered is delivered.
async fn must_refuse_a_start(org: &Org<'_>, settings: &Value) {
    for start in ["beginning", "now"] {
        let mut settings = settings.clone();
        settings["startFrom"] = json!(start);
        let answer = org.save(settings).await;
        refused(
            &answer,
            409,
            "start_from_not_first",
            &json!({"field": "startFrom"}),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_it_keeps_events_and_cursor() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(8, 10);
    acme.ingest(&sent[..4]).await;
    acme.wait_until_delivered(&customer, 4).await;
    let first = acme.config().await;

    let delete = async || acme.ask("DELETE", "/audit-export/config").send().await;
    let deleted = delete().await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    refused(&delete().await, 404, "not_configured", &json!({}));
    let none = acme.ask("GET", "/audit-export/config").send().await;
    refused(&none, 404, "not_configured", &json!({}));
    refused(&acme.test().await, 404, "not_configured", &json!({}));
    let run = acme.ask("POST", "/audit-export/runs").send().await;
    refused(&run, 409, "not_active", &json!({}));
    let runs = acme.runs().await;
    assert!(runs.iter().any(|run| run["events"] == 4), "{runs:?}");
    acme.ingest(&sent[4..7]).await;

    // It is new: nothing of the old one is left to be meant by leaving it out.
    let mask = first["roleArnMasked"].clone();
    let answer = acme
        .save(customer.settings_with(json!({"roleArn": mask})))
        .await;
    refused(
        &answer,
        422,
        "invalid_request",
        &json!({"field": "roleArn"}),
    );
    must_refuse_a_start(&acme, &customer.settings()).await;
    let second = acme.save(customer.settings()).await.expect(201);
    assert_eq!(
        (&second["state"], &second["lastTestedAt"]),
        (&json!("awaiting_test"), &json!(null))
    );
    assert_eq!(second["externalId"], first["externalId"]);
    acme.ingest(&sent[7..]).await;
    acme.wait_for_state("active").await;
    acme.wait_until_delivered(&customer, 10).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    is_time(&acme.config().await["lastExportedAt"]);
}
