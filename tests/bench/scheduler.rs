//! What the scheduler costs where there are very many organisations.

use std::time::{Duration, Instant};

use api::benchmarking::Scheduler;
use common::{db, queue::Publisher};
use harness::{World, eventually};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::{
    Lab, fleet,
    plans::{FUNCTIONS, sequential_scans},
    samples::median,
    table::Goal,
};

const SUBJECT: &str = "scheduler";
const IDLE_MILLISECONDS: Goal = Goal::AtMost(20.0);
const DUE_MILLISECONDS: Goal = Goal::AtMost(300.0);
/// Organisations that are due in a busy tick.
const DUE: usize = 1_000;

/// The defaults of the API's settings.
const INTERVAL: Duration = Duration::from_mins(5);
const REPUBLISH_AFTER: Duration = Duration::from_mins(1);

pub async fn measure(lab: &mut Lab) {
    let orgs = lab.size(20_000, 100_000);
    let (idle_ticks, busy_ticks) = (lab.size(21, 101), lab.size(5, 21));
    // No API: it would tick as well.
    let world = World::start_without_api("http://127.0.0.1:1".to_owned()).await;
    let owner = world.database.client().await;
    make(&owner, orgs).await;
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let scheduler = start(&world, &end).await;

    // The first one connects and prepares.
    round(&scheduler, &owner, 0).await;
    let mut idle = Vec::new();
    for _ in 0..idle_ticks {
        idle.push(round(&scheduler, &owner, 0).await);
    }
    let detail = format!("{orgs} enabled configs, none is due; median of {idle_ticks}");
    let (what, value) = ("idle tick", (median(idle), "ms"));
    lab.table
        .goal(SUBJECT, what, value, IDLE_MILLISECONDS, detail);
    let mut scans = sequential_scans(&owner, "idle").await;

    let mut busy = Vec::new();
    for number in 0..busy_ticks {
        make_due(&owner, orgs, number).await;
        busy.push(round(&scheduler, &owner, DUE).await);
    }
    let detail = format!(
        "{orgs} enabled configs, {DUE} with pending events are due: {DUE} runs are queued, and \
         published with confirms; median of {busy_ticks}"
    );
    let what = format!("tick with {DUE} due");
    let value = (median(busy), "ms");
    lab.table
        .goal(SUBJECT, what, value, DUE_MILLISECONDS, detail);

    // As Postgres would have it after looking at the tables in the midst of that.
    make_due(&owner, orgs, busy_ticks).await;
    owner.batch_execute("analyze").await.unwrap();
    scans.extend(sequential_scans(&owner, "due").await);
    let found = match scans.is_empty() {
        true => "none".to_owned(),
        false => scans.join(", "),
    };
    let functions = FUNCTIONS.len();
    let detail = format!("EXPLAIN of {functions} statements, idle and with {DUE} due: {found}");
    let (what, value) = (
        "sequential scans of large tables",
        (scans.len() as f64, "scans"),
    );
    lab.table
        .goal(SUBJECT, what, value, Goal::AtMost(0.0), detail);
}

/// Makes organisations that have delivered once, none of which is due within an hour.
async fn make(owner: &Client, orgs: usize) {
    fleet::make_rows(owner, orgs).await;
    let sql = "
        insert into export_runs
               (id, org_id, trigger, state, attempts, destination_version, first_seq, last_seq,
                events, bytes, objects, published_at, started_at, finished_at)
        select gen_random_uuid(), id, 'schedule', 'succeeded', 1, 1, 1, 10, 10, 1000, 1, now(),
               now(), now()
          from orgs;
        insert into export_objects
               (plan_id, org_id, run_id, destination_version, bucket, region, prefix, key, codec,
                encoder_version, first_seq, last_seq, state, events, bytes, stored_at)
        select gen_random_uuid(), org_id, id, 1, org_id || '-audit-log', 'eu-central-1', '',
               'org_id=' || org_id || '/date=2026-01-31/' || id || '.jsonl.gz', 'gzip', 1, 1, 10,
               'stored', 10, 1000, now()
          from export_runs;
        insert into connection_tests
               (id, org_id, trigger, version, bucket, region, role_arn, prefix, state, attempts,
                published_at, started_at, finished_at)
        select gen_random_uuid(), org_id, 'automatic', version, bucket, region, role_arn, prefix,
               'succeeded', 1, now(), now(), now()
          from export_configs;
        update org_sequences set next_seq = 11;
        update export_state
           set cursor_seq = 10,
               next_check_at = now() + interval '1 hour' + random() * interval '1 hour'";
    owner.batch_execute(sql).await.unwrap();
    owner.batch_execute("vacuum analyze").await.unwrap();
}

/// Makes the next thousand due, spread over all, each with an event that is pending as far as the
/// scheduler looks.
async fn make_due(owner: &Client, orgs: usize, number: usize) {
    let apart = orgs / DUE;
    assert!(number < apart, "no organisation is due twice");
    let ids: Vec<String> = (0..DUE)
        .map(|n| fleet::id_of(n * apart + number + 1))
        .collect();
    for sql in [
        "update org_sequences set next_seq = next_seq + 1 where org_id = any ($1)",
        "update export_state set next_check_at = now() where org_id = any ($1)",
    ] {
        let changed = owner.execute(sql, &[&ids]).await.unwrap();
        assert_eq!(usize::try_from(changed).unwrap(), DUE);
    }
}

/// The API's scheduler, without an API around it.
async fn start(world: &World, end: &CancellationToken) -> Scheduler {
    let (url, name) = (world.broker.amqp_url().to_owned(), "bench".to_owned());
    let (publisher, _) = Publisher::start(url, name, end.clone());
    let connected = || async { publisher.is_connected().then_some(()) };
    eventually("the publisher is connected", connected).await;
    Scheduler {
        pool: db::pool(world.database.url(), "bench", 1).unwrap(),
        publisher,
        interval: INTERVAL,
        republish_after: REPUBLISH_AFTER,
        system_events: true,
    }
}

/// A round that has to queue so many runs; returns how long it took, in milliseconds.
async fn round(scheduler: &Scheduler, owner: &Client, runs: usize) -> f64 {
    let queued = "select count(*) from export_runs where state = 'queued'";
    let before: i64 = owner.query_one(queued, &[]).await.unwrap().get(0);
    let began = Instant::now();
    scheduler.round().await.unwrap();
    let took = began.elapsed();
    let after: i64 = owner.query_one(queued, &[]).await.unwrap().get(0);
    assert_eq!(usize::try_from(after - before).unwrap(), runs);
    took.as_secs_f64() * 1e3
}
