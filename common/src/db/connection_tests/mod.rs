//! `connection_tests`: tests of a destination. Inserted by the API, or by the exporter for a test
//! that another program submitted; finished by the exporter.

mod scheduler;
mod worker;

use serde_json::Value;

use super::{Error, GenericClient};
use crate::{
    destination::Destination,
    ids::{OrgId, TestId},
};

pub use scheduler::{mark_unpublished, take_back_expired, take_unpublished};
pub use worker::{Claimed, TestOutcome, claim, finish, give_back, renew};

/// The channel on which the id of every finished test is notified.
pub const FINISHED_CHANNEL: &str = "audit_export_test_finished";

/// Where a job's outcome goes beside the results exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyTo {
    /// A queue.
    pub queue: Option<String>,
    /// What the requester knows the answer by.
    pub correlation_id: Option<String>,
}

/// Queues a test of the stored destination. `None` where there is no config, where the id is taken,
/// or where a test of the system's own is already under way. It counts as published: the caller
/// publishes it now.
///
/// # Errors
/// Postgres's.
pub async fn queue_of_stored(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
    trigger: &str,
    reply_to: Option<&ReplyTo>,
) -> Result<Option<TestId>, Error> {
    let statement = db
        .prepare_cached(
            "insert into connection_tests
                    (id, org_id, trigger, version, bucket, region, role_arn, prefix, reply_to,
                     correlation_id, published_at)
             select $2, c.org_id, $3, c.version, c.bucket, c.region, c.role_arn, c.prefix, $4, $5,
                    now()
               from export_configs c
              where c.org_id = $1
                 on conflict do nothing",
        )
        .await?;
    let reply_queue = reply_to.and_then(|r| r.queue.as_deref());
    let correlation_id = reply_to.and_then(|r| r.correlation_id.as_deref());
    let queued = db
        .execute(
            &statement,
            &[org, &id, &trigger, &reply_queue, &correlation_id],
        )
        .await?;
    Ok((queued == 1).then_some(id))
}

/// Queues a test of settings that are not stored. It counts as published: the caller publishes it
/// now.
///
/// # Errors
/// Postgres's.
pub async fn queue_of_provided(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
    provided: &Destination,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "insert into connection_tests
                    (id, org_id, trigger, bucket, region, role_arn, prefix, published_at)
             values ($2, $1, 'manual', $3, $4, $5, $6, now())",
        )
        .await?;
    let Destination {
        bucket,
        region,
        role_arn,
        prefix,
    } = provided;
    db.execute(
        &statement,
        &[
            org,
            &id,
            &bucket.as_str(),
            &region.as_str(),
            &role_arn.expose(),
            &prefix.as_str(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes back a test that nobody waits for any more, unless a worker has begun it.
///
/// # Errors
/// Postgres's.
pub async fn withdraw(db: &impl GenericClient, org: &OrgId, id: TestId) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests set state = 'superseded', finished_at = now()
              where org_id = $1 and id = $2 and state = 'queued'",
        )
        .await?;
    db.execute(&statement, &[org, &id]).await?;
    Ok(())
}

/// Ends the system's own open tests: the config they were made for has just been replaced.
pub(super) async fn supersede_own(db: &impl GenericClient, org: &OrgId) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests set state = 'superseded', finished_at = now()
              where org_id = $1 and state in ('queued', 'running')
                and trigger in ('automatic', 'probe')",
        )
        .await?;
    db.execute(&statement, &[org]).await?;
    Ok(())
}

/// A test that ended.
#[derive(Debug)]
pub struct Finished {
    /// Its stages, as the exporter recorded them.
    pub stages: Value,
    /// Why it failed, where it did.
    pub error: Option<String>,
    /// What is not perfect though it works.
    pub warning: Option<String>,
}

/// The test's result, once it has one.
///
/// # Errors
/// Postgres's.
pub async fn find_finished(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
) -> Result<Option<Finished>, Error> {
    let statement = db
        .prepare_cached(
            "select stages, error, warning from connection_tests
              where org_id = $1 and id = $2 and state in ('succeeded', 'failed')",
        )
        .await?;
    let row = db.query_opt(&statement, &[org, &id]).await?;
    Ok(row.map(|row| Finished {
        stages: row.get("stages"),
        error: row.get("error"),
        warning: row.get("warning"),
    }))
}

/// Whose a test is, whatever its state; the one look-up by id alone.
///
/// # Errors
/// Postgres's.
pub async fn owner(db: &impl GenericClient, id: TestId) -> Result<Option<OrgId>, Error> {
    let statement = db
        .prepare_cached("select org_id from connection_tests where id = $1")
        .await?;
    Ok(db
        .query_opt(&statement, &[&id])
        .await?
        .map(|row| row.get("org_id")))
}
