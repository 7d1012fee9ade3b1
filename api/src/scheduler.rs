//! Queues what is due, and sees to it that what is queued is worked on. Runs in every replica:
//! `SKIP LOCKED` shares the work out, and nobody leads.

use std::time::Duration;

use common::{
    db::{self, QueryError, Tenant, connection_tests, export_runs, export_state, system_events},
    ids::{OrgId, RunId, TestId},
    queue::Publisher,
};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::publish;

/// Rows looked at in one statement.
const BATCH: i64 = 1_000;
/// Messages whose confirms are awaited at once.
const PUBLISHED_AT_ONCE: usize = 64;
/// From one round to the next.
const TICK: Duration = Duration::from_secs(1);

/// What the scheduler works with.
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// Postgres.
    pub pool: db::Pool,
    /// RabbitMQ.
    pub publisher: Publisher,
    /// How old the oldest pending event may get before a run is queued.
    pub interval: Duration,
    /// After so long without a claim a message counts as lost, whatever became of it.
    pub republish_after: Duration,
    /// Whether what the system does stands in the organisations' audit logs.
    pub system_events: bool,
}

/// A row whose message goes out now.
enum Wake {
    Run(OrgId, RunId),
    Test(OrgId, TestId),
}

impl Scheduler {
    /// Makes a round every second until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "a round of the scheduler failed");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Queues and publishes what is due now.
    ///
    /// # Errors
    /// Postgres's; what the broker does not take is published by a later round.
    pub async fn round(&self) -> Result<(), QueryError> {
        let client = self.pool.get().await?;
        let runs = export_runs::take_back_expired(&client).await?;
        let tests = connection_tests::take_back_expired(&client).await?;
        if runs + tests > 0 {
            tracing::warn!(runs, tests, "the leases of silent workers are taken back");
        }
        system_events::append(&client, BATCH, self.system_events).await?;
        // Without a broker rows would only pile up; they are due just as well when it is back.
        if !self.publisher.is_connected() {
            return Ok(());
        }
        loop {
            let due = export_state::look_at_due(&client, self.interval, BATCH).await?;
            let runs = due.runs.into_iter().map(|(org, id)| Wake::Run(org, id));
            let tests = due.tests.into_iter().map(|(org, id)| Wake::Test(org, id));
            self.wake_all(&client, runs.chain(tests)).await?;
            if due.looked_at < BATCH {
                break;
            }
        }
        // What was taken is woken before more is taken: a failure in between would cost it a wait.
        let probes = export_state::queue_due_probes(&client, BATCH).await?;
        self.wake_all(
            &client,
            probes.into_iter().map(|(org, id)| Wake::Test(org, id)),
        )
        .await?;
        let after = self.republish_after;
        let tests = connection_tests::take_unpublished(&client, after, BATCH).await?;
        self.wake_all(
            &client,
            tests.into_iter().map(|(org, id)| Wake::Test(org, id)),
        )
        .await?;
        let runs = export_runs::take_unpublished(&client, after, BATCH).await?;
        self.wake_all(
            &client,
            runs.into_iter().map(|(org, id)| Wake::Run(org, id)),
        )
        .await
    }

    async fn wake_all(
        &self,
        client: &db::Client,
        rows: impl Iterator<Item = Wake>,
    ) -> Result<(), QueryError> {
        let mut published = stream::iter(rows)
            .map(|row| async {
                let result = match &row {
                    Wake::Run(org, id) => publish::run(&self.publisher, org, *id).await,
                    Wake::Test(org, id) => publish::test(&self.publisher, org, *id).await,
                };
                (row, result)
            })
            .buffer_unordered(PUBLISHED_AT_ONCE);
        while let Some((row, result)) = published.next().await {
            let Err(error) = result else { continue };
            tracing::warn!(%error, "a job was not published");
            match row {
                Wake::Run(org, id) => {
                    export_runs::mark_unpublished(&Tenant::of(client, &org), id).await?;
                }
                Wake::Test(org, id) => {
                    connection_tests::mark_unpublished(&Tenant::of(client, &org), id).await?;
                }
            }
        }
        Ok(())
    }
}
