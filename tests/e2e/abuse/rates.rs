//! Who asks too often is told when to come again, and costs nobody anything.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use harness::{World, api::Answer, attacks, tokens};
use serde_json::{Value, json};

use crate::limits::configured;

const TESTS: u32 = 2;
const RUNS: u32 = 1;
/// What the limits allow again after one of them is used up: half a minute, and a minute.
const WAITS: (u64, u64) = (60 / TESTS as u64, 60 / RUNS as u64);

async fn world() -> World {
    World::start_with(|config| {
        config.limits.tests_per_minute = TESTS;
        config.limits.runs_per_minute = RUNS;
        // No worker answers: whether a test was begun is all that matters here.
        config.test_timeout_seconds = 1;
    })
    .await
}

/// An admin of these organisations with a name of his or her own.
fn admin(subject: &str, orgs: &[&str]) -> String {
    let orgs: Value = orgs
        .iter()
        .map(|org| ((*org).to_owned(), json!("admin")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    tokens::Key::shared().token(&tokens::claims(json!({"sub": subject, "orgs": orgs})))
}

async fn post(world: &World, token: &str, org: &str, path: &str, body: Option<&Value>) -> Answer {
    let path = format!("/orgs/{org}/audit-export/{path}");
    let ask = world.api.ask("POST", &path).token(token);
    match body {
        Some(body) => ask.json(body).send().await,
        None => ask.send().await,
    }
}

#[track_caller]
fn too_often(answer: &Answer, at_most_seconds: u64) -> String {
    let body = answer.expect_error(429, "rate_limited");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=at_most_seconds).contains(&seconds), "{seconds}");
    let sentence = body["error"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("try again in {seconds} s")),
        "{sentence}"
    );
    sentence.to_owned()
}

/// The ids of all tests and runs that there are.
async fn stored(world: &World) -> BTreeSet<String> {
    let sql = "select id::text from connection_tests union select id::text from export_runs";
    let client = world.database.client().await;
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_that_asks_too_often_waits_and_others_do_not() {
    let world = world().await;
    for id in ["acme", "beta"] {
        // Saving queues a test, so it counts as one.
        configured(&world, id).await;
    }
    for n in 1..TESTS {
        // A new name each time: what the organisation has used up does not depend on who did it.
        let token = admin(&format!("admin-{n}"), &["acme"]);
        post(&world, &token, "acme", "test-connection", None)
            .await
            .expect_error(504, "test_timed_out");
    }
    for n in 0..RUNS {
        let token = admin(&format!("admin-{n}"), &["acme"]);
        post(&world, &token, "acme", "runs", None)
            .await
            .expect_error(409, "not_active");
    }

    let before = stored(&world).await;
    let mut jobs = world.broker.connect().await.jobs().await;
    let settings = world.customer(&world.org("gamma").await).settings();
    let token = admin("another", &["acme"]);
    let began = Instant::now();
    let mut sentences = BTreeSet::new();
    for _ in 0..50 {
        let test = post(&world, &token, "acme", "test-connection", Some(&settings)).await;
        sentences.insert(too_often(&test, WAITS.0));
        too_often(
            &post(&world, &token, "acme", "config", Some(&settings)).await,
            WAITS.0,
        );
        too_often(&post(&world, &token, "acme", "runs", None).await, WAITS.1);
    }
    // Who does not stop is refused for that alone in the end.
    for who in ["this organisation", "you"] {
        let told = sentences.iter().any(|sentence| sentence.starts_with(who));
        assert!(told, "{who}: {sentences:?}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(WAITS.0 / 2),
        "too slow to tell"
    );
    assert_eq!(
        stored(&world).await,
        before,
        "a refused request left something behind"
    );
    // What is published is what the scheduler publishes again.
    for job in jobs.rest(Duration::from_secs(1)).await {
        let id = job.body["testId"].as_str().unwrap_or_default();
        assert!(before.contains(id), "{job:?}");
    }

    // Nobody else has noticed, and reading goes on.
    let beta = admin("kim", &["beta"]);
    post(&world, &beta, "beta", "test-connection", None)
        .await
        .expect_error(504, "test_timed_out");
    post(&world, &beta, "beta", "runs", None)
        .await
        .expect_error(409, "not_active");
    world
        .api
        .ask("GET", "/orgs/acme/audit-export/config")
        .token(&token)
        .send()
        .await
        .expect(200);
    attacks::record(
        "abuse",
        "test-connection 50 times a second",
        "429 with Retry-After; no row, no message",
    );
    attacks::record(
        "abuse",
        "saving the config 50 times a second",
        "429 with Retry-After; nothing changed",
    );
    attacks::record(
        "abuse",
        "export now 50 times a second",
        "429 with Retry-After; no row, no message",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_too_often_waits_in_every_organisation() {
    let world = world().await;
    let ids: Vec<_> = (0..2 * RUNS + 1).map(|n| format!("org-{n}")).collect();
    for id in &ids {
        world.org(id).await;
    }
    let names: Vec<_> = ids.iter().map(String::as_str).collect();
    let token = admin("a consultant", &names);
    let (last, others) = ids.split_last().unwrap();
    for id in others {
        post(&world, &token, id, "runs", None)
            .await
            .expect_error(409, "not_active");
    }
    let sentence = too_often(&post(&world, &token, last, "runs", None).await, WAITS.1);
    assert!(sentence.starts_with("you asked"), "{sentence}");
    // Another token of the same person's, and one that grants less.
    for token in [
        admin("a consultant", &names),
        admin("a consultant", &[last]),
    ] {
        too_often(&post(&world, &token, last, "runs", None).await, WAITS.1);
    }
    // The organisation has all that it may.
    let own = admin("kim", &[last]);
    for _ in 0..RUNS {
        post(&world, &own, last, "runs", None)
            .await
            .expect_error(409, "not_active");
    }
    attacks::record(
        "abuse",
        "one caller, export now in many organisations",
        "429 for the caller; the organisations keep their share",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_uses_up_nothing() {
    let world = world().await;
    world.org("acme").await;
    world.org("beta").await;
    let kim = admin("kim", &["acme"]);
    let forged = tokens::Key::secret("another secret, also of 32 bytes or more");
    let forged = forged.token(&tokens::claims(
        json!({"sub": "kim", "orgs": {"acme": "owner"}}),
    ));
    for _ in 0..20 {
        for (token, status, code) in [
            (admin("mallory", &["beta"]), 404, "not_found"),
            (tokens::member_of("acme", "member"), 403, "forbidden"),
            (
                tokens::platform("orgs:write audit-events:write"),
                404,
                "not_found",
            ),
            (forged.clone(), 401, "unauthorized"),
        ] {
            for path in ["runs", "test-connection", "config"] {
                post(&world, &token, "acme", path, None)
                    .await
                    .expect_error(status, code);
            }
        }
    }
    for _ in 0..RUNS {
        post(&world, &kim, "acme", "runs", None)
            .await
            .expect_error(409, "not_active");
    }
    too_often(&post(&world, &kim, "acme", "runs", None).await, WAITS.1);
    attacks::record(
        "abuse",
        "a stranger, a member or a forged token uses up an organisation's limits",
        "401, 403, 404; nothing is counted",
    );
}
