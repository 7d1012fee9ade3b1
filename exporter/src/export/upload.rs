//! Carrying out a plan: read its lines, compress them, and write the object.

use bytes::Bytes;
use common::{
    db::{
        QueryError, Tenant, audit_events,
        export_objects::{self, Plan, Stored},
    },
    destination::Compression,
    ids::LeaseToken,
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    encode::{ENCODER_VERSION, Encoder, Finished},
    lines::{Gap, Lines},
    plan::Run,
    uploads::{self, Ended},
};
use crate::{
    config::Strictness,
    context::Context,
    crash,
    retry::{Budget, Pauses},
    s3::{
        bucket::{Bucket, Part, Receipt, sha256},
        failure::{CallError, Operation, Verdict},
        uploads::OpenUploads,
    },
};

/// Events read in one statement at most.
const PAGE_EVENTS: i64 = 10_000;
/// Bytes of lines read in one statement, about.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;
/// Blocks that wait to be packed while the next page is read.
const BLOCKS_WAITING: usize = 2;
/// Parts that are packed before they can be sent.
const PARTS_WAITING: usize = 1;

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
    /// The destination was asked in vain for a while, and others waited for the slot.
    #[error("the destination is asked in vain, and others wait")]
    MadeRoom,
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
    let key = run.session_key();
    let mut pauses = Pauses::default();
    let mut uploads = OpenUploads::new(plan.upload_id.clone(), plan.unfinished_uploads);
    loop {
        let session = context
            .sessions
            .get(&key, &run.claimed.destination, budget)
            .await?;
        let attempt = Attempt {
            context,
            run,
            plan,
            bucket: Bucket::new(
                &session,
                &run.claimed.destination,
                context.config.conditional_writes == Strictness::Require,
            )
            .holding(plan.compression),
            token: run.hold.token,
        };
        uploads.give_up(&attempt.bucket, &plan.key).await;
        let error = match attempt.carry_out(&mut uploads, budget).await {
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
    bucket: Bucket<'a>,
    token: LeaseToken,
}

/// A multipart upload that is being filled.
struct Upload {
    id: String,
    parts: Vec<Part>,
}

/// Compresses blocks until there are no more, or nobody wants what they become.
fn pack(
    compression: Compression,
    mut blocks: mpsc::Receiver<Vec<u8>>,
    parts: &mpsc::Sender<Bytes>,
) -> Finished {
    let mut encoder = Encoder::new(compression);
    while let Some(block) = blocks.blocking_recv() {
        if let Some(part) = encoder.push(&block)
            && parts.blocking_send(part).is_err()
        {
            return encoder.finish();
        }
    }
    if let Some(part) = encoder.end() {
        // Whoever does not take it does not ask for the rest either.
        let _ = parts.blocking_send(part);
    }
    encoder.finish()
}

impl Attempt<'_> {
    /// One request for an object below a part's size, an upload in parts for a larger one.
    async fn carry_out(
        &self,
        uploads: &mut OpenUploads,
        budget: &mut Budget,
    ) -> Result<Delivery, DeliverError> {
        let delivered = self.stream(uploads, budget).await;
        let key = &self.plan.key;
        if delivered.is_err() {
            uploads.give_up(&self.bucket, key).await;
        }
        let mut delivery = delivered?;
        // Before the object counts as stored: a crash until then leads here again.
        let ended = uploads::end_or_say(self.context, self.run, uploads, &self.bucket, key).await?;
        delivery.stored.unfinished_uploads = ended == Ended::NotYet;
        Ok(delivery)
    }

    /// Reading, packing and sending go on beside each other, each a little ahead of the next.
    async fn stream(
        &self,
        uploads: &mut OpenUploads,
        budget: &mut Budget,
    ) -> Result<Delivery, DeliverError> {
        let (blocks_in, blocks) = mpsc::channel(BLOCKS_WAITING);
        let (parts_in, parts) = mpsc::channel(PARTS_WAITING);
        let compression = self.plan.compression;
        // Off the threads that serve the network.
        let packing = spawn_blocking(move || pack(compression, blocks, &parts_in));
        let (read, packed, sent) = tokio::join!(
            self.read(blocks_in),
            packing,
            self.send(parts, uploads, budget),
        );
        // Whoever fails ends the others, and they say nothing of their own then.
        let upload = sent?;
        read?;
        let finished = packed.expect("packing does not panic");
        self.announce_bytes(&finished.sha256).await?;
        crash::point("announced");
        let receipt = match upload {
            None => self.put(&finished, budget).await,
            Some(upload) => {
                let receipt = self.complete(upload, finished.rest.clone(), budget).await;
                if receipt.is_ok() {
                    uploads.completed();
                }
                receipt
            }
        };
        crash::point("visible");
        self.delivery(&finished, receipt)
    }

    /// Reads the lines of the plan, page by page, as long as somebody takes them. Each statement has ended
    /// before its lines go on.
    async fn read(&self, blocks: mpsc::Sender<Vec<u8>>) -> Result<(), DeliverError> {
        let mut lines = Lines::new(self.plan.first_seq, self.plan.last_seq);
        while let Some(next) = lines.next_seq() {
            self.read_page(&mut lines, next - 1).await?;
            if lines.next_seq() == Some(next) {
                lines.none_left();
            }
            for block in lines.take_blocks()? {
                if blocks.send(block).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn read_page(&self, lines: &mut Lines, after: i64) -> Result<(), DeliverError> {
        let client = self.context.client().await?;
        let tenant = Tenant::of(&client, &self.run.hold.org);
        let last = self.plan.last_seq;
        let push = |seq, line: &[u8]| lines.push(seq, line);
        audit_events::read_lines(&tenant, after, last, PAGE_EVENTS, PAGE_BYTES, push).await?;
        Ok(())
    }

    /// Sends whole parts as they come; there is an upload once there was one.
    async fn send(
        &self,
        mut parts: mpsc::Receiver<Bytes>,
        uploads: &mut OpenUploads,
        budget: &mut Budget,
    ) -> Result<Option<Upload>, DeliverError> {
        let mut upload = None;
        while let Some(part) = parts.recv().await {
            let upload = match &mut upload {
                Some(upload) => upload,
                none => none.insert(self.create(uploads, budget).await?),
            };
            self.send_part(upload, part, budget).await?;
            crash::point("part");
        }
        Ok(upload)
    }

    /// Begins an upload. That there may be one is committed first, its id afterwards, so that whoever
    /// comes after a crash can end it.
    async fn create(
        &self,
        uploads: &mut OpenUploads,
        budget: &mut Budget,
    ) -> Result<Upload, DeliverError> {
        let org = &self.run.hold.org;
        let client = self.context.client().await?;
        if !export_objects::expect_upload(&Tenant::of(&client, org), self.plan.id, self.token)
            .await?
        {
            return Err(DeliverError::LeaseLost);
        }
        drop(client);
        crash::point("upload-expected");
        let id = uploads.begin(&self.bucket, &self.plan.key, budget).await?;
        crash::point("upload-begun");
        let client = self.context.client().await?;
        let (plan, token, others) = (self.plan.id, self.token, uploads.others());
        if !export_objects::set_upload(&Tenant::of(&client, org), plan, token, &id, others).await? {
            return Err(DeliverError::LeaseLost);
        }
        crash::point("upload-known");
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
        let tenant = Tenant::of(&client, &self.run.hold.org);
        let (plan, token) = (self.plan.id, self.token);
        if export_objects::add_candidate(&tenant, plan, token, sha256, ENCODER_VERSION).await? {
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
        mut upload: Upload,
        rest: Bytes,
        budget: &mut Budget,
    ) -> Result<Receipt, CallError> {
        self.send_part(&mut upload, rest, budget).await?;
        crash::point("parts");
        let Upload { id, parts } = upload;
        budget
            .retry(|| self.bucket.complete_upload(&self.plan.key, &id, &parts))
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
                unfinished_uploads: false,
            },
            raw_bytes: finished.raw_bytes,
        })
    }
}
