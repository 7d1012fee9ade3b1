//! Statements that say nothing of an organisation, as if a check in the code had been forgotten.

use std::collections::BTreeSet;

use harness::{attacks, database::Database};
use tokio_postgres::{Client, error::SqlState};

use super::{all_of, scene, tables};

/// A transaction's connection as the services' role, for this organisation or for none.
async fn service(database: &Database, org: Option<&str>) -> Client {
    let client = database.service_client().await;
    client.batch_execute("begin").await.unwrap();
    if let Some(org) = org {
        let binding = format!("set local audit_export.org = '{org}'");
        client.batch_execute(&binding).await.unwrap();
    }
    client
}

/// Tries a statement and takes it back. The number of rows, or the refusal.
async fn attempt(client: &Client, sql: &str) -> Result<u64, SqlState> {
    client.batch_execute("savepoint before").await.unwrap();
    let done = client.execute(sql, &[]).await;
    let back = "rollback to savepoint before";
    client.batch_execute(back).await.unwrap();
    done.map_err(|error| error.code().expect("Postgres refuses").clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_confined() {
    let world = scene().await;
    let owner = world.database.client().await;
    let sql = "select relname::text, relrowsecurity,
                      (select count(*) from pg_policy p where p.polrelid = c.oid)
                 from pg_class c
                where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
                  and relname <> 'refinery_schema_history'";
    for row in owner.query(sql, &[]).await.unwrap() {
        let table: String = row.get(0);
        assert!(row.get::<_, bool>(1), "{table} has no row-level security");
        assert_eq!(row.get::<_, i64>(2), 1, "{table} has not just one policy");
    }
    let client = world.database.service_client().await;
    for (table, _) in tables(&owner).await {
        let sql = "select row_security_active($1::text)";
        let row = client.query_one(sql, &[&table]).await.unwrap();
        assert!(
            row.get::<_, bool>(0),
            "{table}: the services' role is exempt"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_without_an_organisation() {
    let world = scene().await;
    let owner = world.database.client().await;
    let client = service(&world.database, None).await;
    for (table, _) in tables(&owner).await {
        let sql = format!("select count(*) from {table}");
        let row = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{table}");
    }
    // Nor after a transaction that named one.
    client.batch_execute("commit").await.unwrap();
    let named = "begin; set local audit_export.org = 'acme'; commit";
    client.batch_execute(named).await.unwrap();
    let row = client.query_one("select count(*) from orgs", &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 0);
    attacks::record(
        "tenancy",
        "a query outside of any organisation",
        "Postgres shows no row",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_condition_reaches_the_own_rows_alone() {
    let world = scene().await;
    let owner = world.database.client().await;
    let before = all_of(&owner, "beta").await;
    let client = service(&world.database, Some("acme")).await;
    for (table, column) in tables(&owner).await {
        let seen = format!("select distinct {column} from {table}");
        let seen = client.query(&seen, &[]).await.unwrap();
        let seen: BTreeSet<String> = seen.iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, ["acme".to_owned()].into(), "{table}");

        // Rows of a table that the role may not change at all are refused at once.
        let own = owner
            .query_one(
                &format!("select count(*) from {table} where {column} = 'acme'"),
                &[],
            )
            .await;
        let own = u64::try_from(own.unwrap().get::<_, i64>(0)).unwrap();
        for sql in [
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
        ] {
            match attempt(&client, &sql).await {
                Ok(rows) => assert_eq!(rows, own, "{sql}"),
                Err(code) => assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}"),
            }
        }
    }
    client.batch_execute("commit").await.unwrap();
    assert_eq!(all_of(&owner, "beta").await, before);
    attacks::record(
        "tenancy",
        "select, update and delete without any condition, on every table",
        "Postgres shows and changes the own rows alone",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_written_for_another() {
    let world = scene().await;
    let owner = world.database.client().await;
    let client = service(&world.database, Some("acme")).await;
    for (table, column) in tables(&owner).await {
        let of_beta = format!("select to_jsonb(t)::text from {table} t where {column} = 'beta'");
        let rows = owner.query(&of_beta, &[]).await.unwrap();
        let row: String = rows.first().expect("every table has rows").get(0);
        for sql in [
            format!("update {table} set {column} = 'beta'"),
            format!(
                "insert into {table} overriding system value select * from jsonb_populate_record(null::{table}, '{row}')"
            ),
        ] {
            let refused = attempt(&client, &sql).await.unwrap_err();
            assert_eq!(refused, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
    }
    attacks::record(
        "tenancy",
        "a row that is written for, or moved to, another organisation",
        "Postgres refuses it (42501)",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_added_to_and_never_changed() {
    let world = scene().await;
    let client = service(&world.database, Some("acme")).await;
    for table in ["audit_events", "audit_event_ids"] {
        for sql in [
            format!("update {table} set recorded_at = now()"),
            format!("delete from {table}"),
            format!("truncate {table}"),
        ] {
            let refused = attempt(&client, &sql).await.unwrap_err();
            assert_eq!(refused, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
    }
    for sql in [
        "update orgs set external_id = 'guessed'",
        "alter table orgs disable row level security",
        "create table mine (a int)",
    ] {
        let refused = attempt(&client, sql).await.unwrap_err();
        assert_eq!(refused, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
    }
    attacks::record(
        "tenancy",
        "changing recorded events, an external id, or the policies, as the services' role",
        "Postgres refuses it (42501)",
    );
}
