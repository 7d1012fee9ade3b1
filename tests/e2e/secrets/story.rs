//! What happens while everything is looked at.

use std::time::Duration;

use common::queue::topology;
use harness::{
    Customer, Event, Org, World,
    api::Api,
    broker::{Message, OtherProgram},
    eventually,
    org::least_event,
    process::free_port,
    tokens,
    world::{PRINCIPAL_ARN, SECRET_ACCESS_KEY},
};
use lapin::BasicProperties;
use local_aws::CallRecord;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use super::search::Secrets;

const DATABASE_PASSWORD: &str = "password-of-the-database";
const BROKER_PASSWORD: &str = "password-of-the-broker";
/// A role that is nobody's.
const FOREIGN_ROLE: &str = "arn:aws:iam::210987654321:role/security-team/log-archive-writer";
/// Stands in events: they are nobody's business, either.
const ACTOR: &str = "the name of somebody who did something";
/// What every token begins with: `{"` in base64.
const TOKEN: &str = "eyJ";
/// Of every signed request.
const SIGNATURE: &str = "AWS4-HMAC-SHA256";
const SILENCE: Duration = Duration::from_secs(2);

/// Plays it with both programs as processes that log all they can, and looks at all that comes out.
pub(super) async fn tell(log_format: &str, large: &[Event]) {
    let mut world = World::start().await;
    let database_url = with_password(world.database.url(), DATABASE_PASSWORD);
    let amqp_url = world.broker.add_user(BROKER_PASSWORD).await;
    let [listen, of_api, of_worker] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let settings = |admin| {
        [
            ("DATABASE_URL", database_url.as_str()),
            ("AMQP_URL", amqp_url.as_str()),
            ("AUDIT_EXPORT_ADMIN_LISTEN", admin),
            ("AUDIT_EXPORT_LOG_FORMAT", log_format),
            ("RUST_LOG", "trace"),
        ]
    };
    let mut of_the_api = settings(&of_api).to_vec();
    of_the_api.push(("AUDIT_EXPORT_LISTEN", &listen));
    let (mut api, client) = world.spawn_api(&of_the_api).await;
    world.api = client;
    let mut worker = world.spawn_worker(&settings(&of_worker));

    let mut secrets = Secrets::default();
    for secret in [
        DATABASE_PASSWORD,
        BROKER_PASSWORD,
        tokens::SECRET,
        SECRET_ACCESS_KEY,
        FOREIGN_ROLE,
        "security-team/log-archive-writer",
        ACTOR,
        SIGNATURE,
        "x-amz-security-token",
    ] {
        secrets.add(secret);
    }
    let admins = [&of_api, &of_worker].map(|address| Api::new(format!("http://{address}")));
    for client in admins.iter().chain([&world.api]) {
        secrets
            .iter()
            .for_each(|secret| client.must_never_show(secret));
        client.must_never_show(TOKEN);
    }
    for admin in &admins {
        admin.wait_until_ready().await;
    }

    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    let mut jobs = program.jobs().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let (_, path_and_name) = customer.role_arn.split_once(":role/").unwrap();
    let (arn, account) = (customer.role_arn.as_str(), customer.account.as_str());
    for part in [arn, account, path_and_name] {
        secrets.add(part);
        world.api.must_never_show(part);
    }

    deliver(&world, &acme, &customer, large).await;
    for secret in world.aws.session_secrets() {
        secrets.add(&secret);
        world.api.must_never_show(&secret);
    }
    fail_tests(&acme, &customer).await;
    break_destination(&acme, &customer).await;
    // Before nonsense is among them.
    let mut messages = jobs.rest(SILENCE).await;
    messages.extend(submit_nonsense(&acme, &program).await);
    ask_nonsense(&world, &acme, &listen).await;
    for admin in &admins {
        for path in ["/healthz", "/readyz", "/metrics"] {
            // Whatever is served: the client fails where it holds a secret.
            admin.ask("GET", path).send().await;
        }
    }
    wait_for(|| worker.log(), "the message is stale").await;
    wait_for(|| api.log(), "a connection broke").await;
    messages.extend(outcomes.rest(SILENCE).await);
    worker.terminate().await;
    api.terminate().await;

    for secret in world.aws.session_secrets() {
        secrets.add(&secret);
    }
    for message in &messages {
        let reason = message.reason.as_deref().unwrap_or_default();
        secrets.must_not_be_in("a message", &format!("{} {reason}", message.body));
    }
    let kinds = [
        "run.succeeded",
        "run.failed",
        "test.succeeded",
        "test.failed",
    ];
    for kind in kinds {
        let told = messages.iter().any(|message| message.body["type"] == kind);
        assert!(told, "no {kind} in {messages:?}");
    }
    secrets.add(TOKEN);
    for (program, log) in [
        ("the API's log", api.log()),
        ("the worker's log", worker.log()),
    ] {
        assert!(log.contains("DEBUG"), "{program} is not at trace level");
        secrets.must_not_be_in(program, &log);
    }
}

fn with_password(url: &str, password: &str) -> String {
    let mut url: reqwest::Url = url.parse().unwrap();
    url.set_password(Some(password)).unwrap();
    url.into()
}

async fn wait_for(log: impl Fn() -> String, text: &str) {
    let look = || std::future::ready(log().contains(text).then_some(()));
    eventually(&format!("the log says: {text}"), look).await;
}

/// An event that tells on somebody.
fn telling_event(id: &str) -> Value {
    let mut event = least_event(id);
    event["actor"]["name"] = json!(ACTOR);
    event
}

