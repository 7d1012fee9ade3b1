//! The exporter: takes jobs from the queue, becomes the customer's role, writes events to the
//! customer's bucket, and records the results.

#[doc(hidden)]
pub mod benchmarking;
pub mod config;
mod consumer;
mod context;
pub mod crash;
pub mod dead_letters;
mod export;
mod lease;
mod retry;
mod s3;
mod test_connection;

use std::{sync::Arc, time::Duration};

use aws_config::SdkConfig;
use common::{admin, db, queue::Publisher};
pub use config::Config;
use context::Context;
use s3::session::Sessions;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

/// The name under which Postgres and RabbitMQ show this service.
const NAME: &str = "audit-export-exporter";
/// What jobs that have to stop get for giving back what they hold.
const GIVE_BACK_TIME: Duration = Duration::from_secs(3);

/// Why the exporter did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's settings.
    #[error(transparent)]
    Database(#[from] db::ConnectError),
    /// The broker's settings.
    #[error(transparent)]
    Broker(#[from] common::queue::ConnectError),
    /// The region whose STS endpoint is asked.
    #[error("AWS_REGION is not set, and no region is known otherwise")]
    NoRegion,
}

/// Works until `shutdown`, then drains: takes no new job, and finishes the jobs in progress or gives
/// them back within the configured time. `aws` tells our own identity, region and endpoints; `admin`
/// serves health and readiness.
///
/// # Errors
/// Settings that cannot be right; servers that are away are waited for.
pub async fn run(
    config: Config,
    aws: SdkConfig,
    admin: Option<TcpListener>,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    common::queue::parse_url(config.amqp_url.expose_secret())?;
    if aws.region().is_none() {
        return Err(StartError::NoRegion);
    }
    // A job reads lines and writes down what it sends meanwhile, and its lease is renewed beside it.
    let jobs = usize::from(config.concurrency) + usize::from(consumer::TEST_SLOTS);
    let pool = db::pool(config.database_url.expose_secret(), NAME, 3 * jobs)?;

    let done = CancellationToken::new();
    let amqp_url = config.amqp_url.expose_secret().to_owned();
    let (publisher, publishing) = Publisher::start(amqp_url, NAME.into(), done.clone());
    let sessions = Sessions::new(aws, &config);
    let drain_time = config.drain;
    let stop = CancellationToken::new();
    let slots = usize::from(config.concurrency);
    let export_slots = Arc::new(Semaphore::new(slots));
    let retry_slots = Arc::new(Semaphore::new((slots / 2).max(1)));
    let context = Arc::new(Context {
        config,
        pool,
        publisher,
        sessions,
        export_slots,
        retry_slots,
        stop: stop.clone(),
    });

    let admin = admin.map(|listener| {
        let dependencies = admin::Dependencies {
            pool: context.pool.clone(),
            publisher: context.publisher.clone(),
            draining: shutdown.clone(),
        };
        tokio::spawn(admin::serve(listener, dependencies, done.clone()))
    });
    let consuming = tokio::spawn(consumer::run(context, shutdown.clone()));

    shutdown.cancelled().await;
    drain(consuming, drain_time, &stop).await;
    done.cancel();
    let _ = publishing.await;
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    tracing::info!("drained");
    Ok(())
}

async fn drain(
    mut consuming: tokio::task::JoinHandle<()>,
    time: Duration,
    stop: &CancellationToken,
) {
    let to_finish = time.saturating_sub(GIVE_BACK_TIME).max(time / 2);
    if tokio::time::timeout(to_finish, &mut consuming)
        .await
        .is_ok()
    {
        return;
    }
    tracing::warn!("jobs are given back");
    stop.cancel();
    if tokio::time::timeout(time - to_finish, &mut consuming)
        .await
        .is_err()
    {
        tracing::error!("jobs were not given back in time; their leases will expire");
        consuming.abort();
    }
}
