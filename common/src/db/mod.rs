//! Postgres: how to connect, and all SQL, one file per table. Each file's head says who writes the
//! table. Every query for a tenant takes a [`Tenant`]; those across organisations call functions of the
//! schema that do just that.
//!
//! Locks are taken in one order, so that no two transactions wait for each other: `export_state`,
//! then `export_configs`, `connection_tests`, `export_runs`, `export_objects`.

pub mod audit_events;
mod connect;
pub mod connection_tests;
pub mod export_configs;
pub mod export_objects;
pub mod export_runs;
pub mod export_state;
pub mod orgs;
pub mod system_events;
mod tenant;

use std::{error::Error as StdError, io, time::Duration};

pub use connect::{ConnectError, Connection, Server, pool};
pub use deadpool_postgres::{Client, Pool, PoolError};
pub use tenant::Tenant;
pub use tokio_postgres::{Error, error::SqlState};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use crate::destination::{
    AccountId, Bucket, Compression, Destination, KmsKeyArn, Prefix, Region, RoleArn,
};

/// A query that could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection was to be had.
    #[error("no database connection: {}", describe_pool(.0))]
    Pool(#[from] PoolError),
    /// The query failed.
    #[error("{}", describe(.0))]
    Query(#[from] Error),
}

/// An error as it is logged: the driver's own text leaves out what the server said. Of that only the
/// message and the code are taken. Details quote rows, and so do the messages of class 22, which are
/// about values. Of other causes only those of the connection are told: they quote nothing.
pub fn describe(error: &Error) -> String {
    let Some(from_server) = error.as_db_error() else {
        let text = error.to_string();
        return match error.source() {
            Some(cause) if cause.is::<io::Error>() || text == TLS_FAILED => {
                format!("{text}: {cause}")
            }
            _ => text,
        };
    };
    let (severity, code) = (from_server.severity(), from_server.code().code());
    if code.starts_with("22") {
        return format!("{severity}: a value was refused ({code})");
    }
    format!("{severity}: {} ({code})", from_server.message())
}

/// What the driver says of everything that goes wrong before a connection is encrypted.
const TLS_FAILED: &str = "error performing TLS handshake";

/// The same of an error of the pool.
pub fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => describe(error),
        other => other.to_string(),
    }
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
        compression: row.try_get("compression")?,
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

parsed_from_text!(
    Bucket,
    Region,
    RoleArn,
    Prefix,
    AccountId,
    KmsKeyArn,
    Compression
);

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
