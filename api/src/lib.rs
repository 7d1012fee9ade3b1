//! The REST API of audit-export: it owns the export configurations, has them tested, lists the runs,
//! takes audit events in, and schedules.

mod access_log;
mod admission;
pub mod auth;
mod author;
#[doc(hidden)]
pub mod benchmarking;
pub mod config;
pub mod error;
mod extract;
#[doc(hidden)]
pub mod fuzzing;
mod head;
pub mod ingest;
mod ingest_turns;
mod listen;
pub mod migrate;
mod per_org;
mod places;
mod preconditions;
mod publish;
mod rate_limits;
pub mod routes;
mod scheduler;
mod security_headers;
mod server;
mod setup;
mod write_timeout;

use std::{sync::Arc, time::Duration};

use axum::extract::FromRef;
use common::{
    admin::{self, Dependencies},
    db,
    queue::Publisher,
};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use admission::Admission;
use auth::{Authenticator, Jwks};
use config::{Config, ConfigError};
use ingest_turns::IngestTurns;
use listen::FinishedTests;
use places::Places;
use rate_limits::RateLimits;
use routes::IngestBudget;
use scheduler::Scheduler;

/// Connections to Postgres at most, the listening one apart.
const POOL_SIZE: usize = 16;
/// How long background work may take to end after the last request.
const BACKGROUND_DRAIN: Duration = Duration::from_secs(5);

/// What handlers share.
#[derive(Clone)]
pub struct AppState {
    pool: db::Pool,
    publisher: Publisher,
    authenticator: Arc<Authenticator>,
    tests: FinishedTests,
    test_timeout: Duration,
    /// The exporter's identity, where the operator has told it.
    principal: Option<setup::PrincipalArn>,
    /// How many proxies stand before the API that tell for whom they ask.
    trusted_proxies: usize,
    ingest_budget: IngestBudget,
    ingest_turns: IngestTurns,
    rate_limits: RateLimits,
    admission: Admission,
    /// Cancelled when the process is to end: nobody should wait for something long any more.
    draining: CancellationToken,
}

impl FromRef<AppState> for Arc<Authenticator> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.authenticator)
    }
}

/// Why the API does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings for Postgres cannot be used.
    #[error(transparent)]
    Database(#[from] db::ConnectError),
    /// The client that fetches signing keys cannot be made.
    #[error("signing keys cannot be fetched: {0}")]
    Jwks(#[from] reqwest::Error),
    /// The admin listener failed.
    #[error("the admin listener failed: {0}")]
    Admin(#[source] std::io::Error),
}

/// Serves the API on `listener`, and health on `admin`, until `shutdown`; then lets the requests at
/// hand end. Neither Postgres nor RabbitMQ needs to be there when it starts.
///
/// # Errors
/// See [`ServeError`]; all but the last before anything is served.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    admin: Option<TcpListener>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    config.check()?;
    let pool = db::pool(
        config.database_url.expose_secret(),
        "audit-export-api",
        POOL_SIZE,
    )?;
    let jwks = config
        .jwks_url
        .clone()
        .map(Jwks::new)
        .transpose()?
        .map(Arc::new);
    let authenticator = Authenticator::new(
        config.jwt_secret.as_ref(),
        jwks.clone(),
        &config.tokens.issuer,
        &config.tokens.audience,
    );

    // What requests need goes on until the last of them has ended.
    let background = CancellationToken::new();
    let tasks = TaskTracker::new();
    let name = "audit-export-api".to_owned();
    let (publisher, publishing) = Publisher::start(
        config.amqp_url.expose_secret().to_owned(),
        name,
        background.clone(),
    );
    let (tests, listening) = FinishedTests::start(
        pool.clone(),
        config.database_url.clone(),
        background.clone(),
    );
    tasks.spawn(publishing);
    tasks.spawn(listening);
    if let Some(jwks) = jwks {
        let background = background.clone();
        tasks.spawn(async move { jwks.keep_fresh(background).await });
    }
    let scheduler = Scheduler {
        pool: pool.clone(),
        publisher: publisher.clone(),
        interval: config.interval(),
        republish_after: config.republish_after(),
        system_events: config.system_events,
    };
    tasks.spawn(scheduler.run(shutdown.clone()));
    let admin_failed = admin.map(|listener| {
        let dependencies = Dependencies {
            pool: pool.clone(),
            publisher: publisher.clone(),
            draining: shutdown.clone(),
        };
        tasks.spawn(admin::serve(listener, dependencies, background.clone()))
    });

    let state = AppState {
        pool,
        publisher,
        authenticator: Arc::new(authenticator),
        tests,
        test_timeout: config.test_timeout(),
        principal: config.principal_arn.clone(),
        trusted_proxies: config.trusted_proxies.into(),
        ingest_budget: IngestBudget::new(),
        ingest_turns: IngestTurns::new(),
        rate_limits: RateLimits::new(&config.limits),
        admission: Admission::new(config.limits.max_requests),
        draining: shutdown.clone(),
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving");
    }
    let places = usize::try_from(config.limits.max_connections).unwrap_or(usize::MAX);
    server::serve(
        listener,
        routes::router(state),
        shutdown,
        Places::new(places),
        config.drain(),
    )
    .await;

    background.cancel();
    tasks.close();
    if tokio::time::timeout(BACKGROUND_DRAIN, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("background work did not end in time");
    }
    match admin_failed {
        Some(task) if task.is_finished() => match task.await {
            Ok(served) => served.map_err(ServeError::Admin),
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A state whose servers are away.
#[cfg(test)]
fn state_for_tests() -> AppState {
    let gone = CancellationToken::new();
    gone.cancel();
    let url = "postgres://nobody@127.0.0.1:1/none";
    let pool = db::pool(url, "test", 1).unwrap();
    let (publisher, _) = Publisher::start(
        "amqp://127.0.0.1:1".to_owned(),
        "test".to_owned(),
        gone.clone(),
    );
    let (tests, _) = FinishedTests::start(pool.clone(), url.into(), gone.clone());
    let secret = "a secret for tests of 32 bytes or more".into();
    AppState {
        pool,
        publisher,
        authenticator: Arc::new(Authenticator::new(
            Some(&secret),
            None,
            "issuer",
            "audience",
        )),
        tests,
        test_timeout: Duration::from_secs(1),
        principal: None,
        trusted_proxies: 0,
        ingest_budget: IngestBudget::new(),
        ingest_turns: IngestTurns::new(),
        rate_limits: RateLimits::new(&config::Limits {
            tests_per_minute: 10,
            runs_per_minute: 10,
            max_requests: 16,
            max_connections: 16,
        }),
        admission: Admission::new(16),
        draining: gone,
    }
}
