//! What the scheduler does to tests that nobody has in hand.

use std::time::Duration;

use super::super::{Client, Error, Tenant, seconds};
use crate::ids::{OrgId, TestId};

/// After how many lost leases a test is given up.
const MAX_ATTEMPTS: i32 = 5;

/// Puts tests whose worker has gone back into the queue; one that took down several workers fails.
///
/// # Errors
/// Postgres's.
pub async fn take_back_expired(db: &Client) -> Result<i64, Error> {
    let sql = "select take_back_expired_tests($1) as tests";
    let statement = db.prepare_cached(sql).await?;
    let row = db.query_one(&statement, &[&MAX_ATTEMPTS]).await?;
    Ok(row.get("tests"))
}

/// Queued tests that were not published, or so long ago that the message counts as lost. They count
/// as published: the caller publishes them now.
///
/// # Errors
/// Postgres's.
pub async fn take_unpublished(
    db: &Client,
    republish_after: Duration,
    limit: i64,
) -> Result<Vec<(OrgId, TestId)>, Error> {
    let sql = "select org_id, id from take_unpublished_tests($1, $2)";
    let statement = db.prepare_cached(sql).await?;
    let rows = db
        .query(&statement, &[&seconds(republish_after), &limit])
        .await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("org_id"), row.get("id")))
        .collect())
}

/// Forgets that a test was published: the broker did not take it.
///
/// # Errors
/// Postgres's.
pub async fn mark_unpublished(db: &Tenant<'_>, id: TestId) -> Result<(), Error> {
    let sql = "
        update connection_tests set published_at = null
         where org_id = $1 and id = $2 and state = 'queued'";
    db.execute(sql, &[db.org(), &id]).await?;
    Ok(())
}
