//! What the system does for an organisation stands in that organisation's own audit log.

use harness::{Org, World, attacks, events::events, tokens};
use serde_json::{Value, json};

/// The organisation's own events, in order, once there are so many.
async fn own_events(world: &World, org: &Org<'_>, count: usize) -> Vec<Value> {
    let client = world.database.client().await;
    let sql = "select line from audit_events
                where org_id = $1 and line::json ->> 'action' like 'audit_export.%' order by seq";
    let look = || async {
        let rows = client.query(sql, &[&org.id()]).await.unwrap();
        (rows.len() >= count).then(|| {
            let event = |line: &str| serde_json::from_str(line).unwrap();
            rows.iter()
                .map(|row| event(row.get(0)))
                .collect::<Vec<Value>>()
        })
    };
    org.eventually(&format!("{count} events of the system's own"), look)
        .await
}

fn actions(events: &[Value]) -> Vec<&str> {
    let action = |event: &'_ Value| event["action"].as_str().unwrap().to_owned();
    events
        .iter()
        .map(|event| {
            let whole = action(event);
            assert!(whole.starts_with("audit_export."), "{event}");
            &event["action"].as_str().unwrap()["audit_export.".len()..]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_configuration_is_told_and_exported() {
    let world = World::start_with(|config| config.system_events = true).await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let mut claims = tokens::claims(json!({"orgs": {"acme": "admin"}}));
    claims["sub"] = json!("kim@acme.example");
    let kim = tokens::Key::shared().token(&claims);
    let as_kim = |method: &str, path: &str| {
        let path = format!("/orgs/acme/audit-export/{path}");
        let request = world.api.ask(method, &path).token(&kim);
        // Nobody stands before this API who could be believed.
        let request = request.header("x-forwarded-for", "203.0.113.66");
        request.header("user-agent", "a browser")
    };

    as_kim("POST", "config")
        .json(&customer.settings())
        .send()
        .await
        .expect(201);
    acme.wait_for_state("active").await;
    as_kim("POST", "test-connection")
        .json(&json!({
            "bucket": "another-bucket", "region": "eu-central-1", "prefix": "p",
        }))
        .send()
        .await
        .expect(200);
    let changes = json!({"prefix": "audit", "bucketOwner": customer.account});
    let settings = customer.settings_with(changes);
    as_kim("POST", "config")
        .json(&settings)
        .send()
        .await
        .expect(201);
    acme.wait_for_state("active").await;
    customer.break_role();
    acme.ingest(&events(91, 3)).await;
    acme.wait_for_state("paused").await;
    customer.mend_role();
    acme.wait_for_state("active").await;
    let deleted = as_kim("DELETE", "config").send().await;
    assert_eq!(deleted.status, 204);

    let told = own_events(&world, &acme, 9).await;
    assert_eq!(
        actions(&told),
        [
            "config.created",
            "test.succeeded",
            "test.requested",
            "test.failed",
            "config.updated",
            "test.succeeded",
            "delivery.paused",
            "delivery.resumed",
            "config.deleted",
        ]
    );
    let [created, _, requested, _, updated, _, paused, _, deleted] = &told[..] else {
        panic!("{told:?}");
    };
    for event in [created, requested, updated, deleted] {
        assert_eq!(
            event["actor"],
            json!({"type": "user", "id": "kim@acme.example"})
        );
        let from = json!({"location": "127.0.0.1", "userAgent": "a browser"});
        assert_eq!(event["context"], from);
    }
    assert_eq!(
        paused["actor"],
        json!({"type": "system", "id": "audit-export"})
    );
    assert_eq!(paused["metadata"]["code"], "AccessDenied");
    assert_eq!(created["metadata"]["old"], Value::Null);
    assert_eq!(created["metadata"]["new"]["bucket"], customer.bucket_name);
    for (field, old, new) in [
        ("prefix", json!(""), json!("audit")),
        ("bucketOwner", Value::Null, json!(customer.account)),
        ("kmsKeyArn", Value::Null, Value::Null),
        ("compression", json!("gzip"), json!("gzip")),
    ] {
        assert_eq!(updated["metadata"]["old"][field], old, "{field}");
        assert_eq!(updated["metadata"]["new"][field], new, "{field}");
    }
    assert_eq!(
        requested["metadata"]["settings"]["bucket"],
        "another-bucket"
    );
    for event in &told {
        let text = event.to_string();
        assert!(!text.contains(&customer.role_arn), "{text}");
    }

    // They are exported like any other, byte for byte.
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let last = told.last().unwrap()["seq"].as_i64().unwrap();
    acme.wait_until_delivered(&customer, last).await;
    let client = world.database.client().await;
    let sql = "select line from audit_events where org_id = 'acme' and seq <= $1 order by seq";
    let rows = client.query(sql, &[&last]).await.unwrap();
    let recorded: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let objects = customer.bucket().exports("acme");
    let texts: Vec<String> = objects
        .iter()
        .map(|(_, object)| object.unzipped())
        .collect();
    let exported: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    assert_eq!(exported[..recorded.len()], recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_address_is_the_one_that_the_proxy_saw() {
    let world = World::start_with(|config| {
        config.system_events = true;
        config.trusted_proxies = 1;
    })
    .await;
    let acme = world.org("acme").await;
    let settings = world.customer(&acme).settings();
    let save = acme.ask("POST", "/audit-export/config");
    let save = save.header("x-forwarded-for", "203.0.113.66, 198.51.100.7");
    save.json(&settings).send().await.expect(201);
    let told = own_events(&world, &acme, 1).await;
    assert_eq!(told[0]["context"]["location"], "198.51.100.7", "{told:?}");
    attacks::record(
        "forged events",
        "an address in X-Forwarded-For that the client has made up",
        "the log names the address that the operator's own proxy saw, or the connection's",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_hears_nothing_of_another() {
    let world = World::start_with(|config| config.system_events = true).await;
    world.start_worker();
    let (acme, _) = world.active_org("acme").await;
    let beta = world.org("beta").await;
    own_events(&world, &acme, 2).await;
    let client = world.database.client().await;
    let sql = "select count(*) from audit_events where org_id = $1";
    let row = client.query_one(sql, &[&beta.id()]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_does_not_wait_for_an_append_that_takes_long() {
    let world = World::start_with(|config| config.system_events = true).await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let mut client = world.database.client().await;
    let open = client.transaction().await.unwrap();
    let held = "select from org_sequences where org_id = 'acme' for update";
    open.execute(held, &[]).await.unwrap();

    acme.save(customer.settings()).await.expect(201);
    // Nor do others wait for it.
    let beta = world.org("beta").await;
    beta.save(customer.settings()).await.expect(201);
    own_events(&world, &beta, 1).await;
    let other = world.database.client().await;
    let waiting = "select count(*) from system_events where org_id = 'acme'";
    let row = other.query_one(waiting, &[]).await.unwrap();
    assert_eq!(
        row.get::<_, i64>(0),
        1,
        "it is kept until it can be appended"
    );

    open.rollback().await.unwrap();
    assert_eq!(
        actions(&own_events(&world, &acme, 1).await),
        ["config.created"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_writes_such_events() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let forged = json!([{
        "id": "forged", "occurredAt": "2026-01-31T09:00:00Z",
        "action": "audit_export.config.deleted", "actor": {"type": "user", "id": "kim"},
    }]);
    acme.send_array(forged.to_string())
        .await
        .expect_error(422, "invalid_event");
    attacks::record(
        "forged events",
        "an event of the product's that claims to be the system's own",
        "422, the action is reserved",
    );
}
