//! Ending the multipart uploads that attempts have left open, or saying in the run what may stay.

use common::db::{
    QueryError,
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
    budget: &mut Budget,
) -> Result<Ended, QueryError> {
    let error = match uploads.end(bucket, key, budget).await {
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
        "An unfinished upload of s3://{bucket}/{key} may remain ({code}): allow the role \
         s3:AbortMultipartUpload and s3:ListBucketMultipartUploads, or let a lifecycle rule end \
         incomplete uploads.",
    );
    let client = context.client().await?;
    Ok(export_runs::warn(&client, &run.hold.org, run.hold.id, &warning).await?)
}

/// Ends what earlier runs have left open, in the buckets that the destination's role reaches.
///
/// # Errors
/// The database's.
pub async fn end_left_open(
    context: &Context,
    run: &Run,
    budget: &mut Budget,
) -> Result<(), QueryError> {
    let org = &run.hold.org;
    let left_open = export_objects::left_open(&context.client().await?, org).await?;
    let destination = &run.claimed.destination;
    for LeftOpen {
        plan,
        bucket: name,
        region,
        key,
    } in left_open
    {
        let ended = if region == destination.region.as_str() {
            let key_of_session = run.session_key();
            let Ok(session) = context
                .sessions
                .get(&key_of_session, destination, budget)
                .await
            else {
                return Ok(());
            };
            let conditional = context.config.conditional_writes == Strictness::Require;
            let bucket = Bucket::new(&session, destination, conditional).elsewhere(&name);
            let mut uploads = OpenUploads::new(None, true);
            end_or_say(context, run, &mut uploads, &bucket, &key, budget).await?
        } else {
            say(context, run, &name, &key, "another region").await?;
            Ended::Said
        };
        if ended != Ended::NotYet {
            export_objects::uploads_ended(&context.client().await?, org, plan).await?;
        }
    }
    Ok(())
}
