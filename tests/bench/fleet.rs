//! Many active organisations at once, made by SQL: through REST each of them would have to be saved
//! and tested.

use std::{cell::Cell, ops::Range, time::Duration};

use harness::{
    Bucket, World, eventually,
    process::Process,
    within,
    world::{PRINCIPAL_ARN, REGION},
};
use local_aws::{Role, account_of};
use serde_json::json;
use tokio_postgres::{Client, Row, types::ToSql};

use crate::events::Events;

/// What all their ids begin with.
const PREFIX: &str = "fleet-";

/// Organisations with a tested, enabled config each. The scheduler looks at none of them before
/// [`Fleet::wake`].
pub struct Fleet {
    /// The organisations, by id.
    pub members: Vec<Member>,
    /// The owner of the tables.
    client: Client,
    /// Transactions of `client`, so that whoever counts those of the services can leave them out.
    own_commits: Cell<i64>,
}

/// One of the organisations.
pub struct Member {
    /// Its id.
    pub id: String,
    /// The name of its bucket.
    pub bucket_name: String,
    /// Its bucket.
    pub bucket: Bucket,
}

/// The id of the organisation of this number; they are counted from 1.
pub fn id_of(number: usize) -> String {
    format!("{PREFIX}{number:06}")
}

/// Makes the rows of so many organisations.
pub async fn make_rows(client: &Client, count: usize) {
    let sql = format!(
        "insert into orgs (id, name, external_id)
         select '{PREFIX}' || lpad(n::text, 6, '0'), 'Fleet ' || n,
                replace(gen_random_uuid()::text, '-', '')
           from generate_series(1, {count}) n;
         insert into org_sequences (org_id) select id from orgs where id like '{PREFIX}%';
         insert into export_state (org_id, started, last_version)
         select id, true, 1 from orgs where id like '{PREFIX}%';
         insert into export_configs
                (id, org_id, bucket, region, role_arn, prefix, enabled, version, tested_version,
                 last_tested_at, last_test_ok)
         select gen_random_uuid(), id, id || '-audit-log', '{REGION}',
                'arn:aws:iam::333333' || right(id, 6) || ':role/customers/audit-export', '', true,
                1, 1, now(), true
           from orgs where id like '{PREFIX}%';
         analyze orgs, org_sequences, export_state, export_configs"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Starts a worker process with these settings, and waits until it takes jobs.
pub async fn start_worker(world: &World, settings: &[(&str, &str)]) -> Process {
    // As in production: the harness sets a shorter one, which would be renewed in between.
    let mut all = vec![("AUDIT_EXPORT_LEASE_SECONDS", "60")];
    all.extend_from_slice(settings);
    let worker = world.spawn_worker(&all);
    let look = || async { worker.log().contains("waiting for jobs").then_some(()) };
    eventually("a worker waits for jobs", look).await;
    worker
}

/// Ends a worker process in good order.
pub async fn end_worker(mut worker: Process) {
    let status = worker.terminate().await;
    assert!(status.success(), "{status}:\n{}", worker.log());
}

fn role(arn: &str, external_id: &str) -> Role {
    let role = json!({
        "arn": arn,
        "trustPolicy": {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": PRINCIPAL_ARN},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }]},
        "policy": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/*"},
        ]},
    });
    serde_json::from_value(role).unwrap()
}

impl Fleet {
    /// Makes so many organisations, each with a bucket and a role of its own.
    pub async fn make(world: &World, count: usize) -> Self {
        let client = world.database.client().await;
        make_rows(&client, count).await;
        let sql = format!(
            "select c.org_id, c.bucket, c.role_arn, o.external_id
               from export_configs c
               join orgs o on o.id = c.org_id
              where o.id like '{PREFIX}%'
              order by o.id"
        );
        let (mut members, mut buckets, mut roles) = (Vec::new(), Vec::new(), Vec::new());
        for row in client.query(&sql, &[]).await.unwrap() {
            let [id, bucket_name, role_arn, external_id]: [String; 4] =
                [0_usize, 1, 2, 3].map(|n| row.get(n));
            let account = account_of(&role_arn);
            buckets.push(local_aws::Bucket::new(&bucket_name, REGION, account));
            roles.push(role(&role_arn, &external_id));
            members.push(Member {
                id,
                bucket: Bucket::at(world.data_dir().join(&bucket_name)),
                bucket_name,
            });
        }
        assert_eq!(members.len(), count);
        // All at once: every change copies the whole state.
        let added = world.aws.update(|state| {
            state.buckets.extend(buckets);
            state.roles.extend(roles);
        });
        added.unwrap();
        Self {
            members,
            client,
            own_commits: Cell::new(0),
        }
    }

    /// How many transactions it has made since it was made itself.
    pub fn own_commits(&self) -> i64 {
        self.own_commits.get()
    }

    fn count(&self, commits: i64) {
        self.own_commits.set(self.own_commits.get() + commits);
    }

    /// The row of a statement that gives one.
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Row {
        // Preparing it is a transaction, too.
        self.count(2);
        self.client.query_one(sql, parameters).await.unwrap()
    }

    /// Runs a statement that gives no rows.
    pub async fn execute(&self, sql: &str) {
        self.count(1);
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Has Postgres count what this connection has done so far.
    pub async fn flush_statistics(&self) {
        // Only where there is something to report of a table does it report anything.
        self.execute("select pg_stat_force_next_flush() from orgs limit 1")
            .await;
    }

    /// Appends the events of these numbers to each organisation, as the vendor's own code would.
    pub async fn append(&self, events: &Events, numbers: Range<usize>) {
        let expected = self.members.len() * numbers.len();
        let text = events.ndjson(numbers);
        let lines: Vec<&str> = text.lines().collect();
        let sql = format!(
            "select sum((append_audit_events(id, $1)).accepted)::bigint
               from orgs where id like '{PREFIX}%'"
        );
        let accepted: i64 = self.query_one(&sql, &[&lines]).await.get(0);
        assert_eq!(usize::try_from(accepted).unwrap(), expected);
    }

    /// Has the scheduler look at all of them at its next tick, and from then on at every interval.
    pub async fn wake(&self) {
        self.execute(&format!(
            "update export_state set next_check_at = now() where org_id like '{PREFIX}%'"
        ))
        .await;
    }

    /// Has the scheduler look at none of them.
    pub async fn rest(&self) {
        self.execute(&format!(
            "update export_state set next_check_at = null where org_id like '{PREFIX}%'"
        ))
        .await;
    }

    /// Waits until everything is delivered and no run is under way.
    pub async fn wait_until_delivered(&self, patience: Duration) {
        let sql = "
            select not exists (select from export_runs where state in ('queued', 'running'))
               and not exists (select from export_state s
                                 join org_sequences q on q.org_id = s.org_id
                                where s.cursor_seq < q.next_seq - 1)";
        self.count(1);
        let statement = self.client.prepare(sql).await.unwrap();
        let look = || async {
            self.count(1);
            let row = self.client.query_one(&statement, &[]).await.unwrap();
            row.get::<_, bool>(0).then_some(())
        };
        let delivered = within(patience, look).await;
        assert!(delivered.is_some(), "not delivered within {patience:?}");
    }

    /// How many objects lie in all their buckets.
    pub fn objects(&self) -> usize {
        let buckets = self.members.iter().map(|member| &member.bucket);
        buckets.map(|bucket| bucket.objects().len()).sum()
    }
}
