//! The multipart uploads of a key that may be open. A role need not be allowed to end uploads, or to look
//! for those whose ids got lost; a lifecycle rule of the bucket does it then.

use std::time::Duration;

use super::{
    bucket::Bucket,
    failure::{CallError, Operation, Verdict},
};
use crate::retry::Budget;

/// How long the end of one upload may take in the midst of a job.
const GIVE_UP_TIME: Duration = Duration::from_secs(3);
/// How long the end of all of them may take.
const END_TIME: Duration = Duration::from_secs(5);

/// What is known of the uploads of one key.
#[derive(Debug, Default)]
pub struct OpenUploads {
    known: Option<String>,
    /// Whether there may be others, whose ids got lost with an answer or a worker.
    unknown: bool,
}

impl OpenUploads {
    /// One by its id, and whether there may be others.
    pub fn new(known: Option<String>, unknown: bool) -> Self {
        Self { known, unknown }
    }

    /// Begins an upload and returns its id. A request that failed may have begun one all the same.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn begin(
        &mut self,
        bucket: &Bucket<'_>,
        key: &str,
        budget: &mut Budget,
    ) -> Result<String, CallError> {
        let mut requests = 0;
        let begun = budget.retry(|| {
            requests += 1;
            bucket.create_upload(key)
        });
        let begun = begun.await;
        self.unknown |= begun.is_err() || requests > 1 || self.known.is_some();
        let id = begun?;
        self.known = Some(id.clone());
        Ok(id)
    }

    /// The upload that was begun last has become an object.
    pub fn completed(&mut self) {
        self.known = None;
    }

    /// Whether there may be others than the one that was begun last.
    pub fn others(&self) -> bool {
        self.unknown
    }

    /// Ends the upload that is known, best effort: this is not what the job waits for.
    pub async fn give_up(&mut self, bucket: &Bucket<'_>, key: &str) {
        let Some(id) = &self.known else { return };
        match tokio::time::timeout(GIVE_UP_TIME, bucket.abort_upload(key, id)).await {
            Ok(aborted) => match gone(aborted) {
                Ok(()) => self.known = None,
                Err(error) => tracing::debug!(%error, key, "an upload is not ended yet"),
            },
            Err(_) => tracing::debug!(key, "an upload is not ended in time"),
        }
    }

    /// Ends them all, within seconds.
    ///
    /// # Errors
    /// S3's; the role need not be allowed to.
    pub async fn end(&mut self, bucket: &Bucket<'_>, key: &str) -> Result<(), CallError> {
        match tokio::time::timeout(END_TIME, self.end_patiently(bucket, key)).await {
            // With the bucket its uploads are gone.
            Ok(Err(error)) if error.code == "NoSuchBucket" => Ok(()),
            Ok(ended) => ended,
            Err(_) => Err(CallError::timed_out(Operation::AbortMultipartUpload)),
        }
    }

    async fn end_patiently(&mut self, bucket: &Bucket<'_>, key: &str) -> Result<(), CallError> {
        let mut budget = Budget::new(END_TIME);
        if let Some(id) = &self.known {
            gone(budget.retry(|| bucket.abort_upload(key, id)).await)?;
            self.known = None;
        }
        if self.unknown {
            for id in budget.retry(|| bucket.open_uploads(key)).await? {
                gone(budget.retry(|| bucket.abort_upload(key, &id)).await)?;
            }
            self.unknown = false;
        }
        Ok(())
    }
}

/// An upload that does not exist any more is as good as ended.
fn gone(aborted: Result<(), CallError>) -> Result<(), CallError> {
    match aborted {
        Err(error) if error.verdict == Verdict::NewUpload => Ok(()),
        other => other,
    }
}
