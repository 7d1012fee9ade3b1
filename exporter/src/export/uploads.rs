//! Ending the multipart uploads that attempts have left open, or saying in the run what may stay.

use std::time::Duration;

use common::db::{
    QueryError, Tenant,
    export_objects::{self, LeftOpen},
    export_runs,
};

use super::plan::Run;
use crate::{
    config::Strictness,
    context::Context,
    retry::Budget,
    s3::{bucket::Bucket, failure::Verdict, uploads::OpenUploads},
};

/// How long becoming the role may take for it.
const SESSION_TIME: Duration = Duration::from_secs(5);

/// What became of an attempt to end uploads.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// None is open.
    All,
    /// Nothing can be done: the run says what may stay.
    Said,
    /// Another run tries again.
    NotYet,
}

/// Ends the uploads of a key in a bucket of the run's role, or says in the run what may stay.
///
/// # Errors
/// The database's.
pub async fn end_or_say(
    context: &Context,
    run: &Run,
    uploads: &mut OpenUploads,
    bucket: &Bucket<'_>,
    key: &str,
) -> Result<Ended, QueryError> {
    let error = match uploads.end(bucket, key).await {
        Ok(()) => return Ok(Ended::All),
        Err(error) => error,
    };
    tracing::info!(%error, key, "unfinished uploads cannot be ended");
    if error.verdict != Verdict::Permanent {
        return Ok(Ended::NotYet);
    }
    say(context, run, bucket.name(), key, &error.code).await?;
    Ok(Ended::Said)
}

async fn say(
    context: &Context,
    run: &Run,
    bucket: &str,
    key: &str,
    code: &str,
) -> Result<(), QueryError> {
    let warning = format!(
        "An unfinished upload of s3://{bucket}/{key} may remain ({code}). A lifecycle rule that ends \
         incomplete uploads removes it; the export does so itself where the role is allowed \
         s3:AbortMultipartUpload and s3:ListBucketMultipartUploads there.",
    );
    let client = context.client().await?;
    Ok(export_runs::warn(&Tenant::of(&client, &run.hold.org), run.hold.id, &warning).await?)
}

/// Ends what earlier runs have left open, in the buckets that the destination's role reaches.
///
/// # Errors
/// The database's.
pub async fn end_left_open(context: &Context, run: &Run) -> Result<(), QueryError> {
    let org = &run.hold.org;
    let client = context.client().await?;
    let left_open = export_objects::left_open(&Tenant::of(&client, org)).await?;
    drop(client);
    for left in left_open {
        if end_one(context, run, &left).await? != Ended::NotYet {
            let client = context.client().await?;
            export_objects::uploads_ended(&Tenant::of(&client, org), left.plan).await?;
        }
    }
    Ok(())
}

async fn end_one(context: &Context, run: &Run, left: &LeftOpen) -> Result<Ended, QueryError> {
    let LeftOpen {
        bucket: name, key, ..
    } = left;
    let destination = &run.claimed.destination;
    if left.region != destination.region.as_str() {
        say(context, run, name, key, "it is in another region").await?;
        return Ok(Ended::Said);
    }
    let (key_of_session, mut budget) = (run.session_key(), Budget::new(SESSION_TIME));
    let session = context
        .sessions
        .get(&key_of_session, destination, &mut budget);
    let Ok(Ok(session)) = tokio::time::timeout(SESSION_TIME, session).await else {
        return Ok(Ended::NotYet);
    };
    let conditional = context.config.conditional_writes == Strictness::Require;
    let bucket = Bucket::new(&session, destination, conditional).elsewhere(name);
    let mut uploads = OpenUploads::new(left.upload_id.clone(), left.others);
    end_or_say(context, run, &mut uploads, &bucket, key).await
}
