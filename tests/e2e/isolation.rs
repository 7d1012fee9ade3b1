//! One organisation's rows are nobody else's, whatever the code asks for: row-level security, seen as
//! the role that the services log in as.

mod dropped;
mod functions;
mod queries;
mod roles;
mod rows;

use harness::{World, events::events};
use tokio_postgres::Client;

/// Two organisations, each with rows in every table.
async fn scene() -> World {
    let world = World::start().await;
    let worker = world.start_worker();
    for (id, seed) in [("acme", 71), ("beta", 72)] {
        let (org, customer) = world.active_org(id).await;
        org.ingest(&events(seed, 5)).await;
        org.wait_until_delivered(&customer, 5).await;
    }
    // What is looked at stays as it is.
    worker.drain().await;
    let client = world.database.client().await;
    let still = "
        update export_state set next_check_at = null;
        revoke execute on function append_system_events from audit_export;
        insert into system_events (org_id, action, actor, targets, metadata)
        select id, 'audit_export.config.created', '{}', '[]', '{}' from orgs";
    client.batch_execute(still).await.unwrap();
    world
}

/// The tables that hold rows of organisations, and the column that names them.
async fn tables(owner: &Client) -> Vec<(String, &'static str)> {
    let sql = "select relname::text from pg_class
                where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
                  and relname <> 'refinery_schema_history'
                order by relname";
    let of = |name: String| {
        let column = if name == "orgs" { "id" } else { "org_id" };
        (name, column)
    };
    let rows = owner.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| of(row.get(0))).collect()
}

/// All rows of one organisation, as the owner of the tables sees them.
async fn all_of(owner: &Client, org: &str) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for (table, column) in tables(owner).await {
        let sql = format!(
            "select to_jsonb(t)::text from {table} t where {column} = $1 order by to_jsonb(t)::text"
        );
        let rows = owner.query(&sql, &[&org]).await.unwrap();
        all.push((table, rows.iter().map(|row| row.get(0)).collect()));
    }
    all
}
