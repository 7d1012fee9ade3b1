//! A database of the test's own, on the server of `DATABASE_OWNER_URL`. The services log in as the role of
//! `DATABASE_URL`; the test itself, as the owner, sees all.

use std::net::SocketAddr;

use tokio_postgres::{Client, GenericClient, NoTls};
use uuid::Uuid;

use crate::env::required;

/// Where Postgres listens, for a proxy before it.
pub fn address() -> SocketAddr {
    let url: reqwest::Url = required("DATABASE_URL").parse().expect("it is a URL");
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    let address = format!("{host}:{port}").parse();
    address.expect("the host of DATABASE_URL is an address")
}

/// A migrated database.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    owner_url: String,
}

impl Database {
    /// Creates and migrates it.
    pub async fn create() -> Self {
        let server = required("DATABASE_OWNER_URL");
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        connect(&server)
            .await
            .batch_execute(&format!("create database {name}"))
            .await
            .expect("DATABASE_OWNER_URL is a user who may create databases (see tests/run.sh)");
        let owner_url = with_database(&server, &name);
        let url = with_database(&required("DATABASE_URL"), &name);
        api::migrate::migrate(&owner_url.as_str().into(), Some(&url.as_str().into()))
            .await
            .expect("the migrations apply");
        Self {
            name,
            url,
            owner_url,
        }
    }

    /// Its URL for the services.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its URL for the owner of its tables.
    pub fn owner_url(&self) -> &str {
        &self.owner_url
    }

    /// A connection to it as the owner of its tables, who sees the rows of all organisations.
    pub async fn client(&self) -> Client {
        connect(&self.owner_url).await
    }

    /// A connection to it as the services' role.
    pub async fn service_client(&self) -> Client {
        connect(&self.url).await
    }

    /// A connection to it as some other role.
    pub async fn client_of(&self, role: &str) -> Client {
        let mut url: reqwest::Url = self.url.parse().unwrap();
        url.set_username(role).unwrap();
        connect(url.as_str()).await
    }

    /// Removes it, whoever is connected; best effort.
    pub async fn drop_now(&self) {
        let server = connect(&required("DATABASE_OWNER_URL")).await;
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
        .expect("Postgres answers (see tests/run.sh)");
    tokio::spawn(connection);
    client
}

/// The URL with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let mut url: reqwest::Url = url.parse().expect("it is a URL");
    url.set_path(name);
    url.into()
}
