//! `connection_tests`: tests of a destination. Inserted by the API, or by the exporter for a test
//! that another program submitted; finished by the exporter.

mod scheduler;
mod worker;

use serde_json::Value;

use super::{Error, Owner, Tenant};
use crate::{
    destination::{AccountId, Destination, KmsKeyArn},
    ids::TestId,
};

pub use scheduler::{mark_unpublished, take_back_expired, take_unpublished};
pub use worker::{Claimed, TestOutcome, claim, finish, give_back, renew};

/// The channel on which the id of every finished test is notified.
pub const FINISHED_CHANNEL: &str = "audit_export_test_finished";

/// What a test is for that tries a paused destination.
const PROBE: &str = "probe";

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
    db: &Tenant<'_>,
    id: TestId,
    trigger: &str,
    reply_to: Option<&ReplyTo>,
) -> Result<Option<TestId>, Error> {
    let sql = "
        insert into connection_tests
               (id, org_id, trigger, version, bucket, region, role_arn, prefix, bucket_owner,
                kms_key_arn, compression, reply_to, correlation_id, published_at)
        select $2, c.org_id, $3, c.version, c.bucket, c.region, c.role_arn, c.prefix,
               c.bucket_owner, c.kms_key_arn, c.compression, $4, $5, now()
          from export_configs c
         where c.org_id = $1
            on conflict do nothing";
    let reply_queue = reply_to.and_then(|r| r.queue.as_deref());
    let correlation_id = reply_to.and_then(|r| r.correlation_id.as_deref());
    let queued = db
        .execute(
            sql,
            &[db.org(), &id, &trigger, &reply_queue, &correlation_id],
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
    db: &Tenant<'_>,
    id: TestId,
    provided: &Destination,
) -> Result<(), Error> {
    let sql = "
        insert into connection_tests
               (id, org_id, trigger, bucket, region, role_arn, prefix, bucket_owner, kms_key_arn,
                compression, published_at)
        values ($2, $1, 'manual', $3, $4, $5, $6, $7, $8, $9, now())";
    let Destination {
        bucket,
        region,
        role_arn,
        prefix,
        bucket_owner,
        kms_key_arn,
        compression,
    } = provided;
    db.execute(
        sql,
        &[
            db.org(),
            &id,
            &bucket.as_str(),
            &region.as_str(),
            &role_arn.expose(),
            &prefix.as_str(),
            &bucket_owner.as_ref().map(AccountId::as_str),
            &kms_key_arn.as_ref().map(KmsKeyArn::as_str),
            &compression.as_str(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes back a test that nobody waits for any more, unless a worker has begun it.
///
/// # Errors
/// Postgres's.
pub async fn withdraw(db: &Tenant<'_>, id: TestId) -> Result<(), Error> {
    let sql = "
        update connection_tests set state = 'superseded', finished_at = now()
         where org_id = $1 and id = $2 and state = 'queued'";
    db.execute(sql, &[db.org(), &id]).await?;
    Ok(())
}

/// Ends the system's own open tests: the config they were made for has just been replaced.
pub(super) async fn supersede_own(db: &Tenant<'_>) -> Result<(), Error> {
    let sql = "
        update connection_tests set state = 'superseded', finished_at = now()
         where org_id = $1 and state in ('queued', 'running')
           and trigger in ('automatic', 'probe')";
    db.execute(sql, &[db.org()]).await?;
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
pub async fn find_finished(db: &Tenant<'_>, id: TestId) -> Result<Option<Finished>, Error> {
    let sql = "
        select stages, error, warning from connection_tests
         where org_id = $1 and id = $2 and state in ('succeeded', 'failed')";
    let row = db.query_opt(sql, &[db.org(), &id]).await?;
    Ok(row.map(|row| Finished {
        stages: row.get("stages"),
        error: row.get("error"),
        warning: row.get("warning"),
    }))
}

/// Who has a test of this id, whatever its state.
///
/// # Errors
/// Postgres's.
pub async fn owner(db: &Tenant<'_>, id: TestId) -> Result<Owner, Error> {
    let sql = "
        select exists (select from connection_tests where org_id = $1 and id = $2) as this,
               is_test_of_another_org($1, $2) as another";
    let row = db.query_one(sql, &[db.org(), &id]).await?;
    Ok(match (row.get("this"), row.get("another")) {
        (true, _) => Owner::This,
        (_, true) => Owner::Another,
        _ => Owner::Nobody,
    })
}
