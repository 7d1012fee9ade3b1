//! What the servers themselves count.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use harness::{World, eventually, required};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::fleet::Fleet;

/// RabbitMQ's figures are a second old, and another one in its management plugin.
const FIGURES_STAND_STILL: Duration = Duration::from_millis(2_500);

/// The transactions that Postgres has committed (`pg_stat_database.xact_commit`). It is asked over
/// a connection to another database, whose own ones are not counted.
pub struct Commits {
    superuser: Client,
    database: String,
}

impl Commits {
    /// Those in the database of a fleet.
    pub async fn beside(fleet: &Fleet) -> Self {
        let url = required("AUDIT_EXPORT_TEST_SUPERUSER_URL");
        let connected = tokio_postgres::connect(&url, NoTls).await;
        let (superuser, connection) = connected.expect("Postgres answers");
        tokio::spawn(connection);
        let database = fleet
            .query_one("select current_database()::text", &[])
            .await;
        Self {
            superuser,
            database: database.get(0),
        }
    }

    /// How many there were so far that the fleet's own connection has not made. Of others that are
    /// connected, what they did within the last second may be missing.
    pub async fn of_others_than(&self, fleet: &Fleet) -> i64 {
        fleet.flush_statistics().await;
        let sql = "select xact_commit from pg_stat_database where datname = $1";
        let row = self.superuser.query_one(sql, &[&self.database]).await;
        row.unwrap().get::<_, i64>(0) - fleet.own_commits()
    }

    /// Waits until the connections of the workers have ended: then all that they did is counted.
    pub async fn wait_for_workers_to_go(&self) {
        let sql = "select count(*) from pg_stat_activity
                    where datname = $1 and application_name = 'audit-export-exporter'";
        let look = || async {
            let row = self.superuser.query_one(sql, &[&self.database]).await;
            (row.unwrap().get::<_, i64>(0) == 0).then_some(())
        };
        eventually("the workers' connections end", look).await;
    }
}

/// Messages of a vhost so far, as RabbitMQ's management API tells.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Messages {
    /// Published.
    pub published: u64,
    /// Of these: given back, since no queue takes them.
    pub returned: u64,
    /// Handed to consumers.
    pub delivered: u64,
    /// Acknowledged by them.
    pub acknowledged: u64,
}

impl Messages {
    /// Reads them when they stand still.
    pub async fn at_rest(world: &World) -> Self {
        let last = Cell::new((Self::read(world).await, Instant::now()));
        let look = || async {
            let now = Self::read(world).await;
            let (before, since) = last.get();
            if now != before {
                last.set((now, Instant::now()));
                return None;
            }
            (since.elapsed() > FIGURES_STAND_STILL).then_some(now)
        };
        eventually("RabbitMQ's figures stand still", look).await
    }

    async fn read(world: &World) -> Self {
        let base = required("AUDIT_EXPORT_TEST_RABBITMQ_API");
        let vhost = world.broker.name();
        let url = format!("{}/vhosts/{vhost}", base.trim_end_matches('/'));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        let vhost: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let figure = |name: &str| vhost["message_stats"][name].as_u64().unwrap_or_default();
        Self {
            published: figure("publish"),
            returned: figure("return_unroutable"),
            delivered: figure("deliver"),
            acknowledged: figure("ack"),
        }
    }
}
