//! Carrying out a plan: read its lines, compress them, and write the object.

use bytes::Bytes;
use common::{
    db::{
        QueryError, audit_events,
        export_objects::{self, Plan, Stored},
    },
    destination::Destination,
    ids::LeaseToken,
};

use super::{
    encode::{ENCODER_VERSION, Encoder, Finished, Gap},
    plan::Run,
};
use crate::{
    config::Strictness,
    context::Context,
    retry::{Budget, Pauses},
    s3::{
        bucket::{Bucket, Part, Receipt, sha256},
        failure::{CallError, Operation, Verdict},
        session::SessionKey,
    },
};

/// Events read in one statement at most.
const PAGE_EVENTS: i64 = 10_000;
/// Bytes of lines read in one statement, about.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// Why an object was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// S3 or STS.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The lease was lost: another worker has it.
    #[error("the lease was lost")]
    LeaseLost,
    /// The database.
    #[error(transparent)]
    Database(#[from] QueryError),
    /// The events are not as they must be.
    #[error(transparent)]
    Gap(#[from] Gap),
}

impl From<common::db::Error> for DeliverError {
    fn from(error: common::db::Error) -> Self {
        Self::Database(error.into())
    }
}

/// A delivered object, and the size of its lines in bytes.
#[derive(Debug)]
pub struct Delivery {
    /// What to record of it.
    pub stored: Stored,
    /// Bytes of lines.
    pub raw_bytes: i64,
}

/// Delivers one object.
///
/// # Errors
/// See [`DeliverError`]; transient failures come only when the budget is used up.
pub async fn deliver(
    context: &Context,
    run: &Run,
    plan: &Plan,
    budget: &mut Budget,
) -> Result<Delivery, DeliverError> {
    let key = SessionKey {
        org: run.hold.org.clone(),
        version: run.claimed.version,
        external_id: run.claimed.external_id.clone(),
    };
    let mut pauses = Pauses::default();
    let mut left_over = plan.upload_id.clone();
    loop {
        let session = context
            .sessions
            .get(&key, &run.claimed.destination, budget)
            .await?;
        let attempt = Attempt {
            context,
            run,
            plan,
            destination: &run.claimed.destination,
            bucket: Bucket::new(
                &session,
                &run.claimed.destination,
                context.config.conditional_writes == Strictness::Require,
            ),
            token: run.hold.token,
        };
        if let Some(upload_id) = left_over.take() {
            attempt.abort(&upload_id).await;
        }
        let error = match attempt.carry_out(budget).await {
            Err(DeliverError::Call(error)) => error,
            other => return other,
        };
        let worth_another = match error.verdict {
            Verdict::NewUpload => true,
            Verdict::NewCredentials => {
                context.sessions.forget(&key).await;
                true
            }
            Verdict::ClockSkew => context.sessions.correct_clock(&error),
            _ => false,
        };
        if !worth_another || !budget.sleep(&mut pauses, &error).await {
            return Err(error.into());
        }
    }
}

struct Attempt<'a> {
    context: &'a Context,
    run: &'a Run,
    plan: &'a Plan,
    destination: &'a Destination,
    bucket: Bucket<'a>,
    token: LeaseToken,
}

/// A multipart upload that is being filled.
struct Upload {
    id: String,
    parts: Vec<Part>,
}

