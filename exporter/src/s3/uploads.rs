//! The multipart uploads of a key that may be open. A role need not be allowed to end uploads, or to look
//! for those whose ids got lost; a lifecycle rule of the bucket does it then.

use super::{
    bucket::Bucket,
    failure::{CallError, Verdict},
};
use crate::retry::Budget;

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

    /// Ends the upload that is known, best effort, without waiting.
    pub async fn give_up(&mut self, bucket: &Bucket<'_>, key: &str) {
        let Some(id) = self.known.take() else { return };
        if let Err(error) = gone(bucket.abort_upload(key, &id).await) {
            tracing::debug!(%error, key, "an upload is not ended yet");
            self.known = Some(id);
        }
    }

    /// Ends them all.
    ///
    /// # Errors
    /// S3's; the role need not be allowed to.
    pub async fn end(
        &mut self,
        bucket: &Bucket<'_>,
        key: &str,
        budget: &mut Budget,
    ) -> Result<(), CallError> {
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
