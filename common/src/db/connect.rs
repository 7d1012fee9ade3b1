//! Connecting to Postgres: the URL, TLS, and the pool.

use std::time::Duration;

use deadpool_postgres::{Hook, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::Error;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{describe, tenant};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may wait for a row that another transaction holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement may take in all.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a caller waits for a free connection.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// After how long without an answer a connection counts as dead.
const TCP_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of Postgres.
    #[error("DATABASE_URL is not a Postgres connection string: {0}")]
    Url(Error),
    /// The system's certificates could not be read.
    #[error("the system's root certificates cannot be read: {0}")]
    Certificates(String),
    /// The server refused, or is not there.
    #[error("{}", describe(.0))]
    Connect(#[from] Error),
    /// The pool's settings are wrong.
    #[error(transparent)]
    Pool(#[from] deadpool_postgres::BuildError),
}

/// Reads a connection string and adds the time-outs that the services rely on.
///
/// # Errors
/// The string is not a Postgres URL or key-value string.
pub fn parse_url(url: &str, application: &str) -> Result<tokio_postgres::Config, ConnectError> {
    let mut config: tokio_postgres::Config = url.parse().map_err(ConnectError::Url)?;
    let options = format!(
        "{} -c lock_timeout={} -c statement_timeout={}",
        config.get_options().unwrap_or_default(),
        LOCK_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis(),
    );
    config
        .options(options.trim())
        .application_name(application)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_TIMEOUT)
        .keepalives_idle(TCP_TIMEOUT);
    Ok(config)
}

/// TLS with the system's roots; whether it is used is for the URL's `sslmode` to say.
///
/// # Errors
/// The system's certificates cannot be read.
pub fn tls() -> Result<MakeRustlsConnect, ConnectError> {
    let (connect, unreadable) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| ConnectError::Certificates(format!("{errors:?}")))?;
    for error in unreadable {
        tracing::debug!(%error, "a root certificate is left out");
    }
    Ok(connect)
}

/// A pool of at most `size` connections, none of which is opened yet.
///
/// # Errors
/// The URL or the system's certificates cannot be read.
pub fn pool(url: &str, application: &str, size: usize) -> Result<Pool, ConnectError> {
    let manager = Manager::from_config(
        parse_url(url, application)?,
        tls()?,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Ok(Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async {
                tenant::warn_if_unconfined(client).await;
                Ok(())
            })
        }))
        .build()?)
}
