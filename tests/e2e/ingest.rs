//! Taking events in: what is refused, what is kept, and how it comes out again.

use harness::{
    World,
    events::{Generator, events, ndjson},
    org::least_event,
};
use serde_json::{Value, json};

const MAX_EVENT_BYTES: usize = 256 * 1024;
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
const MAX_DEPTH: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_sent_again_is_counted_and_the_first_stays() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(1, 6);
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|n| sent[n].clone());

    let array = format!("[{},{},\n {}]", a.json(), b.json(), a.json());
    let answer = acme.send_array(array).await.expect(200);
    assert_eq!(
        answer,
        json!({"accepted": 2, "duplicates": 1, "lastSeq": 2})
    );
    // The same id with something else in it, in the same batch and in another one.
    let text = ndjson(&[c.clone(), d.with_id(&c.id), f.with_id(&a.id), e.clone()]);
    let answer = acme
        .send_ndjson(format!("\n{text}\r\n\n"))
        .await
        .expect(200);
    assert_eq!(
        answer,
        json!({"accepted": 2, "duplicates": 2, "lastSeq": 4})
    );
    let again = acme
        .send_ndjson(ndjson(&[e.clone(), a.clone()]))
        .await
        .expect(200);
    assert_eq!(again, json!({"accepted": 0, "duplicates": 2, "lastSeq": 4}));

    // Another organisation's ids are its own.
    let (beta, beta_customer) = world.active_org("beta").await;
    beta.ingest(std::slice::from_ref(&a)).await;
    acme.wait_until_delivered(&customer, 4).await;
    customer.bucket().must_hold("acme", &[a.clone(), b, c, e]);
    beta.wait_until_delivered(&beta_customer, 1).await;
    beta_customer.bucket().must_hold("beta", &[a]);
}

/// A batch of three whose second event has these members replaced.
fn with_bad(changes: Value) -> Value {
    let mut bad = least_event("bad");
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(bad.as_object_mut().unwrap().remove(name)),
            value => bad[name] = value.clone(),
        }
    }
    json!([least_event("good-1"), bad, least_event("good-2")])
}

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_is_named_and_its_batch_leaves_nothing_behind() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let party = |n: usize| json!({"type": "doc", "id": format!("d-{n}")});
    let cases = [
        ("id", json!({"id": null})),
        ("id", json!({"id": ""})),
        ("id", json!({"id": 7})),
        ("id", json!({"id": "x".repeat(257)})),
        ("occurredAt", json!({"occurredAt": null})),
        ("occurredAt", json!({"occurredAt": "2026-01-31 09:00:00Z"})),
        ("occurredAt", json!({"occurredAt": "2026-02-30T09:00:00Z"})),
        ("occurredAt", json!({"occurredAt": "2026-01-31T09:00:00"})),
        ("action", json!({"action": null})),
        ("action", json!({"action": "audit_export.paused"})),
        ("actor", json!({"actor": null})),
        ("actor", json!({"actor": "somebody"})),
        ("actor.id", json!({"actor": {"type": "user"}})),
        (
            "actor.email",
            json!({"actor": {"type": "user", "id": "1", "email": "a@b"}}),
        ),
        ("targets", json!({"targets": {}})),
        (
            "targets[1].type",
            json!({"targets": [party(0), {"id": "x"}]}),
        ),
        (
            "targets",
            json!({"targets": (0..1_001).map(party).collect::<Vec<_>>()}),
        ),
        ("context.ip", json!({"context": {"ip": "192.0.2.1"}})),
        ("metadata", json!({"metadata": [1]})),
        ("metadata", json!({"metadata": nested(MAX_DEPTH)})),
        ("metadata", json!({"metadata": {"a": "nul \0 nul"}})),
        ("seq", json!({"seq": 1})),
        ("recordedAt", json!({"recordedAt": "2026-01-31T09:00:00Z"})),
        ("orgId", json!({"orgId": "acme"})),
        ("", json!({"metadata": {"a": "x".repeat(MAX_EVENT_BYTES)}})),
    ];
    for (field, changes) in cases {
        let body = with_bad(changes);
        let lines: String = body
            .as_array()
            .unwrap()
            .iter()
            .map(|event| format!("{event}\n"))
            .collect();
        for answer in [
            acme.send_array(body.to_string()).await,
            acme.send_ndjson(lines).await,
        ] {
            let error = answer.expect_error(422, "invalid_event");
            assert_eq!(error["index"], 1, "{error}");
            let sentence = error["error"].as_str().unwrap();
            assert!(sentence.starts_with("event 1: "), "{sentence}");
            if !field.is_empty() {
                assert_eq!(error["field"], field, "{error}");
                assert!(sentence.contains(field), "{sentence}");
            }
        }
    }
    nothing_is_stored(&acme).await;
}

