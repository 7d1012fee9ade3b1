//! The services as processes, in a world of their own.

use std::time::Duration;

use harness::{
    Customer, Org, World,
    process::{Process, free_port},
    within,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::events::Events;

/// Events in one request.
pub const BATCH: usize = 1_000;

/// A world whose API is a process. Workers are started by whoever needs them.
#[derive(Debug)]
pub struct Stage {
    /// The world.
    pub world: World,
    /// It lives as long as this.
    _api: Process,
}

impl Stage {
    /// A world whose API has these settings besides those of [`World::spawn_api`].
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let world = World::start_without_api(format!("http://{address}")).await;
        let mut all = vec![("AUDIT_EXPORT_LISTEN", address.as_str())];
        all.extend_from_slice(settings);
        let (api, _) = world.spawn_api(&all).await;
        Self { world, _api: api }
    }
}

/// What large runs may take.
pub const LONG: Duration = Duration::from_mins(10);
/// Settings of an API that exports only what is asked for.
pub const NO_RUNS_BY_ITSELF: [(&str, &str); 1] = [("AUDIT_EXPORT_INTERVAL_SECONDS", "36000")];
/// Settings of a worker that exports one organisation at a time, and all of it in one run.
pub const ONE_LARGE_RUN: [(&str, &str); 4] = [
    ("AUDIT_EXPORT_CONCURRENCY", "1"),
    ("AUDIT_EXPORT_RUN_MAX_EVENTS", "1000000000"),
    ("AUDIT_EXPORT_RUN_MAX_BYTES", "1000000000000"),
    ("AUDIT_EXPORT_LEASE_SECONDS", "60"),
];

/// Disables delivery.
pub async fn switch_off(org: &Org<'_>, customer: &Customer) {
    let settings = customer.settings_with(json!({"enabled": false}));
    org.save(settings).await.expect(201);
}

/// Enables delivery in this compression, and waits until it has passed its test.
pub async fn switch_on(org: &Org<'_>, customer: &Customer, compression: &str) {
    let settings = customer.settings_with(json!({"enabled": true, "compression": compression}));
    org.save(settings).await.expect(201);
    org.wait_for_state("active").await;
}

/// Waits until all pending events are delivered, and returns the run that did it: one that is asked for
/// here, or the scheduler's, if that was quicker.
pub async fn export(org: &Org<'_>, events: usize) -> Value {
    org.ask("POST", "/audit-export/runs").send().await;
    let look = || async {
        let ended = |run: &Value| run["events"] == events && run["status"] == "succeeded";
        org.runs().await.into_iter().find(ended)
    };
    let run = within(LONG, look).await;
    run.unwrap_or_else(|| panic!("{events} events of {} are not delivered", org.id()))
}

/// From a time of a run, such as `createdAt`, to its end, by Postgres's clock.
pub fn duration_of(run: &Value, since: &str) -> Duration {
    let time = |name: &str| run[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    time("finishedAt")
        .duration_since(time(since))
        .unsigned_abs()
}

/// Has events ingested for an organisation, those with these numbers, and tidied up after, as Postgres
/// would do by itself some time later.
pub async fn ingest(
    world: &World,
    org: &Org<'_>,
    events: &Events,
    numbers: std::ops::Range<usize>,
) {
    let last = numbers.end;
    for first in numbers.step_by(BATCH) {
        let body = events.ndjson(first..last.min(first + BATCH));
        org.send_ndjson(body).await.expect(200);
    }
    let client = world.database.client().await;
    client
        .batch_execute("vacuum analyze audit_events")
        .await
        .unwrap();
}

/// Deletes what was exported of an organisation, so that the same events can be exported again: files,
/// objects, runs, and the cursor.
pub async fn rewind(world: &World, org: &Org<'_>, customer: &Customer) {
    let client = world.database.client().await;
    for sql in [
        "delete from export_objects where org_id = $1",
        "delete from export_runs where org_id = $1",
        "update export_state set cursor_seq = 0 where org_id = $1",
    ] {
        client.execute(sql, &[&org.id()]).await.unwrap();
    }
    for object in customer.bucket().objects() {
        std::fs::remove_file(object.path).unwrap();
    }
}
