//! What the scheduler does to tests that nobody has in hand.

use std::time::Duration;

use super::super::{Error, GenericClient, seconds};
use crate::ids::{OrgId, TestId};

/// After how many lost leases a test is given up.
const MAX_ATTEMPTS: i32 = 5;

/// Puts tests whose worker has gone back into the queue; one that took down several workers fails.
///
/// # Errors
/// Postgres's.
pub async fn take_back_expired(db: &impl GenericClient) -> Result<u64, Error> {
    let statement = db
        .prepare_cached(
            "with expired as (
                 select id from connection_tests
                  where state = 'running' and lease_expires_at < now()
                    for update skip locked
             )
             update connection_tests t
                set state = case when t.attempts < $1 then 'queued' else 'failed' end,
                    error_class = case when t.attempts < $1 then null else 'internal' end,
                    error = case when t.attempts < $1 then null
                        else 'the test could not be carried out; it will be tried again' end,
                    finished_at = case when t.attempts < $1 then null else now() end,
                    lease_token = null, lease_expires_at = null, published_at = null
               from expired e
              where t.id = e.id",
        )
        .await?;
    db.execute(&statement, &[&MAX_ATTEMPTS]).await
}

/// Queued tests that were not published, or so long ago that the message counts as lost. They count
/// as published: the caller publishes them now.
///
/// # Errors
/// Postgres's.
pub async fn take_unpublished(
    db: &impl GenericClient,
    republish_after: Duration,
    limit: i64,
) -> Result<Vec<(OrgId, TestId)>, Error> {
    let statement = db
        .prepare_cached(
            "with due as (
                 select id from connection_tests
                  where state = 'queued'
                    and (published_at is null
                         or published_at < now() - make_interval(secs => $1))
                  order by published_at nulls first
                  limit $2
                    for update skip locked
             )
             update connection_tests t set published_at = now()
               from due d
              where t.id = d.id
             returning t.org_id, t.id",
        )
        .await?;
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
pub async fn mark_unpublished(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests set published_at = null
              where org_id = $1 and id = $2 and state = 'queued'",
        )
        .await?;
    db.execute(&statement, &[org, &id]).await?;
    Ok(())
}
