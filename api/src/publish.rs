//! Publishing the jobs of rows that are queued. A row whose message is lost is published again by the
//! scheduler, so nobody needs to wait for the broker.

use common::{
    ids::{OrgId, RunId, TestId},
    jobs::Job,
    queue::{Properties, PublishError, Publisher, topology, topology::JobQueue},
};

/// Publishes the job of a queued run.
pub(crate) async fn run(publisher: &Publisher, org: &OrgId, id: RunId) -> Result<(), PublishError> {
    job(publisher, topology::EXPORT, Job::export(org.clone(), id)).await
}

/// Publishes the job of a queued test.
pub(crate) async fn test(
    publisher: &Publisher,
    org: &OrgId,
    id: TestId,
) -> Result<(), PublishError> {
    job(
        publisher,
        topology::TEST_CONNECTION,
        Job::test_connection(org.clone(), id),
    )
    .await
}

async fn job(publisher: &Publisher, queue: JobQueue, job: Job) -> Result<(), PublishError> {
    let body = job.encode();
    let properties = Properties::default();
    publisher
        .publish(
            topology::JOBS_EXCHANGE,
            queue.routing_key,
            &body,
            properties,
        )
        .await
}
