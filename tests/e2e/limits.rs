//! Slow clients, full pools and full disks: clear errors in time, and nobody else is hurt.

mod clients;
mod disk;

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use harness::{
    Org, World,
    events::{events, ndjson},
    eventually, required,
};
use tokio::runtime::Handle;
use tokio_postgres::{Client, NoTls};

/// Less than a request waits for anything that another one holds, on a machine that is busy.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(2);
/// A wait for a lock or a connection, and one more behind the first.
const IN_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn server() -> Client {
    let connecting =
        tokio_postgres::connect(&required("AUDIT_EXPORT_TEST_SUPERUSER_URL"), NoTls).await;
    let (client, connection) = connecting.expect("Postgres answers");
    tokio::spawn(connection);
    client
}

/// A statement for the server when the test has ended, however it ends. It is made before the world,
/// so that the world has gone by then.
pub(crate) struct AtEnd(pub(crate) String);

impl Drop for AtEnd {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| {
            Handle::current().block_on(async {
                if let Err(error) = server().await.batch_execute(&self.0).await {
                    eprintln!("{}: {error}", self.0);
                }
            });
        });
    }
}

/// Lets an organisation read its config and take events in, again and again until something else is
/// over. Returns what that led to, and the longest that the organisation had to wait.
pub(crate) async fn meanwhile<T>(org: &Org<'_>, other: impl Future<Output = T>) -> (T, Duration) {
    let mut other = pin!(other);
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    loop {
        let round = async {
            let began = Instant::now();
            org.config().await;
            org.ingest(&events(1_000 + rounds, 1)).await;
            let took = began.elapsed();
            tokio::time::sleep(Duration::from_millis(20)).await;
            took
        };
        tokio::select! {
            result = &mut other => {
                assert!(rounds > 10, "it was over too soon to tell");
                return (result, longest);
            }
            took = round => {
                longest = longest.max(took);
                rounds += 1;
            }
        }
    }
}

/// An organisation that has a config.
pub(crate) async fn configured<'w>(world: &'w World, id: &str) -> Org<'w> {
    let org = world.org(id).await;
    let customer = world.customer(&org);
    org.save(customer.settings()).await.expect(201);
    org
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_whose_appends_wait_leaves_connections_to_the_others() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let beta = configured(&world, "beta").await;
    let mut holder = world.database.client().await;
    let held = holder.transaction().await.unwrap();
    let lock = "select from org_sequences where org_id = 'acme' for update";
    held.execute(lock, &[]).await.unwrap();

    let began = Instant::now();
    let requests = (0..40).map(|n| acme.send_ndjson(ndjson(&events(n, 1))));
    let (answers, longest) = meanwhile(&beta, join_all(requests)).await;

    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    for answer in answers {
        answer.expect_error(503, "org_busy");
        assert_eq!(answer.header("retry-after"), "1");
    }
    held.rollback().await.unwrap();
    for n in 0..40 {
        acme.ingest(&events(n, 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_takes_no_more_connections_is_waited_for() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let mut sent = events(31, 40);
    acme.ingest(&sent[..20]).await;
    acme.wait_until_delivered(&customer, 20).await;
    // The worker is in the middle of these, perhaps.
    acme.ingest(&sent[20..]).await;

    let client = world.database.client().await;
    let row = client.query_one("select current_database()::text", &[]);
    let database: String = row.await.unwrap().get(0);
    let limit = async |connections: i32| {
        let alter = format!("alter database {database} connection limit {connections}");
        client.batch_execute(&alter).await.unwrap();
    };
    limit(0).await;
    let cut = || async {
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = $1 and pid <> pg_backend_pid()";
        let cut = client.execute(cut, &[&database]).await.unwrap();
        (cut == 0).then_some(())
    };
    eventually("nobody is connected any more", cut).await;

    let more = events(32, 20);
    let began = Instant::now();
    for answer in [
        acme.ask("GET", "/audit-export/config").send().await,
        acme.ask("GET", "/audit-export/runs").send().await,
        acme.ask("POST", "/audit-export/runs").send().await,
        acme.test().await,
        acme.save(customer.settings()).await,
        acme.send_ndjson(ndjson(&more)).await,
    ] {
        answer.expect_error(503, "database_unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());

    limit(-1).await;
    acme.ingest(&more).await;
    sent.extend(more);
    acme.wait_until_delivered(&customer, 60).await;
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}