async fn nothing_is_stored(org: &harness::Org<'_>) {
    let first = org
        .send_array(json!([least_event("good-1")]).to_string())
        .await;
    assert_eq!(
        first.expect(200),
        json!({"accepted": 1, "duplicates": 0, "lastSeq": 1})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_is_refused_as_a_whole() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let good = least_event("good-1").to_string();
    let raw_nul = good.replace("user.login", "user\0login");
    let half_pair = good.replace("user.login", r"user\ud800");
    for (body, status, code) in [
        (String::new(), 400, "invalid_json"),
        ("[]".into(), 422, "empty_batch"),
        ("{}".into(), 422, "invalid_request"),
        ("7".into(), 422, "invalid_request"),
        (format!("[{good}"), 400, "invalid_json"),
        (format!("[{good},]"), 400, "invalid_json"),
        (format!("[{good}] x"), 400, "invalid_json"),
        (format!("[{good}][{good}]"), 400, "invalid_json"),
        (format!("[{raw_nul}]"), 400, "invalid_json"),
        (format!("[{half_pair}]"), 422, "invalid_event"),
        ("[7]".into(), 422, "invalid_event"),
    ] {
        acme.send_array(body).await.expect_error(status, code);
    }
    for (body, status, code) in [
        (" \n\n".into(), 422, "empty_batch"),
        (format!("{good}\n{{"), 400, "invalid_json"),
        (format!("{good} {good}"), 400, "invalid_json"),
        (format!("[{good}]"), 422, "invalid_event"),
    ] {
        acme.send_ndjson(body).await.expect_error(status, code);
    }
    let token = harness::tokens::platform("audit-events:write");
    let ask = || {
        world
            .api
            .ask("POST", "/orgs/acme/audit-events")
            .token(&token)
    };
    let not_utf8 = ask()
        .body("application/json", b"[\"\xff\"]".to_vec())
        .send()
        .await;
    not_utf8.expect_error(400, "invalid_json");
    let zipped = ask()
        .header("content-encoding", "gzip")
        .body("application/json", good.clone());
    zipped
        .send()
        .await
        .expect_error(415, "unsupported_media_type");
    ask()
        .body("text/plain", good)
        .send()
        .await
        .expect_error(415, "unsupported_media_type");
    nothing_is_stored(&acme).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_where_they_are_said_to_be() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    acme.send_ndjson(ndjson(&events(1, 10_001)))
        .await
        .expect_error(413, "too_many_events");
    let too_large = " ".repeat(MAX_BODY_BYTES + 1);
    acme.send_ndjson(too_large)
        .await
        .expect_error(413, "payload_too_large");
    nothing_is_stored(&acme).await;

    acme.ingest(&events(1, 10_000)).await;
    let mut whole_body = ndjson(
        &Generator::new(2)
            .bytes(1_500)
            .take(5_000)
            .collect::<Vec<_>>(),
    );
    whole_body += &" ".repeat(MAX_BODY_BYTES - whole_body.len());
    assert_eq!(
        acme.send_ndjson(whole_body).await.expect(200)["accepted"],
        5_000
    );

    // Its size without seq and recordedAt, and with orgId.
    let mut event = least_event("large");
    event["metadata"] = json!({"a": ""});
    let rest = event.to_string().len() - 1 + r#""orgId":"acme","#.len();
    event["metadata"] = json!({"a": "x".repeat(MAX_EVENT_BYTES - rest)});
    assert_eq!(
        acme.send_array(json!([event]).to_string())
            .await
            .expect(200)["accepted"],
        1
    );
    event["id"] = json!("larger");
    acme.send_array(json!([event]).to_string())
        .await
        .expect_error(422, "invalid_event");

    let mut event = least_event("deep");
    event["metadata"] = nested(MAX_DEPTH - 1);
    assert_eq!(
        acme.send_array(json!([event]).to_string())
            .await
            .expect(200)["accepted"],
        1
    );
    let longest_id = json!([least_event(&"x".repeat(256))]);
    assert_eq!(
        acme.send_array(longest_id.to_string()).await.expect(200)["accepted"],
        1
    );
}

/// Events as they are sent, with liberties, and what has to come out after `recordedAt`.
const LITERAL: [(&str, &str, &str); 5] = [
    (
        r#" { "metadata" : { "z" : 1.0 , "a" : 1e400, "a2":-0 } , "actor" : { "id" : "1", "type":"u" },
        "action":"a.b", "id" : "lit-1" , "occurredAt":"2026-01-31T09:00:00.000000001+01:00"} "#,
        r#""id":"lit-1","orgId":"acme","occurredAt":"2026-01-31T09:00:00.000000001+01:00""#,
        r#","action":"a.b","actor":{"id":"1","type":"u"},"metadata":{"z":1.0,"a":1e400,"a2":-0}}"#,
    ),
    (
        r#"{"id":"l\u0069t-2","occurredAt":"2026-01-31T09:00:00Z","action":"\u0061.\/","actor":{"type":"\ud83d\ude00","id":"é\u00e9","name":null}}"#,
        r#""id":"l\u0069t-2","orgId":"acme","occurredAt":"2026-01-31T09:00:00Z""#,
        r#","action":"\u0061.\/","actor":{"type":"\ud83d\ude00","id":"é\u00e9","name":null}}"#,
    ),
    (
        r#"{"id":"lit-3","occurredAt":"2026-01-31T09:00:00z","action":"a","actor":{"type":"u","id":"1"},"targets":null,"context":null,"metadata":null}"#,
        r#""id":"lit-3","orgId":"acme","occurredAt":"2026-01-31T09:00:00z""#,
        r#","action":"a","actor":{"type":"u","id":"1"},"targets":null,"context":null,"metadata":null}"#,
    ),
    (
        "{\"id\":\"lit-4\",\"occurredAt\":\"2026-01-31T09:00:00Z\",\"action\":\" a \\n \",\"actor\":{\"type\":\"u\",\"id\":\"1\"},\"metadata\":{\"b\":[1.10,\t12345678901234567890123, {}],\"b\":2,\"\":\" \"}}",
        r#""id":"lit-4","orgId":"acme","occurredAt":"2026-01-31T09:00:00Z""#,
        r#","action":" a \n ","actor":{"type":"u","id":"1"},"metadata":{"b":[1.10,12345678901234567890123,{}],"b":2,"":" "}}"#,
    ),
    (
        r#"{"id":"lit-5","occurredAt":"2026-01-31T09:00:00Z","action":"a","actor":{"type":"u","id":"1"},"metadata":{"nul":"\\u0000 is text"},"context":{},"targets":[]}"#,
        r#""id":"lit-5","orgId":"acme","occurredAt":"2026-01-31T09:00:00Z""#,
        r#","action":"a","actor":{"type":"u","id":"1"},"targets":[],"context":{},"metadata":{"nul":"\\u0000 is text"}}"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_come_out_byte_for_byte() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let array = LITERAL.map(|(sent, ..)| sent).join(",");
    acme.send_array(format!("[{array}]")).await.expect(200);
    acme.wait_until_delivered(&customer, 5).await;

    for (n, exported) in customer.bucket().events("acme").iter().enumerate() {
        let (_, head, tail) = LITERAL[n];
        let (seq, recorded_at) = (n + 1, exported.recorded_at());
        let expected = format!(r#"{{"seq":{seq},{head},"recordedAt":"{recorded_at}"{tail}"#);
        assert_eq!(exported.line, expected);
        let time: jiff::Timestamp = recorded_at.parse().unwrap();
        assert!(recorded_at.ends_with('Z') && time <= jiff::Timestamp::now());
    }
}
