//! A request that is given up at any moment leaves no transaction behind on a connection that others
//! get next.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use common::{
    db::{self, Client, Tenant, audit_events, orgs},
    ids::OrgId,
};
use harness::{World, database, within};

/// More than any of the futures needs.
const MOST_POLLS: usize = 40;
/// What a transaction may take to end.
const SOON: Duration = Duration::from_secs(5);

/// Gives a future up after so many polls; true where it had ended by then.
async fn given_up_after(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

async fn transaction(client: &mut Client, org: &OrgId) -> Result<(), db::Error> {
    let tx = Tenant::begin(client, org).await?;
    orgs::find(&tx).await?;
    tx.commit().await
}

async fn copy(client: &Client, org: &OrgId) -> Result<(), db::Error> {
    let tenant = Tenant::of(client, org);
    audit_events::read_lines(&tenant, 0, 1_000, 1_000, 1 << 20, |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_leaves_nothing_open() {
    let world = World::start().await;
    let (acme, beta): (OrgId, OrgId) = ("acme".parse().unwrap(), "beta".parse().unwrap());
    for org in [&acme, &beta] {
        world.org(org.as_str()).await;
    }
    let owner = world.database.client().await;
    let event = harness::org::least_event("e-1").to_string();
    database::append(&owner, "acme", &[event]).await.unwrap();
    // Of the same role, which sees what it does itself.
    let observer = world.database.service_client().await;
    let name = "given up";
    let pool = db::pool(world.database.url(), name, 1).unwrap();

    let mut ended = [false; 2];
    for polls in 1..MOST_POLLS {
        for (which, ended) in ended.iter_mut().enumerate() {
            let mut client = pool.get().await.unwrap();
            *ended = match which {
                0 => given_up_after(polls, transaction(&mut client, &acme)).await,
                _ => given_up_after(polls, copy(&client, &acme)).await,
            };
            drop(client);
            // Before anybody else uses the connection: the next one's end would end this, too.
            let state = || async {
                let sql = "select state from pg_stat_activity where application_name = $1";
                let rows = observer.query(sql, &[&name]).await.unwrap();
                let states: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                (states == ["idle"]).then_some(())
            };
            let idle = within(SOON, state).await;
            assert!(idle.is_some(), "after {polls} polls of {which}");
            let client = pool.get().await.unwrap();
            let tenant = Tenant::of(&client, &beta);
            assert!(orgs::find(&tenant).await.unwrap().is_some(), "{polls}");
            assert_eq!(audit_events::last_seq(&tenant).await.unwrap(), 0, "{polls}");
        }
    }
    assert_eq!(ended, [true; 2], "they end when they are not given up");
}