/// A passing test and deliveries.
async fn deliver(world: &World, acme: &Org<'_>, customer: &Customer, large: &[Event]) {
    for batch in large.chunks(4_000) {
        acme.ingest(batch).await;
    }
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let seq = i64::try_from(large.len()).unwrap() + 1;
    let event = telling_event("first").to_string();
    acme.send_ndjson(event).await.expect(200);
    acme.wait_until_delivered(customer, seq).await;
    assert_eq!(acme.test().await.expect(200)["success"], true);
    let of_events = |call: &CallRecord| {
        let key = call.key.as_deref().unwrap_or_default();
        call.operation == "UploadPart" && key.contains("org_id=")
    };
    assert_eq!(world.aws.calls().iter().any(of_events), !large.is_empty());
}

/// Tests that fail, each for another reason.
async fn fail_tests(acme: &Org<'_>, customer: &Customer) {
    let must_fail = async |changes: Value| {
        let result = acme.test_of(customer.settings_with(changes)).await;
        let result = result.expect(200);
        assert_eq!(result["success"], false, "{result}");
    };
    must_fail(json!({"roleArn": FOREIGN_ROLE})).await;
    must_fail(json!({"bucket": "no-such-bucket-of-theirs"})).await;
    must_fail(json!({"region": "us-east-1"})).await;
    customer.set_trust(customer.trust(PRINCIPAL_ARN, &json!({})));
    must_fail(json!({})).await;
    customer.set_trust(customer.trust("arn:aws:iam::999999999999:root", &json!({})));
    must_fail(json!({})).await;
    customer.set_trust(customer.good_trust());
    customer.break_role();
    must_fail(json!({})).await;
    customer.mend_role();
}

/// Delivery to a destination that has begun to refuse.
async fn break_destination(acme: &Org<'_>, customer: &Customer) {
    customer.break_role();
    let event = telling_event("second").to_string();
    acme.send_ndjson(event).await.expect(200);
    let config = acme.wait_for_state("paused").await;
    assert!(config["lastError"].is_string(), "{config}");
    let refused = acme.ask("POST", "/audit-export/runs").send().await;
    refused.expect_error(409, "not_active");
    for run in acme.runs().await {
        acme.run(run["id"].as_str().unwrap()).await;
    }
}

/// Messages that are not jobs, and a stale one. Returns the dead letters, without the bodies: what
/// their sender wrote is the sender's.
async fn submit_nonsense(acme: &Org<'_>, program: &OtherProgram) -> Vec<Message> {
    let run = Uuid::now_v7();
    let mut dead = Vec::new();
    for body in [
        FOREIGN_ROLE.to_owned(),
        json!(FOREIGN_ROLE).to_string(),
        json!({"type": FOREIGN_ROLE}).to_string(),
        json!({"type": "export", "version": FOREIGN_ROLE}).to_string(),
        json!({"type": "export", "version": 1, "orgId": FOREIGN_ROLE, "runId": run}).to_string(),
        json!({"type": "export", "version": 1, "orgId": "acme", "runId": FOREIGN_ROLE}).to_string(),
    ] {
        let key = topology::EXPORT.routing_key;
        let none = BasicProperties::default();
        program.publish(key, body.as_bytes(), none).await;
        let letter = program.dead_letter().await;
        assert!(letter.reason.is_some(), "{letter:?}");
        dead.push(Message {
            body: Value::Null,
            ..letter
        });
    }
    let runs = acme.runs().await;
    let ended = runs
        .iter()
        .find(|run| run["status"] == "succeeded")
        .unwrap();
    let stale = json!({"type": "export", "version": 1, "orgId": "acme", "runId": ended["id"]});
    program.submit(topology::EXPORT.routing_key, &stale).await;
    dead
}

/// Requests that are refused.
async fn ask_nonsense(world: &World, acme: &Org<'_>, listen: &str) {
    let of_acme = || json!({"orgs": {"acme": "admin"}});
    let good = tokens::member_of("acme", "admin");
    let mut expired = of_acme();
    expired["exp"] = json!(tokens::seconds_from_now(-3_600));
    let another_key = tokens::Key::secret("another secret, also of 32 bytes or more");
    for token in [
        another_key.token(&tokens::claims(of_acme())),
        tokens::Key::shared().token(&tokens::claims(expired)),
        format!("{good}x"),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ] {
        let ask = world.api.ask("GET", "/orgs/acme/audit-export/config");
        assert_eq!(ask.token(&token).send().await.status, 401);
    }
    let mut bad_time = telling_event("third");
    bad_time["occurredAt"] = json!(FOREIGN_ROLE);
    let mut bad_actor = telling_event("third");
    bad_actor["actor"]["type"] = json!([ACTOR]);
    let cut_off = telling_event("third").to_string();
    let cut_off = cut_off.trim_end_matches('}').to_owned();
    for events in [bad_time.to_string(), bad_actor.to_string(), cut_off] {
        let answer = acme.send_ndjson(events).await;
        assert!([400, 422].contains(&answer.status), "{}", answer.text);
    }
    let misplaced =
        json!({"bucket": FOREIGN_ROLE, "region": "eu-central-1", "roleArn": FOREIGN_ROLE});
    acme.save(misplaced)
        .await
        .expect_error(422, "invalid_request");
    let query = format!("/audit-export/runs?limit={FOREIGN_ROLE}&access_token={good}");
    assert_eq!(acme.ask("GET", &query).send().await.status, 422);

    // Not HTTP.
    let mut stream = TcpStream::connect(listen).await.unwrap();
    let nonsense = format!("Authorization: Bearer {good}\r\n\r\n");
    stream.write_all(nonsense.as_bytes()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}
