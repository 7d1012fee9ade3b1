//! Reading: the config beside pgbench doing the same SELECT, and lists of runs where there are few
//! and where there are many.

use std::iter::repeat_n;

use axum::body::Bytes;
use common::db::export_configs::FIND;
use harness::World;
use serde_json::json;
use tokio_postgres::Client;

use crate::{
    Lab, fleet,
    load::{self, Load},
    pgbench::Pgbench,
    samples::Pairs,
    stage::Stage,
    table::Goal,
};

const SUBJECT: &str = "reads";
/// Connections at once, of the API's clients and of pgbench.
const CONNECTIONS: usize = 16;
/// Organisations with a config beside the one that is read: a table of one row would not be read by
/// its index.
const OTHERS: usize = 10_000;
const ORG: &str = "acme";
const BUCKET: &str = "acme-audit-log";
/// How few runs many are compared with, for small pages and for large ones: all pages are full, so
/// that answers are of one size.
const FEW: usize = 10;
const SOME: usize = 1_000;

pub async fn measure(lab: &mut Lab) {
    let stage = Stage::start(&[]).await;
    let owner = stage.world.database.client().await;
    fleet::make_rows(&owner, OTHERS).await;
    config(lab, &stage.world).await;
    runs(lab, &stage.world, &owner).await;
}

async fn config(lab: &mut Lab, world: &World) {
    save_config(world).await;
    let path = format!("/orgs/{ORG}/audit-export/config");
    let request = load::get(&path, &load::admin_of(ORG));
    let set = format!("set local audit_export.org = '{ORG}';");
    let script = format!("begin;\n{set}\n{};\ncommit;\n", FIND.replace("$1", ":org"));
    let in_one_go = format!("\\startpipeline\n{script}\\endpipeline\n");
    let (each, seconds) = (lab.size(500, 2_000), lab.size(2, 5));
    let (mut rates, mut one_trip, mut tail) =
        (Pairs::default(), Pairs::default(), Pairs::default());
    // The first time warms up.
    ask(world, &request, CONNECTIONS, each).await;
    for _ in 0..lab.rounds() {
        let ours = ask(world, &request, CONNECTIONS, each).await;
        rates.push(ours.per_second(), select(world, &script, seconds).await);
        one_trip.push(ours.per_second(), select(world, &in_one_go, seconds).await);
        tail.push(ours.percentile(99.0), ours.percentile(50.0));
    }

    let what = "GET config, 16 connections, by pgbench's SELECT";
    let (value, goal) = ((rates.ours_by_theirs(), "x"), Goal::AtLeast(0.6));
    let detail = rates.detail("reads/s");
    lab.table.goal(SUBJECT, what, value, goal, detail);
    let what = "GET config, 16 connections, p99 by p50";
    let (value, goal) = ((tail.ours_by_theirs(), "x"), Goal::AtMost(5.0));
    let detail = tail.detail("ms");
    lab.table.goal(SUBJECT, what, value, goal, detail);
    let what = "GET config, by the SELECT in one round trip";
    let (value, detail) = ((one_trip.ours_by_theirs(), "x"), one_trip.detail("reads/s"));
    lab.table.figure(SUBJECT, what, value, detail);
}

/// How often a second pgbench runs this script as the services' role.
async fn select(world: &World, script: &str, seconds: usize) -> f64 {
    let pgbench = Pgbench {
        url: world.database.url(),
        script,
        variables: &[("org", ORG)],
        clients: CONNECTIONS,
        seconds,
    };
    pgbench.run().await.per_second
}

/// Saves a config, and makes sure that both sides find it.
async fn save_config(world: &World) {
    let acme = world.org(ORG).await;
    let settings = json!({
        "bucket": BUCKET,
        "region": "eu-central-1",
        "roleArn": "arn:aws:iam::210987654321:role/log-archive-writer",
        "enabled": false,
    });
    acme.save(settings).await.expect(201);
    assert_eq!(acme.config().await["bucket"], BUCKET);
    let client = world.database.service_client().await;
    let bind = format!("begin; set local audit_export.org = '{ORG}'");
    client.batch_execute(&bind).await.unwrap();
    let row = client.query_one(FIND, &[&ORG]).await.unwrap();
    assert_eq!(row.get::<_, &str>("bucket"), BUCKET);
}