impl Attempt<'_> {
    /// One request for an object below a part's size, an upload in parts for a larger one.
    async fn carry_out(&self, budget: &mut Budget) -> Result<Delivery, DeliverError> {
        let mut upload = None;
        let delivered = self.stream(&mut upload, budget).await;
        if let (Err(DeliverError::Call(_)), Some(upload)) = (&delivered, upload) {
            self.abort(&upload.id).await;
        }
        delivered
    }

    async fn stream(
        &self,
        upload: &mut Option<Upload>,
        budget: &mut Budget,
    ) -> Result<Delivery, DeliverError> {
        let mut encoder = Encoder::new(self.plan.first_seq);
        while encoder.next_seq() <= self.plan.last_seq {
            encoder = self.read_page(encoder).await?;
            while let Some(part) = encoder.take_part() {
                if upload.is_none() {
                    *upload = Some(self.create(budget).await?);
                }
                if let Some(upload) = upload {
                    self.send_part(upload, part, budget).await?;
                }
            }
        }
        let finished = tokio::task::block_in_place(|| encoder.finish());
        self.announce_bytes(&finished.sha256).await?;
        let receipt = match upload {
            None => self.put(&finished, budget).await,
            Some(upload) => self.complete(upload, finished.rest.clone(), budget).await,
        };
        self.delivery(&finished, receipt)
    }

    /// Reads the next page and compresses it, off the threads that serve the network.
    async fn read_page(&self, mut encoder: Encoder) -> Result<Encoder, DeliverError> {
        let client = self.context.client().await?;
        let after = encoder.next_seq() - 1;
        let last = self.plan.last_seq;
        let page = audit_events::page(
            &client,
            &self.run.hold.org,
            after,
            last,
            PAGE_EVENTS,
            PAGE_BYTES,
        )
        .await?;
        drop(client);
        if page.is_empty() {
            return Err(Gap::at_end(encoder.next_seq()).into());
        }
        let packing = tokio::task::spawn_blocking(move || {
            encoder.push(&page)?;
            Ok::<_, Gap>(encoder)
        });
        Ok(packing.await.expect("compressing does not panic")?)
    }

    async fn create(&self, budget: &mut Budget) -> Result<Upload, DeliverError> {
        let id = budget
            .retry(|| self.bucket.create_upload(&self.plan.key))
            .await?;
        // Known before it is filled, so that whoever comes after a crash can give it up.
        let client = self.context.client().await?;
        let org = &self.run.hold.org;
        let held =
            export_objects::set_upload(&client, org, self.plan.id, self.token, Some(&id)).await?;
        if !held {
            self.abort(&id).await;
            return Err(DeliverError::LeaseLost);
        }
        Ok(Upload {
            id,
            parts: Vec::new(),
        })
    }

    async fn send_part(
        &self,
        upload: &mut Upload,
        part: Bytes,
        budget: &mut Budget,
    ) -> Result<(), CallError> {
        let number = i32::try_from(upload.parts.len() + 1)
            .map_err(|_| CallError::ours(Operation::UploadPart, "too many parts"))?;
        let sha256 = sha256(&part);
        let sent = budget.retry(|| {
            self.bucket
                .upload_part(&self.plan.key, &upload.id, number, part.clone(), &sha256)
        });
        let sent = sent.await?;
        upload.parts.push(sent);
        Ok(())
    }

    /// From the next request on the object may be visible: what it holds is committed first.
    async fn announce_bytes(&self, sha256: &[u8]) -> Result<(), DeliverError> {
        let client = self.context.client().await?;
        let org = &self.run.hold.org;
        let held = export_objects::add_candidate(
            &client,
            org,
            self.plan.id,
            self.token,
            sha256,
            ENCODER_VERSION,
        );
        if held.await? {
            Ok(())
        } else {
            Err(DeliverError::LeaseLost)
        }
    }

    async fn put(&self, finished: &Finished, budget: &mut Budget) -> Result<Receipt, CallError> {
        let Finished { rest, sha256, .. } = finished;
        budget
            .retry(|| self.bucket.put(&self.plan.key, rest.clone(), sha256))
            .await
    }

    async fn complete(
        &self,
        upload: &mut Upload,
        rest: Bytes,
        budget: &mut Budget,
    ) -> Result<Receipt, CallError> {
        if !rest.is_empty() {
            self.send_part(upload, rest, budget).await?;
        }
        let Upload { id, parts } = upload;
        budget
            .retry(|| self.bucket.complete_upload(&self.plan.key, id, parts))
            .await
    }

    /// An object that is there already is ours, of this attempt or an earlier one.
    fn delivery(
        &self,
        finished: &Finished,
        receipt: Result<Receipt, CallError>,
    ) -> Result<Delivery, DeliverError> {
        let (receipt, by_this_attempt) = match receipt {
            Ok(receipt) => (receipt, true),
            Err(error) if error.verdict == Verdict::AlreadyThere => {
                tracing::info!(
                    key = self.plan.key,
                    "an earlier attempt had stored the object"
                );
                (Receipt::default(), false)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Delivery {
            stored: Stored {
                events: self.plan.last_seq - self.plan.first_seq + 1,
                bytes: finished.bytes,
                sha256: finished.sha256.clone(),
                etag: receipt.etag,
                version_id: receipt.version_id,
                by_this_attempt,
            },
            raw_bytes: finished.raw_bytes,
        })
    }

    /// Gives an upload up, best effort: the role need not be allowed to.
    async fn abort(&self, upload_id: &str) {
        if let Err(error) = self.bucket.abort_upload(&self.plan.key, upload_id).await {
            tracing::debug!(
                %error,
                bucket = %self.destination.bucket,
                key = self.plan.key,
                "an upload stays behind until the bucket's lifecycle rule ends it",
            );
        }
    }
}
