//! Bringing the schema up to date.

use common::db;
use secrecy::{ExposeSecret, SecretString};

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Any number that all migrators of this schema agree on: refinery takes no lock of its own, and two
/// at once fail each other.
const ADVISORY_LOCK: i64 = 0x6175_6469_745f_6578;

/// Why the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] db::ConnectError),
    /// Postgres's own.
    #[error("{}", db::describe(.0))]
    Database(#[from] db::Error),
    /// A migration failed, or one that was applied has been changed since.
    #[error(transparent)]
    Migration(#[from] refinery::Error),
}

/// Applies the migrations that are missing, one migrator at a time, and returns their names.
///
/// # Errors
/// See [`MigrateError`]; what was applied before the failure stays.
pub async fn migrate(url: &SecretString) -> Result<Vec<String>, MigrateError> {
    let config = db::parse_url(url.expose_secret(), "audit-export-migrate")?;
    let (mut client, connection) = config.connect(db::tls()?).await?;
    let connection = tokio::spawn(connection);
    // The services' own time-outs would end the wait for another migrator, and a long migration.
    // Nothing else should wait for long behind a migration that waits for a table, though.
    client
        .batch_execute("set statement_timeout = 0; set lock_timeout = 0")
        .await?;
    client
        .execute("select pg_advisory_lock($1)", &[&ADVISORY_LOCK])
        .await?;
    client.batch_execute("set lock_timeout = '10s'").await?;
    let report = embedded::migrations::runner()
        .run_async(&mut client)
        .await?;
    // The lock goes with the connection.
    drop(client);
    let _ = connection.await;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let runner = embedded::migrations::runner();
        let mut versions: Vec<_> = runner
            .get_migrations()
            .iter()
            .map(|m| i64::from(m.version()))
            .collect();
        versions.sort_unstable();
        let expected: Vec<_> = (1..).take(versions.len()).collect();
        assert_eq!(versions, expected);
    }
}