/// Has clients ask for the same again and again.
async fn ask(world: &World, request: &Bytes, clients: usize, each: usize) -> Load {
    let asking = (0..clients).map(|_| repeat_n(request.clone(), each));
    let asking: Vec<_> = asking.collect();
    load::send(world.api.address(), asking).await
}

async fn runs(lab: &mut Lab, world: &World, owner: &Client) {
    let many = lab.size(100_000, 1_000_000);
    for count in [FEW, SOME, many] {
        insert_runs(world, owner, count).await;
    }
    let vacuum = owner.batch_execute("vacuum analyze export_runs");
    vacuum.await.unwrap();
    for (few, limit, is_middle) in [
        (FEW, FEW, false),
        (FEW, FEW / 2, true),
        (SOME, 50, false),
        (SOME, 50, true),
    ] {
        let page = Page { limit, is_middle };
        let of_few = page.request(world, owner, few).await;
        let of_many = page.request(world, owner, many).await;
        let each = lab.size(200, 500);
        for request in [&of_few, &of_many] {
            ask(world, request, 1, each).await;
        }
        let mut times = Pairs::default();
        for _ in 0..lab.rounds() {
            let long = ask(world, &of_many, 1, each).await;
            let short = ask(world, &of_few, 1, each).await;
            times.push(long.percentile(50.0), short.percentile(50.0));
        }
        let place = if is_middle { "middle" } else { "first" };
        let what = format!("GET runs, {place} page of {limit}, {many} runs by {few}");
        let (value, goal) = ((times.ours_by_theirs(), "x"), Goal::AtMost(1.5));
        let detail = format!("p50 {}", times.detail("ms"));
        lab.table.goal(SUBJECT, what, value, goal, detail);
    }
}

/// The organisation that has so many runs.
fn org_with(runs: usize) -> String {
    format!("with-{runs}-runs")
}

/// Makes an organisation with so many runs, one a minute.
async fn insert_runs(world: &World, owner: &Client, count: usize) {
    let id = org_with(count);
    world.org(&id).await;
    let sql = format!(
        "insert into export_runs
                (id, org_id, trigger, state, attempts, destination_version, first_seq, last_seq,
                 events, bytes, objects, created_at, not_before, published_at, started_at,
                 finished_at)
         select (lpad(to_hex({count}), 8, '0') || '-0000-7000-8000-'
                    || lpad(to_hex(n), 12, '0'))::uuid,
                '{id}', 'schedule', 'succeeded', 1, 1, n * 100, n * 100 + 99, 100, 45678, 1,
                t, t, t, t, t
           from generate_series(1, {count}) n,
                lateral (select now() - ({count} - n) * interval '1 minute' as t) times"
    );
    let inserted = owner.execute(&sql, &[]).await.unwrap();
    assert_eq!(usize::try_from(inserted).unwrap(), count);
}

/// Which runs are asked for.
#[derive(Clone, Copy)]
struct Page {
    limit: usize,
    is_middle: bool,
}

impl Page {
    /// The request of an admin of the organisation with so many runs. Makes sure that the answer is
    /// a full page.
    async fn request(self, world: &World, owner: &Client, runs: usize) -> Bytes {
        let id = org_with(runs);
        let mut path = format!("/orgs/{id}/audit-export/runs?limit={}", self.limit);
        if self.is_middle {
            let sql = format!(
                "select id::text from export_runs where org_id = $1
                  order by created_at desc, id desc offset {} limit 1",
                runs / 2 - 1
            );
            let before: String = owner.query_one(&sql, &[&id]).await.unwrap().get(0);
            path = format!("{path}&before={before}");
        }
        let token = load::admin_of(&id);
        let answer = world.api.ask("GET", &path).token(&token).send().await;
        let shown = answer.expect(200);
        assert_eq!(shown.as_array().unwrap().len(), self.limit, "{path}");
        load::get(&path, &token)
    }
}
