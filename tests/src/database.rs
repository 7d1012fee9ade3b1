//! A database of the test's own, on the server of `DATABASE_URL`.

use tokio_postgres::{Client, GenericClient, NoTls};
use uuid::Uuid;

use crate::env::required;

/// A migrated database.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// Creates and migrates it.
    pub async fn create() -> Self {
        let server = required("DATABASE_URL");
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        connect(&server)
            .await
            .batch_execute(&format!("create database {name}"))
            .await
            .expect("DATABASE_URL is a user who may create databases (see tests/run.sh)");
        let url = with_database(&server, &name);
        api::migrate::migrate(&url.as_str().into())
            .await
            .expect("the migrations apply");
        Self { name, url }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to it.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Removes it, whoever is connected; best effort.
    pub async fn drop_now(&self) {
        let server = connect(&required("DATABASE_URL")).await;
        let statement = format!("drop database if exists {} with (force)", self.name);
        let _ = server.batch_execute(&statement).await;
    }
}

/// Appends events by the SQL function, as the vendor's own code may do within its transaction; returns
/// how many were new.
///
/// # Errors
/// Postgres's: what the function refuses.
pub async fn append(
    client: &impl GenericClient,
    org: &str,
    events: &[String],
) -> Result<i64, tokio_postgres::Error> {
    let sql = "select accepted from append_audit_events($1, $2)";
    Ok(client.query_one(sql, &[&org, &events]).await?.get(0))
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("Postgres answers at DATABASE_URL (see tests/run.sh)");
    tokio::spawn(connection);
    client
}

/// The URL with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let mut url: reqwest::Url = url.parse().expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.into()
}
