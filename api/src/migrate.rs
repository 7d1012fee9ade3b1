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
    /// `DATABASE_URL` does not say which role is to be granted what the services need.
    #[error("DATABASE_URL names no user, so nothing can be granted to it")]
    NoServiceRole,
    /// There is no such role.
    #[error("there is no role {0}, which DATABASE_URL names: create it first")]
    UnknownRole(String),
    /// A migration failed, or one that was applied has been changed since.
    #[error(transparent)]
    Migration(#[from] refinery::Error),
}

/// What the services' role may do, once the migrations are there.
const GRANTS: &str = include_str!("../../migrations/grants.sql");

/// Applies the migrations that are missing, one migrator at a time, and returns their names. Where the
/// services log in as another role than the owner, it is granted what they need.
///
/// # Errors
/// See [`MigrateError`]; what was applied before the failure stays.
pub async fn migrate(
    owner: &SecretString,
    services: Option<&SecretString>,
) -> Result<Vec<String>, MigrateError> {
    let server = db::Server::parse(owner.expose_secret(), "audit-export-migrate")?;
    let service_role = match services {
        Some(url) => service_role(&server, url)?,
        None => None,
    };
    let (mut client, connection) = server.connect().await?;
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
    // What functions that look across organisations find under a name is fixed when they are made.
    let pin =
        "select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false)";
    client.execute(pin, &[]).await?;
    let report = embedded::migrations::runner()
        .run_async(&mut client)
        .await?;
    if let Some(role) = service_role {
        grant(&client, &role).await?;
    }
    // The lock goes with the connection.
    drop(client);
    let _ = connection.await;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

/// The role that is not the owner's.
fn service_role(
    owner: &db::Server,
    services: &SecretString,
) -> Result<Option<String>, MigrateError> {
    let services = db::Server::parse(services.expose_secret(), "audit-export-migrate")?;
    let role = services.user().ok_or(MigrateError::NoServiceRole)?;
    Ok((owner.user() != Some(role)).then(|| role.to_owned()))
}

async fn grant(client: &tokio_postgres::Client, role: &str) -> Result<(), MigrateError> {
    let names = "select quote_ident(rolname), quote_ident(current_schema()) from pg_roles where rolname = $1";
    let names = client.query_opt(names, &[&role]).await?;
    let names = names.ok_or_else(|| MigrateError::UnknownRole(role.to_owned()))?;
    let grants = GRANTS
        .replace(":schema", names.get(1))
        .replace(":service", names.get(0));
    Ok(client.batch_execute(&grants).await?)
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
