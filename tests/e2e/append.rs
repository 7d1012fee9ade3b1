//! Appending by SQL, from transactions of the vendor's own: nothing is skipped, order is kept.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use harness::{
    Event, World,
    database::append,
    events::{Generator, events, ndjson},
    org::least_event,
};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::json;

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::json).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_http_append_to_one_sequence_the_same_way() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(1, 300);
    let mut client = world.database.client().await;
    assert_eq!(
        append(&client, "acme", &texts(&sent[..100])).await.unwrap(),
        100
    );
    acme.ingest(&sent[100..200]).await;
    let tx = client.transaction().await.unwrap();
    // Two of them were seen before.
    assert_eq!(
        append(&tx, "acme", &texts(&sent[198..])).await.unwrap(),
        100
    );
    tx.commit().await.unwrap();
    acme.wait_until_delivered(&customer, 300).await;
    customer.bucket().must_hold("acme", &sent);
}

/// White space inside values stays: only raw line breaks go, so that an event is one line.
/// Events that come one by one take another way than those of a batch, to the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_alone_are_treated_like_those_of_a_batch() {
    let world = World::start().await;
    let (alone, batch) = (world.org("alone").await, world.org("batch").await);
    let mut sent = events(11, 12);
    // Another event under a known id, next to the first one and later.
    sent.insert(3, sent[9].with_id(sent[2].id.clone()));
    sent.push(sent[8].with_id(sent[0].id.clone()));
    let whole = batch.send_ndjson(ndjson(&sent)).await.expect(200);
    assert_eq!(
        whole,
        json!({"accepted": 12, "duplicates": 2, "lastSeq": 12})
    );
    let mut seen = BTreeSet::new();
    for event in &sent {
        let is_new = seen.insert(event.id.clone());
        let answer = alone.send_ndjson(event.json()).await.expect(200);
        let (accepted, duplicates) = (u8::from(is_new), u8::from(!is_new));
        assert_eq!(
            answer,
            json!({"accepted": accepted, "duplicates": duplicates, "lastSeq": seen.len()})
        );
    }
    let client = world.database.client().await;
    let sql = r#"
        select (select json_agg(json_build_array(
                           seq, event_id, occurred_at, end_bytes,
                           regexp_replace(replace(line, $1, 'ORG'),
                                          '"recordedAt":"[^"]*"', '')) order by seq)
                  from audit_events where org_id = $1)::text,
               (select json_agg(event_id order by event_id)
                  from audit_event_ids where org_id = $1)::text,
               next_seq, total_bytes
          from org_sequences where org_id = $1"#;
    let mut rows = Vec::new();
    for org in [&alone, &batch] {
        let row = client.query_one(sql, &[&org.id()]).await.unwrap();
        let texts: [String; 2] = [0_usize, 1].map(|n| row.get(n));
        rows.push((texts, row.get::<_, i64>(2), row.get::<_, i64>(3)));
    }
    assert_eq!(rows[0], rows[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sql_appends_comes_out_byte_for_byte() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let event = "{ \"metadata\" : {\"z\": 1.0,\n\t\"a\":1e400, \"b\":[-0, 123456789012345678901234567890]},\r\n \"actor\":{\"type\":\"u\",\"id\":\"\\u00e9\\/\"},\"action\":\"a.b\",\"occurredAt\":\"2026-01-31T09:00:00.5+01:00\",\"id\":\"lit\"}";
    let client = world.database.client().await;
    append(&client, "acme", &[event.into()]).await.unwrap();
    acme.wait_until_delivered(&customer, 1).await;
    let exported = customer.bucket().events("acme").remove(0);
    let recorded_at = exported.recorded_at();
    assert_eq!(
        exported.line,
        format!(
            "{{\"seq\":1,\"id\":\"lit\",\"orgId\":\"acme\",\"occurredAt\":\"2026-01-31T09:00:00.5+01:00\",\"recordedAt\":\"{recorded_at}\",\"action\":\"a.b\",\"actor\":{{\"type\":\"u\",\"id\":\"\\u00e9\\/\"}},\"metadata\":{{\"z\": 1.0,\t\"a\":1e400, \"b\":[-0, 123456789012345678901234567890]}}}}"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_refuses_what_could_not_be_exported() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let client = world.database.client().await;
    let good = least_event("good").to_string();
    let changed = |name: &str, value: serde_json::Value| {
        let mut event = least_event("bad");
        event[name] = value;
        event.to_string()
    };
    let unknown_org = append(&client, "nobody", std::slice::from_ref(&good))
        .await
        .unwrap_err();
    assert_eq!(unknown_org.code().unwrap().code(), "AE001");
    for bad in [
        String::new(),
        "[]".into(),
        "7".into(),
        "{".into(),
        "{}".into(),
        format!("{good} x"),
        good.replace("good", r"\u0000"),
        good.replace(r#""id":"#, r#""id":"other","id":"#),
        changed("id", json!("")),
        changed("occurredAt", json!("yesterday")),
        changed("occurredAt", json!("2026-02-30T00:00:00Z")),
        changed("action", json!("audit_export.paused")),
        changed("actor", json!({"type": "user"})),
        changed("seq", json!(7)),
        changed("orgId", json!("beta")),
        changed("metadata", json!({"a": "x".repeat(256 * 1024)})),
    ] {
        let batch = [good.clone(), bad.clone()];
        match append(&client, "acme", &batch).await {
            Ok(accepted) => panic!("{accepted} accepted: {bad}"),
            Err(error) => {
                let error = error.as_db_error().unwrap();
                assert_eq!(error.code().code(), "AE002", "{bad}: {error}");
                assert!(error.message().starts_with("event 1: "), "{bad}: {error}");
            }
        }
    }
    // Nothing of any of these batches is there, and no number is lost.
    let first = acme.send_array(format!("[{good}]")).await.expect(200);
    assert_eq!(first, json!({"accepted": 1, "duplicates": 0, "lastSeq": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_up_its_organisation_only() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let (beta, beta_customer) = world.active_org("beta").await;
    let sent = events(2, 30);
    let mut client = world.database.client().await;
    let tx = client.transaction().await.unwrap();
    append(&tx, "acme", &texts(&sent[..10])).await.unwrap();

    let busy = acme.send_ndjson(ndjson(&sent[10..20])).await;
    busy.expect_error(503, "org_busy");
    assert!(!busy.header("retry-after").is_empty());
    // An export now does not wait for it, and does not run ahead of it.
    let run = acme.export_now().await;
    assert_eq!(
        (&run["status"], &run["events"]),
        (&json!("succeeded"), &json!(0))
    );
    beta.ingest(&sent).await;
    beta.wait_until_delivered(&beta_customer, 30).await;

    tx.commit().await.unwrap();
    acme.ingest(&sent[10..]).await;
    acme.wait_until_delivered(&customer, 30).await;
    customer.bucket().must_hold("acme", &sent);
}

/// The classic fault of such systems: a number is given out, its transaction commits late, and the
/// reader has passed by.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_and_slow_transactions_lose_nothing() {
    let world = Arc::new(World::start().await);
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..3 {
        let world = world.clone();
        writers.spawn(async move { slow_writer(&world, n).await });
    }
    for n in 10..14 {
        let world = world.clone();
        writers.spawn(async move { http_writer(&world, n).await });
    }
    let mut committed = Vec::new();
    while let Some(ids) = writers.join_next().await {
        committed.extend(ids.unwrap());
    }
    acme.wait_until_delivered(&customer, committed.len().try_into().unwrap())
        .await;

    let exported = customer.bucket().events("acme");
    let mut ids: Vec<_> = exported.iter().map(harness::bucket::Exported::id).collect();
    assert!(
        customer.bucket().exports("acme").len() > 3,
        "it was exported meanwhile"
    );
    ids.sort();
    committed.sort();
    assert_eq!(ids, committed);
    customer.nothing_was_rewritten();
}

/// Appends in transactions that stay open for a while, some of which are rolled back.
async fn slow_writer(world: &World, n: u64) -> Vec<String> {
    let mut client = world.database.client().await;
    let mut committed = Vec::new();
    let mut events = Generator::new(n);
    for round in 0..6 {
        let batch: Vec<_> = events.by_ref().take(10).collect();
        let tx = client.transaction().await.unwrap();
        append(&tx, "acme", &texts(&batch[..5])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100 + 150 * n)).await;
        append(&tx, "acme", &texts(&batch[5..])).await.unwrap();
        if round % 3 == 2 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            committed.extend(batch.into_iter().map(|event| event.id));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    committed
}

/// Sends batches, each until it is taken.
async fn http_writer(world: &World, n: u64) -> Vec<String> {
    let token = harness::tokens::platform("audit-events:write");
    let mut events = Generator::new(n);
    let mut committed = Vec::new();
    for _ in 0..15 {
        let batch: Vec<_> = events.by_ref().take(20).collect();
        let send = || async {
            let ask = world
                .api
                .ask("POST", "/orgs/acme/audit-events")
                .token(&token);
            let answer = ask
                .body("application/x-ndjson", ndjson(&batch))
                .send()
                .await;
            match answer.status {
                503 => None,
                _ => Some(answer.expect(200)),
            }
        };
        let answer = harness::eventually("a batch is taken", send).await;
        assert_eq!(answer["accepted"], 20, "{answer}");
        committed.extend(batch.into_iter().map(|event| event.id));
    }
    committed
}

/// The start of the UTC day that many days from now.
fn day(days: i32) -> Timestamp {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = today.checked_add(days.days()).unwrap();
    day.to_zoned(TimeZone::UTC).unwrap().timestamp()
}

async fn set_last_time(client: &tokio_postgres::Client, time: Timestamp) {
    let sql = "update org_sequences set last_recorded_at = $1 where org_id = 'acme'";
    assert_eq!(client.execute(sql, &[&time]).await.unwrap(), 1);
}

/// Clocks go back, and transactions begin long before they append; the sequence goes by neither.
#[tokio::test(flavor = "multi_thread")]
async fn days_never_run_backwards_and_no_object_spans_two() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let sent = events(3, 100);
    let client = world.database.client().await;
    let midnight = day(3);
    let eve = midnight - 1.microsecond();

    // A transaction begins before midnight, by the sequence's clock, and appends after it.
    let mut slow = world.database.client().await;
    let tx = slow.transaction().await.unwrap();
    tx.query_one("select now()", &[]).await.unwrap();
    set_last_time(&client, eve).await;
    acme.ingest(&sent[..40]).await;
    set_last_time(&client, midnight).await;
    acme.ingest(&sent[40..70]).await;
    append(&tx, "acme", &texts(&sent[70..])).await.unwrap();
    tx.commit().await.unwrap();

    world.start_worker();
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    acme.wait_until_delivered(&customer, 100).await;

    customer.bucket().must_hold("acme", &sent);
    let date = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let exports: Vec<_> = customer
        .bucket()
        .exports("acme")
        .into_iter()
        .map(|(parts, _)| (parts.date, parts.first_seq, parts.last_seq))
        .collect();
    assert_eq!(exports, [(date(eve), 1, 40), (date(midnight), 41, 100)]);
    let runs = acme.runs().await;
    let both = runs
        .iter()
        .find(|run| run["objectCount"] == 2)
        .expect("one run has both");
    assert_eq!(
        (&both["firstSeq"], &both["lastSeq"]),
        (&json!(1), &json!(100))
    );
}
