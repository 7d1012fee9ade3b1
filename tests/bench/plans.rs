//! How Postgres carries out the statements of the scheduler, which stand in SQL functions: EXPLAIN
//! of a call would show nothing but the call.

use tokio_postgres::Client;

/// Tables that grow with the number of organisations, or with time.
const LARGE: [&str; 8] = [
    "orgs",
    "org_sequences",
    "audit_events",
    "export_configs",
    "export_state",
    "export_runs",
    "export_objects",
    "connection_tests",
];
/// A parameter's name, its type, and a value.
pub type Parameter = (&'static str, &'static str, &'static str);
/// The functions that a tick calls, each of one statement. `append_system_events` is not one of
/// them: it goes by its own table, which holds what the last second has brought.
pub const FUNCTIONS: [(&str, &[Parameter]); 7] = [
    (
        "take_back_expired_runs",
        &[("p_max_lost_leases", "int", "5")],
    ),
    ("take_back_expired_tests", &[("p_max_attempts", "int", "5")]),
    (
        "look_at_due_orgs",
        &[
            ("p_interval_seconds", "float8", "300"),
            ("p_limit", "bigint", "1000"),
        ],
    ),
    (
        "queue_own_tests",
        &[
            ("p_trigger", "text", "'automatic'"),
            ("p_org_ids", "text[]", "array['fleet-000001']"),
        ],
    ),
    ("queue_due_probes", &[("p_limit", "bigint", "1000")]),
    (
        "take_unpublished_tests",
        &[
            ("p_after_seconds", "float8", "60"),
            ("p_limit", "bigint", "1000"),
        ],
    ),
    (
        "take_unpublished_runs",
        &[
            ("p_after_seconds", "float8", "60"),
            ("p_limit", "bigint", "1000"),
        ],
    ),
];

/// The sequential scans of large tables in the functions' statements.
pub async fn sequential_scans(owner: &Client, when: &str) -> Vec<String> {
    // A function's statement is planned without knowing the arguments.
    let generic = "set plan_cache_mode = force_generic_plan";
    owner.batch_execute(generic).await.unwrap();
    let mut scans = Vec::new();
    for (function, parameters) in FUNCTIONS {
        let plan = plan(owner, function, parameters).await;
        let scanned = plan.iter().filter_map(|line| scanned_table(line));
        let large = scanned.filter(|table| LARGE.contains(table));
        scans.extend(large.map(|table| format!("{table} in {function} ({when})")));
    }
    scans
}

fn scanned_table(line: &str) -> Option<&str> {
    let (_, scanned) = line.split_once("Seq Scan on ")?;
    scanned.split_whitespace().next()
}

/// How Postgres carries out the statement of a function.
async fn plan(owner: &Client, function: &str, parameters: &[Parameter]) -> Vec<String> {
    let source = "select prosrc from pg_proc
                   where proname = $1 and pronamespace = current_schema()::regnamespace";
    let row = owner.query_one(source, &[&function]).await.unwrap();
    let mut body: String = row.get(0);
    for (n, (name, ..)) in parameters.iter().enumerate() {
        body = body.replace(name, &format!("${}", n + 1));
    }
    let types: Vec<_> = parameters.iter().map(|parameter| parameter.1).collect();
    let values: Vec<_> = parameters.iter().map(|parameter| parameter.2).collect();
    let (types, values) = (types.join(", "), values.join(", "));
    let prepare = format!("prepare {function} ({types}) as {body}");
    owner.batch_execute(&prepare).await.unwrap();
    let explain = format!("explain (costs off) execute {function}({values})");
    let rows = owner.query(&explain, &[]).await.unwrap();
    let deallocate = format!("deallocate {function}");
    owner.batch_execute(&deallocate).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
