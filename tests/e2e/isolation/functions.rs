//! The functions that look across organisations, and those that must not.

use harness::attacks;
use tokio_postgres::error::SqlState;

use super::{all_of, scene};

/// All that runs with the owner's rights: each does one thing, and none hands out a tenant's data.
const ACROSS: [&str; 11] = [
    "append_audit_events",
    "append_system_events",
    "is_run_of_another_org",
    "is_test_of_another_org",
    "look_at_due_orgs",
    "queue_due_probes",
    "runs_wait",
    "take_back_expired_runs",
    "take_back_expired_tests",
    "take_unpublished_runs",
    "take_unpublished_tests",
];

#[tokio::test(flavor = "multi_thread")]
async fn few_have_the_owners_rights_and_what_they_find_is_fixed() {
    let world = scene().await;
    let owner = world.database.client().await;
    let sql = "select proname::text, prosecdef,
                      coalesce(array_to_string(proconfig, ' '), ''),
                      has_function_privilege('public', oid, 'execute')
                 from pg_proc
                where pronamespace = current_schema()::regnamespace
                order by proname";
    let mut across = Vec::new();
    for row in owner.query(sql, &[]).await.unwrap() {
        let (name, definer): (String, bool) = (row.get(0), row.get(1));
        if definer {
            let (settings, public): (String, bool) = (row.get(2), row.get(3));
            assert_eq!(settings, "search_path=public, pg_temp", "{name}");
            assert!(!public, "{name} may be called by anybody");
            across.push(name);
        }
    }
    assert_eq!(across, ACROSS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_are_confined_whatever_they_are_told() {
    let world = scene().await;
    let owner = world.database.client().await;
    let before = all_of(&owner, "beta").await;
    let client = world.database.service_client().await;
    let bind = "begin; set local audit_export.org = 'acme'";

    client.batch_execute(bind).await.unwrap();
    let range = "select * from next_export_range('beta', 0, 10, 1000000)";
    assert!(client.query(range, &[]).await.unwrap().is_empty());
    let append = "select append_prepared_audit_events(
        'beta', array['forged'], array[now()], array['\"id\":\"forged\"'], array['}'])";
    let refused = client.query(append, &[]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "AE001");
    client.batch_execute("rollback").await.unwrap();

    // The vendor's own code is granted this one; the services do not need it.
    client.batch_execute(bind).await.unwrap();
    let append = "select append_audit_events('beta', array['{}'])";
    let refused = client.query(append, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    client.batch_execute("rollback").await.unwrap();

    assert_eq!(all_of(&owner, "beta").await, before);
    attacks::record(
        "tenancy",
        "SQL functions that are told another organisation's id",
        "Postgres finds nothing to read or to append to",
    );
}
