//! Postgres: how to connect, and all SQL, one file per table. Each file's head says who writes the
//! table. Every query for a tenant takes a [`Tenant`]; those across organisations call functions of the
//! schema that do just that.
//!
//! Locks are taken in one order, so that no two transactions wait for each other: `export_state`,
//! then `export_configs`, `connection_tests`, `export_runs`, `export_objects`.

pub mod audit_events;
pub mod connection_tests;
pub mod export_configs;
pub mod export_objects;
pub mod export_runs;
pub mod export_state;
pub mod orgs;
pub mod system_events;
mod tenant;

use std::{error::Error as StdError, time::Duration};

pub use deadpool_postgres::{Client, Pool, PoolError};
use deadpool_postgres::{Hook, Manager, ManagerConfig, RecyclingMethod, Runtime};
pub use tenant::Tenant;
pub use tokio_postgres::{Error, error::SqlState};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::destination::{AccountId, Bucket, Destination, KmsKeyArn, Prefix, Region, RoleArn};

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

/// A query that could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection was to be had.
    #[error("no database connection: {0}")]
    Pool(#[from] PoolError),
    /// The query failed.
    #[error("{}", describe(.0))]
    Query(#[from] Error),
}

/// An error as it is logged: the driver's own text leaves out what the server said. Of that only the
/// message and the code are taken. Details quote rows, and so do the messages of class 22, which are
/// about values.
pub fn describe(error: &Error) -> String {
    let Some(from_server) = error.as_db_error() else {
        return error.to_string();
    };
    let (severity, code) = (from_server.severity(), from_server.code().code());
    if code.starts_with("22") {
        return format!("{severity}: a value was refused ({code})");
    }
    format!("{severity}: {} ({code})", from_server.message())
}

impl QueryError {
    /// Whether the database is away or overloaded, so that the same query may succeed later.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Pool(_) => true,
            // Classes 08 connection, 40 rollback, 53 resources, 57 operator (shutdown, cancel), and
            // 25006, a standby that is not yet promoted; no code at all: the connection broke.
            Self::Query(error) => error.code().is_none_or(|state| {
                let code = state.code();
                code.starts_with("08")
                    || code.starts_with("40")
                    || code.starts_with("53")
                    || code.starts_with("57")
                    || matches!(code, "25006" | "55P03")
            }),
        }
    }
}

/// Whether the error means that another row stands in the way of a unique index.
pub fn is_unique_violation(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// The columns that make a destination.
fn destination(row: &Row) -> Result<Destination, Error> {
    Ok(Destination {
        bucket: row.try_get("bucket")?,
        region: row.try_get("region")?,
        role_arn: row.try_get("role_arn")?,
        prefix: row.try_get("prefix")?,
        bucket_owner: row.try_get("bucket_owner")?,
        kms_key_arn: row.try_get("kms_key_arn")?,
    })
}

/// Seconds as Postgres's `make_interval(secs => …)` takes them.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

macro_rules! parsed_from_text {
    ($($part:ty),+) => {$(
        impl<'a> FromSql<'a> for $part {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
                Ok(<$part>::parse(<&str>::from_sql(ty, raw)?)?)
            }

            fn accepts(ty: &Type) -> bool {
                <&str as FromSql>::accepts(ty)
            }
        }
    )+};
}

parsed_from_text!(Bucket, Region, RoleArn, Prefix, AccountId, KmsKeyArn);

/// Who has a run or test of some id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The organisation itself.
    This,
    /// Another one.
    Another,
    /// Nobody.
    Nobody,
}

/// Whose trouble a failure is, and so what becomes of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// It may be gone in a moment: tried again.
    Transient,
    /// The customer's side has to change: delivery is paused.
    Permanent,
    /// Our side: the database, the broker, or a bug. Never blamed on the customer.
    Internal,
    /// The organisation was not active when the run was to begin.
    NotActive,
}

impl FailureClass {
    /// The name in the database and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Internal => "internal",
            Self::NotActive => "not_active",
        }
    }
}

/// A failure as it is recorded and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose trouble it is.
    pub class: FailureClass,
    /// A stable name, such as AWS's error code.
    pub code: String,
    /// What to do about it, in a sentence.
    pub text: String,
}
