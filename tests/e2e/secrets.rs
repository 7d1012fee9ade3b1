//! No secret, token or whole role ARN comes out of either program on any way, even where all is logged
//! that can be.

mod search;
mod story;

use harness::database::Database;

/// Through tests, deliveries and failures of all kinds, with logs as JSON.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_secret_comes_out() {
    story::tell("json", &[]).await;
}

/// The same with an upload in parts, and logs as text.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_secret_comes_out_of_uploads_in_parts() {
    story::tell("text", &crate::crash::large_events()).await;
}

/// Postgres quotes the rows that it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_says_of_rows_is_not_repeated() {
    const ROLE: &str = "arn:aws:iam::210987654321:role/log-archive-writer";
    let database = Database::create().await;
    let client = database.client().await;
    let table = format!(
        "create temp table t (role text unique, n int not null check (n > 0));
         insert into t values ('{ROLE}', 1)"
    );
    client.batch_execute(&table).await.unwrap();
    for (sql, code) in [
        (format!("insert into t values ('{ROLE}', 1)"), "23505"),
        (format!("insert into t values ('{ROLE}-2', null)"), "23502"),
        (format!("insert into t values ('{ROLE}-2', 0)"), "23514"),
        (format!("select '{ROLE}'::int"), "22P02"),
        (format!("select ('\"' || '{ROLE}')::json"), "22P02"),
    ] {
        let error = client.batch_execute(&sql).await.unwrap_err();
        let from_server = error.as_db_error().unwrap().to_string();
        assert!(from_server.contains(ROLE), "{sql}: {from_server}");
        let logged = common::db::describe(&error);
        assert!(logged.contains(code) && !logged.contains(ROLE), "{logged}");
    }
    drop(client);
    database.drop_now().await;
}
