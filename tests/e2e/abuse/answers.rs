//! What every answer has, and what none tells. The harness looks at each answer of each test; here are
//! those that hardly any other test gets.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{
    World,
    api::{Answer, Api, Request},
    attacks, broker,
    events::{events, ndjson},
    faults::tcp::TcpProxy,
    org::least_event,
    tokens, within,
};
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::limits::configured;

/// What a request is that each route takes: method, path after the organisation, body.
fn requests(settings: &Value) -> [(&'static str, &'static str, Option<Value>); 7] {
    [
        ("GET", "/audit-export/config", None),
        ("POST", "/audit-export/config", Some(settings.clone())),
        ("DELETE", "/audit-export/config", None),
        ("POST", "/audit-export/test-connection", None),
        ("GET", "/audit-export/runs", None),
        ("POST", "/audit-export/runs", None),
        // Another one each time: what is known already is not stored.
        (
            "POST",
            "/audit-events",
            Some(json!([least_event(&Uuid::new_v4().to_string())])),
        ),
    ]
}

/// Asks everything of an organisation that does exist.
async fn ask_all(api: &Api, settings: &Value) -> Vec<Answer> {
    let all = json!({"orgs": {"acme": "owner"}, "scope": "orgs:write audit-events:write"});
    let token = tokens::Key::shared().token(&tokens::claims(all));
    let asking = requests(settings).map(|(method, path, body)| {
        let ask = api.ask(method, &format!("/orgs/acme{path}")).token(&token);
        match body {
            Some(body) => ask.json(&body),
            None => ask,
        }
    });
    join_all(asking.map(Request::send)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_inside_is_told_to_the_log_alone() {
    let world = World::start().await;
    let acme = configured(&world, "acme").await;
    let settings = world.customer(&acme).settings();
    let (process, api) = world
        .spawn_api(&[("AUDIT_EXPORT_LOG_FORMAT", "json")])
        .await;
    let client = world.database.client().await;

    // What Postgres says of itself, and what somebody may have written into it.
    let fault = "create function fault() returns trigger language plpgsql as
        $$ begin raise exception 'select secret from /usr/share/postgresql'; end $$;
        create trigger fault before insert or update or delete on export_configs
            for each statement execute function fault();";
    client.batch_execute(fault).await.unwrap();
    let token = tokens::member_of("acme", "admin");
    let id = "support-case:4711_a.b";
    let save = api
        .ask("POST", "/orgs/acme/audit-export/config")
        .token(&token);
    let answer = save.header("x-request-id", id).json(&settings).send().await;
    answer.expect_error(500, "internal");
    assert_eq!(answer.header("x-request-id"), id);
    let line = || std::future::ready(line_of(&process.log(), id));
    let line = within(Duration::from_secs(5), line)
        .await
        .expect("a line in the log");
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(line["error"].as_str().unwrap().contains("P0001"), "{line}");

    client
        .batch_execute("drop trigger fault on export_configs")
        .await
        .unwrap();
    for table in [
        "export_runs",
        "connection_tests",
        "export_configs",
        "audit_events",
    ] {
        let rename = format!("alter table {table} rename to away");
        client.batch_execute(&rename).await.unwrap();
        let answers = ask_all(&api, &settings).await;
        let internal = answers.iter().filter(|answer| answer.status == 500);
        let mut failed = 0;
        for answer in internal {
            answer.expect_error(500, "internal");
            let id = answer.header("x-request-id");
            assert!(
                line_of(&process.log(), id).is_some(),
                "{id} is not in the log"
            );
            failed += 1;
        }
        assert!(failed > 0, "nothing needs {table}");
        let back = format!("alter table away rename to {table}");
        client.batch_execute(&back).await.unwrap();
    }
    attacks::record(
        "abuse",
        "statements that Postgres refuses, with SQL and paths in its words",
        "500 internal; only the log has them, under the X-Request-Id",
    );
}

/// The line of an error that has this request's id.
fn line_of(log: &str, id: &str) -> Option<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["span"]["id"] == id && line["level"] == "ERROR")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_are_not_named() {
    let database = harness::required("DATABASE_URL").parse::<Url>().unwrap();
    let address = database.socket_addrs(|| Some(5432)).unwrap()[0];
    let (postgres, rabbitmq) = (
        TcpProxy::start(address).await,
        TcpProxy::start(broker::address()).await,
    );
    let world = World::start_with(|config| {
        config.database_url = postgres.url(config.database_url.expose_secret()).into();
        config.amqp_url = rabbitmq.url(config.amqp_url.expose_secret()).into();
    })
    .await;
    let acme = configured(&world, "acme").await;
    let settings = world.customer(&acme).settings();

    rabbitmq.refuse(true).await;
    let test = || async { Some(acme.test().await).filter(|answer| answer.status == 503) };
    let test = harness::eventually("the broker is missed", test).await;
    test.expect_error(503, "broker_unavailable");

    // In the middle of a statement.
    let mut holder = world.database.client().await;
    let held = holder.transaction().await.unwrap();
    let lock = "select from org_sequences where org_id = 'acme' for update";
    held.execute(lock, &[]).await.unwrap();
    let cut = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        postgres.refuse(true).await;
    };
    let (ingest, ()) = tokio::join!(acme.send_ndjson(ndjson(&events(1, 1))), cut);
    ingest.expect_error(503, "database_unavailable");
    held.rollback().await.unwrap();

    for answer in ask_all(&world.api, &settings).await {
        answer.expect_error(503, "database_unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    attacks::record(
        "abuse",
        "Postgres or RabbitMQ cut off, also in the middle of a statement",
        "503 with Retry-After; no address, no cause",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_is_let_in() {
    let world = World::start().await;
    world.org("acme").await;
    let token = tokens::member_of("acme", "admin");
    let path = "/orgs/acme/audit-export/config";
    let preflight = world
        .api
        .ask("OPTIONS", path)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
        .send()
        .await;
    preflight.expect_error(405, "method_not_allowed");
    let get = world.api.ask("GET", path).token(&token);
    let get = get.header("origin", "https://evil.example").send().await;
    // The harness refuses every answer that has a header of CORS.
    get.expect_error(404, "not_configured");
    attacks::record(
        "abuse",
        "a page of another origin asks for it",
        "405 to the preflight; no header of CORS on any answer",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_that_is_no_trick() {
    let world = World::start().await;
    let ask = async |path: &str, id: &[u8]| {
        let url = format!("http://{}{path}", world.api.address());
        let ask = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(url);
        let answer = ask.header("x-request-id", id).send().await.unwrap();
        answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let longest = "x".repeat(128);
    for id in [
        "a",
        "support-case:4711",
        "0af7651916cd43dd.8448_eb",
        &longest,
    ] {
        for path in [
            "/openapi.json",
            "/nowhere",
            "/orgs/acme/audit-export/config",
        ] {
            assert_eq!(ask(path, id.as_bytes()).await, id);
        }
    }
    let too_long = "x".repeat(129);
    for id in [
        "",
        "a b",
        "a\"b",
        "a\tb",
        "level=ERROR",
        "ä",
        "{\"a\":1}",
        "a,b",
        &too_long,
    ] {
        let made = ask("/nowhere", id.as_bytes()).await;
        assert!(made.parse::<Uuid>().is_ok(), "{id:?}: {made}");
    }
    attacks::record(
        "abuse",
        "a request id that would look like something else in the log",
        "a new one is made",
    );
}
