//! What the scheduler does to runs that nobody has in hand.

use std::time::Duration;

use super::super::{Error, GenericClient, seconds};
use crate::ids::{OrgId, RunId};

/// After how many leases lost in a row a run is given up as ours.
const MAX_LOST_LEASES: i32 = 5;

/// Puts runs whose worker has gone back into the queue. One that took down several workers in turn
/// fails, and its organisation is looked at again after a pause that grows with every such failure.
///
/// # Errors
/// Postgres's.
pub async fn take_back_expired(db: &impl GenericClient) -> Result<u64, Error> {
    let statement = db
        .prepare_cached(
            "with expired as (
                 select id, org_id, lost_leases + 1 >= $1 as given_up from export_runs
                  where state = 'running' and lease_expires_at < now()
                    for no key update skip locked
             ), checked as (
                 -- Out of the agreed order of locks, so it must not wait.
                 select s.org_id from export_state s
                  where s.org_id in (select e.org_id from expired e where e.given_up)
                    and s.next_check_at is not null
                    for no key update skip locked
             ), later as (
                 update export_state s
                    set internal_failures = s.internal_failures + 1,
                        next_check_at = now() + least(
                            interval '1 minute' * 2 ^ least(s.internal_failures, 30),
                            interval '1 hour')
                   from checked c
                  where s.org_id = c.org_id
             )
             update export_runs r
                set state = case when e.given_up then 'failed' else 'queued' end,
                    lost_leases = r.lost_leases + 1,
                    error_class = case when e.given_up then 'internal' end,
                    error_code = case when e.given_up then 'workers_lost' end,
                    error = case when e.given_up
                        then 'several workers ended while they worked on this run; it will be tried again' end,
                    finished_at = case when e.given_up then now() end,
                    lease_token = null, lease_expires_at = null, published_at = null
               from expired e
              where r.id = e.id",
        )
        .await?;
    db.execute(&statement, &[&MAX_LOST_LEASES]).await
}

/// Runs that are due and were not published, or so long ago that the message counts as lost. They
/// count as published: the caller publishes them now.
///
/// # Errors
/// Postgres's.
pub async fn take_unpublished(
    db: &impl GenericClient,
    republish_after: Duration,
    limit: i64,
) -> Result<Vec<(OrgId, RunId)>, Error> {
    let statement = db
        .prepare_cached(
            "with due as (
                 select id from export_runs
                  where state = 'queued' and not_before <= now()
                    and (published_at is null
                         or published_at < now() - make_interval(secs => $1))
                  order by not_before
                  limit $2
                    for no key update skip locked
             )
             update export_runs r set published_at = now()
               from due d
              where r.id = d.id
             returning r.org_id, r.id",
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

/// Forgets that a run was published: the broker did not take it.
///
/// # Errors
/// Postgres's.
pub async fn mark_unpublished(
    db: &impl GenericClient,
    org: &OrgId,
    id: RunId,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update export_runs set published_at = null
              where org_id = $1 and id = $2 and state = 'queued'",
        )
        .await?;
    db.execute(&statement, &[org, &id]).await?;
    Ok(())
}
