//! Connecting to Postgres: the URL, TLS, and the pool. The pool, `LISTEN` and `migrate` all come here.

mod tls;

use std::time::Duration;

use deadpool_postgres::{Hook, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use tokio_postgres::{Client, Config, Error, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{describe, tenant};
use tls::Roots;

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
    #[error("DATABASE_URL is not a Postgres connection string: {}", fault(.0))]
    Url(Error),
    /// What the URL says of TLS cannot be right.
    #[error("DATABASE_URL: {0}")]
    Tls(&'static str),
    /// The certificates to trust could not be read.
    #[error("root certificates cannot be read: {0}")]
    Certificates(String),
    /// The server refused, or is not there.
    #[error("{}", describe(.0))]
    Connect(#[from] Error),
    /// The pool's settings are wrong.
    #[error(transparent)]
    Pool(#[from] deadpool_postgres::BuildError),
}

/// What is wrong with a connection string. Of the driver's reasons only the one that names an option
/// is told; others repeat what stands in the string, which may be the password.
fn fault(error: &Error) -> String {
    let reason = std::error::Error::source(error).map(ToString::to_string);
    let reason = reason.filter(|text| text.starts_with("invalid value for option"));
    reason.unwrap_or_else(|| error.to_string())
}

/// A connection, which has to be polled.
pub type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A server, and how to log in to it.
pub struct Server {
    config: Config,
    roots: Roots,
}

impl Server {
    /// Reads a connection string, and adds the time-outs that the services rely on.
    ///
    /// # Errors
    /// The string is not a Postgres URL or key-value string, or what it says of TLS is contradictory.
    pub fn parse(url: &str, application: &str) -> Result<Self, ConnectError> {
        let (url, roots) = tls::take(url)?;
        let mut config: Config = url.parse().map_err(ConnectError::Url)?;
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
        Ok(Self { config, roots })
    }

    /// Whom it logs in as, where the string says so.
    pub fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// Opens one connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        Ok(self.config.connect(self.roots.connector()?).await?)
    }
}

/// A pool of at most `size` connections, none of which is opened yet.
///
/// # Errors
/// The URL or the certificates to trust cannot be read.
pub fn pool(url: &str, application: &str, size: usize) -> Result<Pool, ConnectError> {
    let Server { config, roots } = Server::parse(url, application)?;
    let manager = Manager::from_config(
        config,
        roots.connector()?,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Ok(Pool::builder(manager)
        .max_size(size)
        // The one that was used last is the one that has its statements and rows at hand.
        .queue_mode(QueueMode::Lifo)
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
