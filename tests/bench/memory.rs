//! The most memory that a worker ever has, whatever is pending.

use harness::{Customer, Org, World, process::Process};

use crate::{
    Lab,
    stage::{self, Stage},
    table::Goal::AtMost,
};

const SUBJECT: &str = "memory";
const KIB_PER_MIB: f64 = 1024.0;
/// Organisations whose runs go on beside each other.
const ORGS: usize = 16;
const CONCURRENCY: &str = "16";

/// Measures it.
pub async fn measure(lab: &mut Lab) {
    one_large_run(lab).await;
    many_large_runs(lab).await;
}

async fn one_large_run(lab: &mut Lab) {
    let (few, many) = lab.size((20_000, 200_000), (200_000, 5_000_000));
    let stage = Stage::start(&stage::NO_RUNS_BY_ITSELF).await;
    let world = &stage.world;
    let worker = world.spawn_worker(&stage::ONE_LARGE_RUN);
    let (acme, customer) = world.active_org("acme").await;
    drop(worker);
    stage::switch_off(&acme, &customer).await;
    stage::ingest(world, &acme, &lab.events, 0..few).await;
    let small = peak_mib(world, &acme, &customer, few).await;
    multiply(world, few, many / few).await;
    let large = peak_mib(world, &acme, &customer, many).await;
    let (few, many) = (few / 1_000, many / 1_000);
    let detail = format!("{few} thousand: {small:.1} MiB, {many} thousand: {large:.1} MiB");
    let peak = small.max(large);
    let table = &mut lab.table;
    table.goal(
        SUBJECT,
        "concurrency 1: peak RSS",
        (peak, "MiB"),
        AtMost(64.0),
        &detail,
    );
    let what = format!("concurrency 1: {many} thousand events against {few}");
    table.goal(SUBJECT, what, (large / small, "x"), AtMost(1.1), detail);
}

/// Of a fresh worker that exports everything.
async fn peak_mib(world: &World, acme: &Org<'_>, customer: &Customer, events: usize) -> f64 {
    stage::rewind(world, acme, customer).await;
    let worker = world.spawn_worker(&stage::ONE_LARGE_RUN);
    stage::switch_on(acme, customer, "gzip").await;
    stage::export(acme, events).await;
    stage::switch_off(acme, customer).await;
    mib(&worker)
}

fn mib(worker: &Process) -> f64 {
    f64::from(u32::try_from(worker.peak_memory_kib()).unwrap()) / KIB_PER_MIB
}

/// Makes so many times as many events of an organisation's, by copying them within Postgres: to ingest
/// millions would take minutes.
async fn multiply(world: &World, events: usize, times: usize) {
    let client = world.database.client().await;
    let sql = r#"
        insert into audit_events
               (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
        select e.org_id, e.seq + c.copy * $1::bigint, e.event_id || c.copy, e.occurred_at,
               s.last_recorded_at, e.end_bytes + c.copy * s.total_bytes,
               '{"seq":' || e.seq + c.copy * $1::bigint || substr(e.line, strpos(e.line, ','))
          from org_sequences s, generate_series(1, $2::bigint - 1) as c (copy), audit_events e
         where e.org_id = s.org_id
         order by c.copy, e.seq"#;
    let (events, times) = (
        i64::try_from(events).unwrap(),
        i64::try_from(times).unwrap(),
    );
    let made = client.execute(sql, &[&events, &times]).await.unwrap();
    assert_eq!(i64::try_from(made).unwrap(), events * (times - 1));
    client
        .batch_execute("vacuum analyze audit_events")
        .await
        .unwrap();
}

async fn many_large_runs(lab: &mut Lab) {
    let events = lab.size(10_000, 80_000);
    let stage = Stage::start(&stage::NO_RUNS_BY_ITSELF).await;
    let world = &stage.world;
    let mut settings = stage::ONE_LARGE_RUN;
    settings[0].1 = CONCURRENCY;
    let worker = world.spawn_worker(&settings);
    let mut orgs = Vec::new();
    for n in 0..ORGS {
        let (org, customer) = world.active_org(&format!("org-{n:02}")).await;
        stage::switch_off(&org, &customer).await;
        orgs.push((org, customer));
    }
    let (first, others) = orgs.split_first().unwrap();
    stage::ingest(world, &first.0, &lab.events, 0..events).await;
    for (org, _) in others {
        org.append_large_copy(first.0.id()).await;
    }
    for (org, customer) in &orgs {
        stage::switch_on(org, customer, "gzip").await;
    }
    let runs = orgs.iter().map(|(org, _)| stage::export(org, events));
    futures_util::future::join_all(runs).await;
    let detail = format!("{ORGS} organisations with {events} events each at once");
    let peak = (mib(&worker), "MiB");
    lab.table.goal(
        SUBJECT,
        "concurrency 16: peak RSS",
        peak,
        AtMost(256.0),
        detail,
    );
}
