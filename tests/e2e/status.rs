//! What an admin is told about how delivery stands.

use common::db::export_state::STATUS;
use harness::{World, events::events};
use serde_json::{Value, json};

async fn status(org: &harness::Org<'_>) -> Value {
    org.ask("GET", "/audit-export/status")
        .send()
        .await
        .expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_is_pending_and_since_when() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let sent = events(81, 30);
    acme.ingest(&sent).await;

    let before = status(&acme).await;
    let client = world.database.client().await;
    let sql = "select sum(octet_length(line) + 1)::bigint from audit_events";
    let bytes: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        (
            &before["state"],
            &before["pendingEvents"],
            &before["pendingBytes"]
        ),
        (&json!("not_configured"), &json!(30), &json!(bytes)),
        "{before}"
    );
    assert!(before["oldestPendingAt"].is_string(), "{before}");
    let age = before["oldestPendingAgeSeconds"].as_i64().unwrap();
    assert!((0..60).contains(&age), "{before}");

    acme.save(customer.settings()).await.expect(201);
    let waiting = status(&acme).await;
    assert_eq!(waiting["state"], "awaiting_test", "no worker is there");

    world.start_worker();
    acme.wait_until_delivered(&customer, 30).await;
    let after = status(&acme).await;
    assert_eq!(
        (&after["state"], &after["deliveredSeq"]),
        (&json!("active"), &json!(30))
    );
    for (field, value) in [
        ("pendingEvents", json!(0)),
        ("pendingBytes", json!(0)),
        ("oldestPendingAt", Value::Null),
        ("oldestPendingAgeSeconds", Value::Null),
        ("activeRunId", Value::Null),
        ("stateReason", Value::Null),
        ("nextProbeAt", Value::Null),
        ("lastError", Value::Null),
    ] {
        assert_eq!(after[field], value, "{field}: {after}");
    }
    assert!(after["lastExportedAt"].is_string(), "{after}");
    assert!(after["nextRunAt"].is_string(), "{after}");

    customer.break_role();
    acme.ingest(&events(82, 3)).await;
    acme.wait_for_state("paused").await;
    let paused = status(&acme).await;
    assert_eq!(
        (&paused["state"], &paused["pendingEvents"]),
        (&json!("paused"), &json!(3))
    );
    for field in [
        "stateReason",
        "pausedAt",
        "nextProbeAt",
        "lastError",
        "oldestPendingAt",
    ] {
        assert!(paused[field].is_string(), "{field}: {paused}");
    }
    let reason = paused["stateReason"].as_str().unwrap();
    assert!(reason.contains("s3:PutObject"), "{reason}");
    assert_eq!(acme.config().await["stateReason"], paused["stateReason"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_costs_the_same_whatever_is_pending() {
    let world = World::start().await;
    for (id, count) in [("few", 10), ("many", 20_000)] {
        let org = world.org(id).await;
        for batch in events(83, count).chunks(5_000) {
            org.ingest(batch).await;
        }
        assert_eq!(status(&org).await["pendingEvents"], count);
    }
    // Counted, not timed: the rows of events that Postgres reads for one answer.
    let client = world.database.client().await;
    client.batch_execute("analyze").await.unwrap();
    let sql = STATUS.replace("$1", "'many'");
    let explain = format!("explain (analyze, costs off, timing off, summary off) {sql}");
    let rows = client.query(&explain, &[]).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let of_events = plan.iter().find(|line| line.contains("on audit_events"));
    let of_events = of_events.expect("events are looked at");
    assert!(
        of_events.contains("Index Scan") && of_events.contains("(actual rows=1 loops=1)"),
        "{}",
        plan.join("\n")
    );
}
