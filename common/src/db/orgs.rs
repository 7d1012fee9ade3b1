//! `orgs`, with the rows of `org_sequences` and `export_state` that are made with each. Written by
//! the API.

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Error, Tenant};
use crate::ids::OrgId;

/// An organisation.
#[derive(Debug, Clone)]
pub struct Org {
    /// The vendor's id.
    pub id: OrgId,
    /// For people.
    pub name: String,
    /// What the customer's trust policy must ask for.
    pub external_id: String,
    /// When it was first put.
    pub created_at: Timestamp,
}

impl From<&Row> for Org {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            name: row.get("name"),
            external_id: row.get("external_id"),
            created_at: row.get("created_at"),
        }
    }
}

/// Creates the organisation or renames it; the flag tells whether it was created. The external id
/// is made here, once: 122 bits from the system's random source.
///
/// # Errors
/// Postgres's.
pub async fn put(db: &Tenant<'_>, name: &str) -> Result<(Org, bool), Error> {
    let sql = "
        with org as (
            insert into orgs (id, name, external_id) values ($1, $2, $3)
                on conflict (id) do update set name = excluded.name
            returning *, xmax = 0 as created
        ), sequence as (
            insert into org_sequences (org_id) select id from org where created
        ), state as (
            insert into export_state (org_id) select id from org where created
        )
        select id, name, external_id, created_at, created from org";
    let external_id = Uuid::new_v4().simple().to_string();
    let row = db.query_one(sql, &[db.org(), &name, &external_id]).await?;
    Ok(((&row).into(), row.get("created")))
}

/// The organisation, if there is one of this id.
///
/// # Errors
/// Postgres's.
pub async fn find(db: &Tenant<'_>) -> Result<Option<Org>, Error> {
    let sql = "select id, name, external_id, created_at from orgs where id = $1";
    Ok(db
        .query_opt(sql, &[db.org()])
        .await?
        .as_ref()
        .map(Org::from))
}
