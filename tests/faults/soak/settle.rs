//! Whether the system has come to rest by itself.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use harness::within;
use tokio_postgres::Client;

use super::{Soak, TIME_TO_SETTLE};

/// Organisations that are shown when there are more that are stuck.
const SHOWN: usize = 5;

/// Waits until every organisation's cursor is at its last event and no run is under way, and tells how
/// long that took. Uploads of events that are still open get the rest of the time to be cleaned up;
/// what stays is for the checker to judge.
pub async fn settle(soak: Arc<Soak>) -> Result<Duration, String> {
    let began = Instant::now();
    let database = soak.world.database.client().await;
    let all_delivered = || async {
        let at_rest = behind(&database).await.is_empty() && !runs_are_under_way(&database).await;
        at_rest.then_some(())
    };
    if within(TIME_TO_SETTLE, all_delivered).await.is_some() {
        let took = began.elapsed();
        let cleaned_up = || async {
            let mut open = soak.world.open_uploads().into_iter();
            (!open.any(|(_, upload)| upload.key.contains("org_id="))).then_some(())
        };
        let _ = within(TIME_TO_SETTLE.saturating_sub(took), cleaned_up).await;
        return Ok(took);
    }
    let behind = behind(&database).await;
    if behind.is_empty() {
        return Err(format!(
            "runs were still under way {TIME_TO_SETTLE:?} after the last fault and event"
        ));
    }
    let mut problem = format!(
        "{} organisations had not got all their events {TIME_TO_SETTLE:?} after the last fault and event",
        behind.len()
    );
    for org in behind.iter().take(SHOWN) {
        write!(problem, "\n{}", describe(&database, org).await).unwrap();
    }
    Err(problem)
}

/// The organisations with events that are not delivered.
async fn behind(database: &Client) -> Vec<String> {
    let sql = "select q.org_id from org_sequences q join export_state s on s.org_id = q.org_id
                where s.cursor_seq <> q.next_seq - 1";
    let rows = database.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn runs_are_under_way(database: &Client) -> bool {
    let sql = "select exists (select from export_runs where state in ('queued', 'running'))";
    database.query_one(sql, &[]).await.unwrap().get(0)
}

/// What is known of an organisation, for a look at why it is stuck.
async fn describe(database: &Client, org: &str) -> String {
    let mut text = format!("{org}:");
    for (table, order) in [
        ("org_sequences", "org_id"),
        ("export_state", "org_id"),
        ("export_configs", "org_id"),
        ("export_runs", "created_at desc"),
        ("connection_tests", "created_at desc"),
        ("export_objects", "created_at desc"),
    ] {
        let sql = format!(
            "select to_json(t)::text from {table} t where org_id = $1 order by {order} limit 3"
        );
        for row in database.query(&sql, &[&org]).await.unwrap() {
            write!(text, "\n  {table}: {}", row.get::<_, String>(0)).unwrap();
        }
    }
    let now = database.query_one("select now()::text", &[]).await.unwrap();
    write!(text, "\n  now: {}", now.get::<_, String>(0)).unwrap();
    text
}
