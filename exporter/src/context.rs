//! What every job needs, and the two things that every job does with the broker and the database.

use std::{future::Future, sync::Arc, time::Duration};

use common::{
    db::{self, QueryError, connection_tests::ReplyTo},
    jobs::{Job, Outcome},
    queue::{Properties, Publisher, topology},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, retry::Pauses, s3::session::Sessions};

/// Shared by all jobs of a process.
pub struct Context {
    /// The settings.
    pub config: Config,
    /// Postgres.
    pub pool: db::Pool,
    /// RabbitMQ, for publishing.
    pub publisher: Publisher,
    /// Roles.
    pub sessions: Sessions,
    /// One permit for each export job that may be worked on at once.
    pub export_slots: Arc<Semaphore>,
    /// One permit for each of those that may be of a run that was claimed before: destinations that hang
    /// again and again leave the other slots to the rest.
    pub retry_slots: Arc<Semaphore>,
    /// Cancelled when jobs have to give back what they hold.
    pub stop: CancellationToken,
}

impl Context {
    /// A connection from the pool.
    ///
    /// # Errors
    /// None was to be had in time.
    pub async fn client(&self) -> Result<db::Client, QueryError> {
        Ok(self.pool.get().await?)
    }

    /// Repeats a query while the database is away: without it no job can be told from another, so the
    /// message waits in our hands. `None` when the process has to stop first.
    ///
    /// # Errors
    /// The query's, where waiting would not help.
    pub async fn patiently<T, F>(
        &self,
        mut query: impl FnMut() -> F,
    ) -> Result<Option<T>, QueryError>
    where
        F: Future<Output = Result<T, QueryError>>,
    {
        let mut pauses = Pauses::default();
        loop {
            match query().await {
                Ok(value) => return Ok(Some(value)),
                Err(error) if error.is_outage() => {
                    let pause: Duration = pauses.next();
                    tracing::warn!(%error, ?pause, "the database is away; trying again");
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(None),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes what became of a job, best effort: the row is the truth.
    pub async fn announce(&self, outcome: &Outcome, reply_to: &ReplyTo) {
        let body = outcome.encode();
        let properties = || Properties {
            correlation_id: reply_to.correlation_id.clone(),
            ..Properties::default()
        };
        let key = outcome.routing_key();
        let announced = self
            .publisher
            .announce(topology::RESULTS_EXCHANGE, key, &body, properties())
            .await;
        if let Err(error) = announced {
            tracing::warn!(%error, outcome = key, "an outcome was not announced");
        }
        if let Some(queue) = &reply_to.queue
            && let Err(error) = self
                .publisher
                .announce("", queue, &body, properties())
                .await
        {
            tracing::warn!(%error, outcome = key, "a requester was not answered");
        }
    }

    /// Publishes a job whose row exists; where that fails the scheduler does it a minute later.
    pub async fn wake(&self, queue: topology::JobQueue, job: &Job) {
        let body = job.encode();
        let published = self
            .publisher
            .publish_soon(
                topology::JOBS_EXCHANGE,
                queue.routing_key,
                &body,
                Properties::default(),
            )
            .await;
        if let Err(error) = published {
            tracing::warn!(%error, "a job was not published; the scheduler will do it");
        }
    }
}

/// What becomes of the message that brought a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Its row tells all there is to tell.
    Ack,
    /// Nobody can work on it.
    DeadLetter(String),
    /// The process stops before it could look: another worker gets it.
    Leave,
}
