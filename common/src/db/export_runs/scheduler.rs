//! What the scheduler does to runs that nobody has in hand.

use std::time::Duration;

use super::super::{Client, Error, Tenant, seconds};
use crate::ids::{OrgId, RunId};

/// After how many leases lost in a row a run is given up as ours.
const MAX_LOST_LEASES: i32 = 5;

/// Puts runs whose worker has gone back into the queue. One that took down several workers in turn
/// fails, and its organisation is looked at again after a pause that grows with every such failure.
///
/// # Errors
/// Postgres's.
pub async fn take_back_expired(db: &Client) -> Result<i64, Error> {
    let sql = "select take_back_expired_runs($1) as runs";
    let statement = db.prepare_cached(sql).await?;
    let row = db.query_one(&statement, &[&MAX_LOST_LEASES]).await?;
    Ok(row.get("runs"))
}

/// Runs that are due and were not published, or so long ago that the message counts as lost. They
/// count as published: the caller publishes them now.
///
/// # Errors
/// Postgres's.
pub async fn take_unpublished(
    db: &Client,
    republish_after: Duration,
    limit: i64,
) -> Result<Vec<(OrgId, RunId)>, Error> {
    let sql = "select org_id, id from take_unpublished_runs($1, $2)";
    let statement = db.prepare_cached(sql).await?;
    let rows = db
        .query(&statement, &[&seconds(republish_after), &limit])
        .await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("org_id"), row.get("id")))
        .collect())
}

/// Forgets that a run was published: the broker did not take it.
///
/// # Errors
/// Postgres's.
pub async fn mark_unpublished(db: &Tenant<'_>, id: RunId) -> Result<(), Error> {
    let sql = "
        update export_runs set published_at = null
         where org_id = $1 and id = $2 and state = 'queued'";
    db.execute(sql, &[db.org(), &id]).await?;
    Ok(())
}
