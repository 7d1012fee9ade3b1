//! The runs of an organisation: listed, one by one, asked for.

use std::collections::BTreeSet;

use harness::{Org, World, api::Answer, org::run_ids};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{insert_run, refused, settings, settings_with};

/// What every run tells, null where there is nothing to tell.
const MEMBERS: [&str; 18] = [
    "id",
    "orgId",
    "status",
    "trigger",
    "attempts",
    "firstSeq",
    "lastSeq",
    "events",
    "bytes",
    "objectCount",
    "error",
    "errorClass",
    "errorCode",
    "warning",
    "createdAt",
    "notBefore",
    "startedAt",
    "finishedAt",
];

async fn list(org: &Org<'_>, query: &str) -> Answer {
    org.ask("GET", &format!("/audit-export/runs{query}"))
        .send()
        .await
}

fn ids(answer: &Answer) -> Vec<String> {
    run_ids(answer.expect(200).as_array().unwrap())
}

/// The path and query of the next page, where there is one.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    if link.is_empty() {
        return None;
    }
    let path = link
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    Some(path.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// Follows the links to the end.
async fn pages(world: &World, org: &Org<'_>, query: &str) -> Vec<Vec<String>> {
    let admin = harness::tokens::member_of(org.id(), "admin");
    let mut answer = list(org, query).await;
    let mut pages = vec![ids(&answer)];
    while let Some(path) = next(&answer) {
        assert!(pages.len() < 100, "it does not end");
        answer = world.api.ask("GET", &path).token(&admin).send().await;
        pages.push(ids(&answer));
    }
    pages
}

/// Runs of both organisations in turn, some at the same time as others; those of acme, newest first,
/// with their state.
async fn insert_runs(client: &Client) -> Vec<(String, &'static str)> {
    let mut runs = Vec::new();
    for n in 0..57_i32 {
        let state = match n {
            0 => "queued",
            _ if n % 3 == 0 => "failed",
            _ => "succeeded",
        };
        // By threes at one time.
        let seconds_ago = 60 + n / 3 * 10;
        insert_run(client, "beta", "succeeded", seconds_ago).await;
        runs.push((insert_run(client, "acme", state, seconds_ago).await, state));
    }
    // Those inserted apart are not quite at the same time; now they are.
    let sql = "update export_runs set created_at = date_trunc('minute', created_at)";
    client.execute(sql, &[]).await.unwrap();
    let sql =
        "select id::text from export_runs where org_id = 'acme' order by created_at desc, id desc";
    let order: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    runs.sort_by_key(|(id, _)| order.iter().position(|other| other == id));
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_page_by_page() {
    let world = World::start().await;
    let (acme, _beta) = (world.org("acme").await, world.org("beta").await);
    let empty = list(&acme, "").await;
    assert_eq!((empty.expect(200), next(&empty)), (json!([]), None));

    let client = world.database.client().await;
    let inserted = insert_runs(&client).await;
    let all: Vec<_> = inserted.iter().map(|(id, _)| id.clone()).collect();

    let answer = list(&acme, "").await;
    assert_eq!(ids(&answer), all[..20]);
    assert!(next(&answer).is_some());
    for run in answer.expect(200).as_array().unwrap() {
        let members: BTreeSet<_> = run
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, MEMBERS.into_iter().collect(), "{run}");
        assert_eq!(run["orgId"], "acme");
    }
    let times: Vec<jiff::Timestamp> = answer
        .expect(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["createdAt"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );

    assert_eq!(pages(&world, &acme, "?limit=100").await, [&all[..]]);
    // A page that just holds all has no other after it.
    assert_eq!(pages(&world, &acme, "?limit=57").await, [&all[..]]);
    assert_eq!(
        pages(&world, &acme, "?limit=56").await,
        [&all[..56], &all[56..]]
    );
    for limit in [1, 7, 20] {
        let pages = pages(&world, &acme, &format!("?limit={limit}")).await;
        assert!(
            pages.iter().all(|page| (1..=limit).contains(&page.len())),
            "{pages:?}"
        );
        assert_eq!(pages.concat(), all);
    }

    for status in ["queued", "running", "succeeded", "failed"] {
        let with_status = inserted.iter().filter(|(_, state)| *state == status);
        let expected: Vec<_> = with_status.map(|(id, _)| id.clone()).collect();
        for limit in [2, 100] {
            let query = format!("?status={status}&limit={limit}");
            assert_eq!(
                pages(&world, &acme, &query).await.concat(),
                expected,
                "{query}"
            );
        }
    }

    let before = format!("?before={}", all[30]);
    assert_eq!(
        ids(&list(&acme, &format!("{before}&limit=3")).await),
        all[31..34]
    );
    assert_eq!(
        ids(&list(&acme, &format!("{before}&limit=100")).await),
        all[31..]
    );
    assert_eq!(
        ids(&list(&acme, &format!("?before={}", all[56])).await),
        [""; 0]
    );
    let filtered = list(&acme, &format!("{before}&limit=2&status=failed")).await;
    let failed = inserted[31..]
        .iter()
        .filter(|(_, state)| *state == "failed");
    assert_eq!(
        ids(&filtered),
        failed.take(2).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    );
}

/// Who reads page by page misses nothing and sees nothing twice, whatever begins meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn new_runs_do_not_shift_the_pages() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let client = world.database.client().await;
    for n in 0..6 {
        insert_run(&client, "acme", "succeeded", 100 + n).await;
    }
    let all = ids(&list(&acme, "").await);
    let first = list(&acme, "?limit=3").await;
    insert_run(&client, "acme", "succeeded", 1).await;
    let path = next(&first).unwrap();
    let path = path.strip_prefix("/orgs/acme").unwrap();
    let second = acme.ask("GET", path).send().await;
    assert_eq!([ids(&first), ids(&second)].concat(), all);
    assert_eq!(next(&second), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_checked() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    for (query, field) in [
        ("limit=0", Some("limit")),
        ("limit=101", Some("limit")),
        ("limit=-1", Some("limit")),
        ("limit=", Some("limit")),
        ("limit=ten", Some("limit")),
        ("limit=99999999999999999999", Some("limit")),
        ("before=x", Some("before")),
        ("before=", Some("before")),
        ("status=done", Some("status")),
        ("status=", Some("status")),
        ("status=Queued", Some("status")),
        ("limit=1&limit=2", None),
    ] {
        let answer = list(&acme, &format!("?{query}")).await;
        let extras = field.map_or_else(|| json!({}), |field| json!({"field": field}));
        refused(&answer, 422, "invalid_request", &extras);
    }
    let unknown = list(&acme, "?before=0198c0de-0000-7000-8000-000000000001").await;
    refused(&unknown, 404, "run_not_found", &json!({}));
    list(&acme, "?limit=100").await.expect(200);
    list(&acme, "?limit=1&status=failed").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_shows_its_objects() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let client = world.database.client().await;
    let id = insert_run(&client, "acme", "succeeded", 5).await;
    let other = insert_run(&client, "acme", "succeeded", 9).await;
    let run: Uuid = id.parse().unwrap();
    for (first, state, bytes) in [(11_i64, "planned", None), (1, "stored", Some(99_i64))] {
        let sql = "insert into export_objects
                (plan_id, org_id, run_id, destination_version, bucket, region, prefix, key, codec,
                 encoder_version, first_seq, last_seq, state, events, bytes, sha256, etag, stored_at)
            values ($1, 'acme', $2, 1, 'b', 'r', '', 'key/' || $3::bigint, 'gzip', 1, $3, $3 + 9, $4,
                 $5::bigint - 89, $5, case when $5 > 0 then decode('00ff10', 'hex') end,
                 case when $5 > 0 then '\"e\"' end, case when $5 > 0 then to_timestamp(0) end)";
        client
            .execute(sql, &[&Uuid::new_v4(), &run, &first, &state, &bytes])
            .await
            .unwrap();
    }

    let shown = acme.run(&id).await;
    let mut members: BTreeSet<_> = shown
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert!(members.remove("objects"), "{shown}");
    assert_eq!(members, MEMBERS.into_iter().collect());
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!(id), &json!("succeeded"))
    );
    assert_eq!(
        shown["objects"],
        json!([
            {
                "bucket": "b", "key": "key/1", "status": "stored", "firstSeq": 1, "lastSeq": 10,
                "events": 10, "bytes": 99, "sha256": "00ff10", "etag": "\"e\"", "versionId": null,
                "storedAt": "1970-01-01T00:00:00Z",
            },
            {
                "bucket": "b", "key": "key/11", "status": "planned", "firstSeq": 11, "lastSeq": 20,
                "events": null, "bytes": null, "sha256": null, "etag": null, "versionId": null,
                "storedAt": null,
            },
        ]),
    );
    assert_eq!(acme.run(&other).await["objects"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn none_begins_unless_delivery_is_active() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let refused_with = async |word: &str| {
        let answer = acme.ask("POST", "/audit-export/runs").send().await;
        let sentence = refused(&answer, 409, "not_active", &json!({}));
        assert!(sentence.contains(word), "{sentence}");
    };
    refused_with("no configuration").await;
    acme.save(settings_with(json!({"enabled": false})))
        .await
        .expect(201);
    refused_with("disabled").await;
    acme.save(settings_with(json!({"enabled": true})))
        .await
        .expect(201);
    refused_with("not passed a test").await;
    // There is no such role, so the test fails.
    world.start_worker();
    acme.save(settings()).await.expect(201);
    let paused = acme.wait_for_state("paused").await;
    refused_with("paused").await;
    refused_with(paused["stateReason"].as_str().unwrap()).await;
    assert_eq!(acme.runs().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_under_way_at_a_time() {
    let world = World::start().await;
    let worker = world.start_worker();
    let (acme, _customer) = world.active_org("acme").await;
    worker.drain().await;

    let answer = acme.ask("POST", "/audit-export/runs").send().await;
    let run = answer.expect(202);
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        (&run["status"], &run["trigger"]),
        (&json!("queued"), &json!("manual"))
    );
    assert_eq!(
        answer.header("location"),
        format!("/orgs/acme/audit-export/runs/{id}")
    );
    for _ in 0..2 {
        let again = acme.ask("POST", "/audit-export/runs").send().await;
        refused(&again, 409, "run_in_progress", &json!({}));
    }
    assert_eq!(run_ids(&acme.runs().await), [id]);

    world.start_worker();
    assert_eq!(acme.wait_for_run(id).await["status"], "succeeded");
    assert_eq!(acme.export_now().await["status"], "succeeded");
}
