//! `connection_tests`: tests of a destination. Inserted by the API, or by the exporter for a test
//! that another program submitted; finished by the exporter.

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Row;

use super::{
    Client, Error, Failure, FailureClass, GenericClient, destination, export_configs,
    export_configs::DeliveryState, export_state, export_state::ProbePauses, seconds,
};
use crate::{
    destination::Destination,
    ids::{LeaseToken, OrgId, TestId},
};

/// The channel on which the id of every finished test is notified.
pub const FINISHED_CHANNEL: &str = "audit_export_test_finished";

/// After how many lost leases a test is given up.
const MAX_ATTEMPTS: i32 = 5;

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

/// A test in a worker's hands.
#[derive(Debug)]
pub struct Claimed {
    /// What to test.
    pub destination: Destination,
    /// The version of the stored config, where that is what is tested.
    pub version: Option<i64>,
    /// The organisation's external id.
    pub external_id: String,
    /// How often it was claimed, this time included.
    pub attempts: i32,
    /// Where the outcome goes besides the results exchange.
    pub reply_to: ReplyTo,
}

/// Takes a queued test; `None` where it is not queued any more.
///
/// # Errors
/// Postgres's.
pub async fn claim(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
    lease: Duration,
) -> Result<Option<Claimed>, Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests t
                set state = 'running', lease_token = $3, started_at = now(),
                    lease_expires_at = now() + make_interval(secs => $4),
                    attempts = t.attempts + 1
               from orgs o
              where t.org_id = $1 and t.id = $2 and t.state = 'queued' and o.id = t.org_id
             returning t.bucket, t.region, t.role_arn, t.prefix, t.version, t.reply_to,
                       t.correlation_id, t.attempts, o.external_id",
        )
        .await?;
    let row = db
        .query_opt(&statement, &[org, &id, &token, &seconds(lease)])
        .await?;
    row.as_ref().map(claimed).transpose()
}

fn claimed(row: &Row) -> Result<Claimed, Error> {
    Ok(Claimed {
        destination: destination(row)?,
        version: row.get("version"),
        external_id: row.get("external_id"),
        attempts: row.get("attempts"),
        reply_to: ReplyTo {
            queue: row.get("reply_to"),
            correlation_id: row.get("correlation_id"),
        },
    })
}

/// Extends a lease; false when it was lost.
///
/// # Errors
/// Postgres's.
pub async fn renew(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
    lease: Duration,
) -> Result<bool, Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests set lease_expires_at = now() + make_interval(secs => $4)
              where org_id = $1 and id = $2 and state = 'running' and lease_token = $3",
        )
        .await?;
    Ok(db
        .execute(&statement, &[org, &id, &token, &seconds(lease)])
        .await?
        == 1)
}

/// How a test went.
#[derive(Debug)]
pub struct TestOutcome {
    /// Its stages, as they are shown.
    pub stages: Value,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
    /// What is not perfect though it works.
    pub warning: Option<String>,
}

/// Records a test's outcome and what follows from it: a version that passed may be delivered to, a
/// destination that does not work is paused and probed. Tells the waiting API. False when the lease
/// was lost meanwhile; nothing is changed then.
///
/// # Errors
/// Postgres's.
pub async fn finish(
    client: &mut Client,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
    outcome: &TestOutcome,
    pauses: ProbePauses,
) -> Result<bool, Error> {
    let tx = client.transaction().await?;
    export_state::lock(&tx, org).await?;
    let failure = outcome.failure.as_ref();

    // The config before the test: the agreed order of locks. A test's version never changes.
    let statement = tx
        .prepare_cached(
            "select version from connection_tests
              where org_id = $1 and id = $2 and state = 'running' and lease_token = $3",
        )
        .await?;
    let Some(row) = tx.query_opt(&statement, &[org, &id, &token]).await? else {
        return Ok(false);
    };
    if let Some(version) = row.get::<_, Option<i64>>("version")
        && let Some(before) = export_configs::record_test(&tx, org, version, failure).await?
    {
        match failure {
            None => export_state::resume(&tx, org).await?,
            Some(failure) if must_pause(before, failure.class) => {
                let class = failure.class.as_str();
                export_state::pause(&tx, org, class, &failure.text, pauses).await?;
            }
            Some(_) => {}
        }
    }

    let statement = tx
        .prepare_cached(
            "update connection_tests
                set state = case when $4::text is null then 'succeeded' else 'failed' end,
                    error_class = $5, error = $4, warning = $6, stages = $7, finished_at = now(),
                    lease_token = null, lease_expires_at = null
              where org_id = $1 and id = $2 and state = 'running' and lease_token = $3",
        )
        .await?;
    let text = failure.map(|f| f.text.as_str());
    let class = failure.map(|f| f.class.as_str());
    let TestOutcome {
        stages, warning, ..
    } = outcome;
    let finished = tx
        .execute(
            &statement,
            &[org, &id, &token, &text, &class, warning, stages],
        )
        .await?;
    if finished == 0 {
        return Ok(false);
    }
    notify_finished(&tx, id).await?;
    tx.commit().await?;
    Ok(true)
}

/// A disabled config is left alone; one that is being delivered to is paused only by what will not
/// go away by itself; one that waits for its test is tried again by probes whatever the reason.
fn must_pause(before: DeliveryState, class: FailureClass) -> bool {
    match before {
        DeliveryState::Disabled => false,
        DeliveryState::Active => class == FailureClass::Permanent,
        DeliveryState::AwaitingTest | DeliveryState::Paused => true,
    }
}

async fn notify_finished(db: &impl GenericClient, id: TestId) -> Result<(), Error> {
    let statement = db.prepare_cached("select pg_notify($1, $2)").await?;
    db.execute(&statement, &[&FINISHED_CHANNEL, &id.to_string()])
        .await?;
    Ok(())
}

/// Gives a test back unfinished, to be published again at once.
///
/// # Errors
/// Postgres's.
pub async fn give_back(
    db: &impl GenericClient,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update connection_tests
                set state = 'queued', lease_token = null, lease_expires_at = null,
                    published_at = null
              where org_id = $1 and id = $2 and state = 'running' and lease_token = $3",
        )
        .await?;
    db.execute(&statement, &[org, &id, &token]).await?;
    Ok(())
}

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
