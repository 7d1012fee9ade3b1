//! More requests at once than there is room for: the rest is told at once to come again.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use harness::{Org, World, api::Api, attacks, eventually, process::free_port, tokens};

use super::raw;
use crate::limits::{AT_ONCE, configured, meanwhile};

/// Ordinary requests at once.
const ROOM: usize = 64;
/// Of these, those of one organisation.
const SHARE: usize = ROOM / 16;
/// Tests that wait at once, one of each organisation.
const TESTS: usize = ROOM / 4;

async fn world(test_timeout_seconds: u32) -> World {
    World::start_with(|config| {
        config.limits.max_requests = u32::try_from(ROOM).unwrap();
        config.test_timeout_seconds = test_timeout_seconds;
    })
    .await
}

async fn orgs(world: &World, count: usize) -> Vec<Org<'_>> {
    let ids: Vec<_> = (0..count).map(|n| format!("org-{n}")).collect();
    let mut orgs = Vec::new();
    for id in ids {
        orgs.push(configured(world, &id).await);
    }
    orgs
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_that_wait_are_limited_and_keep_nobody_else_out() {
    let world = world(6).await;
    let orgs = orgs(&world, TESTS).await;
    let beta = configured(&world, "beta").await;
    let client = world.database.client().await;
    let sql = "select count(*) from connection_tests where trigger = 'manual'";

    let waiting = join_all(orgs.iter().map(Org::test));
    let refused = async {
        let all_wait = || async {
            let count: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            (count == i64::try_from(TESTS).unwrap()).then_some(())
        };
        eventually("all tests wait", all_wait).await;
        let began = Instant::now();
        for _ in 0..50 {
            let answer = beta.test().await;
            answer.expect_error(503, "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        let count: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        (count, began.elapsed())
    };
    let ((waited, (count, took)), longest) =
        meanwhile(&beta, async { tokio::join!(waiting, refused) }).await;

    assert!(took < AT_ONCE, "the refusals took {took:?}");
    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    assert_eq!(
        count,
        i64::try_from(TESTS).unwrap(),
        "a refused test was stored"
    );
    for answer in waited {
        answer.expect_error(504, "test_timed_out");
    }
    // There is room again.
    beta.test().await.expect_error(504, "test_timed_out");
    attacks::record(
        "abuse",
        "more tests at once than may wait",
        "503 overloaded at once, with Retry-After; all else goes on",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_has_its_share_and_all_have_what_there_is() {
    let world = world(1).await;
    let orgs = orgs(&world, ROOM / SHARE + 1).await;
    let beta = configured(&world, "beta").await;
    let admin_listen = format!("127.0.0.1:{}", free_port());
    let room = ROOM.to_string();
    let settings = [
        ("AUDIT_EXPORT_MAX_REQUESTS", room.as_str()),
        ("AUDIT_EXPORT_ADMIN_LISTEN", &admin_listen),
    ];
    let (_process, api) = world.spawn_api(&settings).await;
    let health = Api::new(format!("http://{admin_listen}"));
    health.wait_until_ready().await;
    let config_of = async |org: &Org<'_>| {
        let path = format!("/orgs/{}/audit-export/config", org.id());
        let token = tokens::member_of(org.id(), "admin");
        api.ask("GET", &path).token(&token).send().await
    };
    // Bodies that never come; they are given up after ten seconds.
    let slow = async |org: &Org<'_>| {
        let path = format!("/orgs/{}/audit-export/config", org.id());
        let head = raw::bodiless(&path, &tokens::member_of(org.id(), "admin"), 100);
        raw::connect_to(api.address(), head.as_bytes()).await
    };

    // What this test asks takes a place for a moment, too, so it goes on until all are taken.
    let held = RefCell::new(Vec::new());
    let refused = || async {
        let stream = slow(&orgs[0]).await;
        held.borrow_mut().push(stream);
        let answer = config_of(&orgs[0]).await;
        (answer.status == 429).then_some(answer)
    };
    let refused = eventually("the organisation's share is used up", refused).await;
    refused.expect_error(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    config_of(&beta).await.expect(200);

    let refused = || async {
        for org in &orgs[1..] {
            let stream = slow(org).await;
            held.borrow_mut().push(stream);
        }
        let answer = config_of(&beta).await;
        (answer.status == 503).then_some(answer)
    };
    let refused = eventually("there is no room left", refused).await;
    refused.expect_error(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(!refused.header("x-request-id").is_empty());
    let began = Instant::now();
    for _ in 0..50 {
        config_of(&beta).await.expect_error(503, "overloaded");
        assert_eq!(health.ask("GET", "/healthz").send().await.status, 200);
        health.ask("GET", "/readyz").send().await.expect(200);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "slow to refuse");
    // What is ingested has room of its own.
    let token = tokens::platform("audit-events:write");
    let events = serde_json::json!([harness::org::least_event("e-1")]);
    let ingest = api.ask("POST", "/orgs/beta/audit-events").token(&token);
    ingest.json(&events).send().await.expect(200);

    held.borrow_mut().clear();
    let room = || async { (config_of(&beta).await.status == 200).then_some(()) };
    eventually("there is room again", room).await;
    attacks::record(
        "abuse",
        "one organisation's admins hold many requests open",
        "429 for that organisation",
    );
    attacks::record(
        "abuse",
        "more requests at once than there is room for",
        "503 overloaded at once, with Retry-After; health and ingest go on",
    );
}
