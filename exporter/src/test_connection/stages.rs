//! The stages of a test: what an export would do with the destination, each step timed and named.

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{
    db::{
        Failure, FailureClass,
        connection_tests::{Claimed, TestOutcome},
    },
    destination::Destination,
    ids::{OrgId, TestId},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    config::Strictness,
    context::Context,
    retry::Budget,
    s3::{
        advice::Subject,
        bucket::{Bucket, sha256},
        failure::{CallError, Verdict},
        key,
        session::Session,
        uploads::OpenUploads,
    },
};

/// How long a test may sleep between attempts, or wait for answers in vain: somebody is waiting.
const RETRY_SLEEP: Duration = Duration::from_secs(5);
/// How long a test may take in all.
const TEST_TIME: Duration = Duration::from_secs(25);
/// What test objects hold: nothing of anybody's.
const TEST_BODY: &[u8] = b"audit-export connection test\n";

/// A stage as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StageResult {
    name: &'static str,
    success: bool,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a stage does in the bucket.
#[derive(Debug, Clone, Copy)]
enum InBucket {
    Put,
    Upload,
    Delete { both: bool },
}

/// Why a stage did not pass: a request, or what was seen.
enum StageError {
    Call(CallError),
    Seen { code: &'static str, text: String },
}

impl From<CallError> for StageError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Tries the destination of a claimed test.
pub async fn run(context: &Context, org: &OrgId, id: TestId, claimed: &Claimed) -> TestOutcome {
    let mut test = Test {
        context,
        org,
        id,
        destination: &claimed.destination,
        external_id: &claimed.external_id,
        budget: Budget::new(RETRY_SLEEP),
        again: claimed.attempts > 1,
        stage: None,
        stages: Vec::new(),
        warnings: Vec::new(),
    };
    let failure = match tokio::time::timeout(TEST_TIME, test.all_stages()).await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            let failure = Failure {
                class: FailureClass::Transient,
                code: "timeout".into(),
                text: format!(
                    "The test took longer than {} s; AWS or the network is too slow just now.",
                    TEST_TIME.as_secs()
                ),
            };
            test.record(Some(&failure));
            test.warn_of_remains();
            Some(failure)
        }
    };
    let stages = serde_json::to_value(&test.stages).unwrap_or_default();
    let warning = (!test.warnings.is_empty()).then(|| test.warnings.join(" "));
    TestOutcome {
        stages,
        failure,
        warning,
    }
}

struct Test<'a> {
    context: &'a Context,
    org: &'a OrgId,
    id: TestId,
    destination: &'a Destination,
    external_id: &'a str,
    budget: Budget,
    /// Whether another worker has begun it, and may have left an upload open.
    again: bool,
    /// The stage that has begun, and when.
    stage: Option<(&'static str, Instant)>,
    stages: Vec<StageResult>,
    warnings: Vec<String>,
}

impl Test<'_> {
    async fn all_stages(&mut self) -> Result<(), Failure> {
        self.begin("assume_role");
        let assumed = self.assume_role().await;
        let mut session = self.end(assumed)?;

        self.begin("confused_deputy");
        let refused = self.confused_deputy().await;
        self.end(refused)?;

        self.begin("put_object");
        let put = self.in_bucket(InBucket::Put, &mut session).await;
        self.end(put)?;

        self.begin("multipart_upload");
        let uploaded = self.in_bucket(InBucket::Upload, &mut session).await;
        // Whatever became of the upload, the first object is there to be removed.
        let uploaded = self.end(uploaded);

        self.begin("delete_object");
        let both = uploaded.is_ok();
        let deleted = self
            .in_bucket(InBucket::Delete { both }, &mut session)
            .await;
        uploaded?;
        self.end(deleted)
    }

    /// Does it, and once more where another session or another clock may help.
    async fn in_bucket(&mut self, what: InBucket, session: &mut Session) -> Result<(), StageError> {
        let result = self.once_in_bucket(what, session).await;
        let Err(StageError::Call(error)) = &result else {
            return result;
        };
        match error.verdict {
            Verdict::NewCredentials => *session = self.assume_role().await?,
            Verdict::ClockSkew if self.context.sessions.correct_clock(error) => {}
            _ => return result,
        }
        self.once_in_bucket(what, session).await
    }

    async fn once_in_bucket(
        &mut self,
        what: InBucket,
        session: &Session,
    ) -> Result<(), StageError> {
        match what {
            InBucket::Put => self.put_object(session).await,
            InBucket::Upload => self.multipart_upload(session).await,
            InBucket::Delete { both } => self.delete_object(session, both).await,
        }
    }

    fn begin(&mut self, stage: &'static str) {
        self.stage = Some((stage, Instant::now()));
    }

    /// Ends the stage that has begun.
    fn end<T>(&mut self, result: Result<T, StageError>) -> Result<T, Failure> {
        let result = result.map_err(|error| self.failure(error));
        self.record(result.as_ref().err());
        result
    }

    fn record(&mut self, failure: Option<&Failure>) {
        let Some((name, begun)) = self.stage.take() else {
            return;
        };
        self.stages.push(StageResult {
            name,
            success: failure.is_none(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: failure.map(|failure| failure.text.clone()),
        });
    }

    /// Of a test that was broken off, once it has written something.
    fn warn_of_remains(&mut self) {
        let (put, uploaded) = self.keys();
        if self.stages.iter().any(|stage| stage.name == "put_object") {
            self.warnings.push(format!(
                "The test was broken off; of it there may remain {put}, {uploaded}, and an \
                 unfinished upload of the latter.",
            ));
        }
    }

    /// The key of the object that is put, and of the one that is uploaded in parts.
    fn keys(&self) -> (String, String) {
        let prefix = &self.destination.prefix;
        (
            key::test_object(prefix, self.id),
            key::multipart_test_object(prefix, self.id),
        )
    }

    fn failure(&self, error: StageError) -> Failure {
        match error {
            StageError::Call(call) => {
                tracing::info!(error = %call, "the destination does not pass");
                call.failure(&Subject {
                    destination: self.destination,
                    external_id: self.external_id,
                })
            }
            StageError::Seen { code, text } => Failure {
                class: FailureClass::Permanent,
                code: code.into(),
                text,
            },
        }
    }

    async fn assume_role(&mut self) -> Result<Session, StageError> {
        let external_id = Some(self.external_id);
        let sessions = &self.context.sessions;
        Ok(sessions
            .assume(self.org, self.destination, external_id, &mut self.budget)
            .await?)
    }

    /// A role that anybody may have us assume is one that others could point us at.
    async fn confused_deputy(&mut self) -> Result<(), StageError> {
        let random = Uuid::new_v4().simple().to_string();
        for (other, with) in [
            (None, "without any external id"),
            (Some(&random), "with any other"),
        ] {
            let other = other.map(String::as_str);
            let sessions = &self.context.sessions;
            match sessions
                .assume(self.org, self.destination, other, &mut self.budget)
                .await
            {
                Err(error) if error.is_denied() => {}
                Err(error) => return Err(error.telling_nothing().into()),
                Ok(_) => {
                    let text = format!(
                        "The role {} can be assumed {with} as well, so that others could have us \
                         write to this bucket: add the condition StringEquals sts:ExternalId = {} \
                         to its trust policy.",
                        self.destination.role_arn.masked(),
                        self.external_id,
                    );
                    if self.context.config.external_id_check == Strictness::Require {
                        return Err(StageError::Seen {
                            code: "external_id_not_checked",
                            text,
                        });
                    }
                    self.warnings.push(text);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn conditional(&self) -> bool {
        self.context.config.conditional_writes == Strictness::Require
    }

    async fn put_object(&mut self, session: &Session) -> Result<(), StageError> {
        let (key, _) = self.keys();
        let body = Bytes::from_static(TEST_BODY);
        let sha256 = sha256(TEST_BODY);
        let bucket = Bucket::new(session, self.destination, self.conditional());
        let put = || bucket.put(&key, body.clone(), &sha256);
        // The key is this test's own: if it exists, an attempt whose answer was lost made it.
        already_there_is_fine(self.budget.retry(put).await)?;
        if !self.conditional() {
            return Ok(());
        }
        match self.budget.retry(put).await {
            Err(error) if error.verdict == Verdict::AlreadyThere => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(StageError::Seen {
                code: "conditional_writes_not_honoured",
                text: format!(
                    "The storage behind the bucket {} replaced an object although it was asked \
                     not to (If-None-Match): use one that honours conditional writes.",
                    self.destination.bucket
                ),
            }),
        }
    }

    async fn multipart_upload(&mut self, session: &Session) -> Result<(), StageError> {
        let (_, key) = self.keys();
        let bucket = Bucket::new(session, self.destination, self.conditional());
        let mut uploads = OpenUploads::new(None, self.again);
        let mut filled = self.fill_upload(&bucket, &key, &mut uploads).await;
        // Complete, perhaps, by a request whose answer was lost: then the next one finds the object.
        if matches!(&filled, Err(error) if error.verdict == Verdict::NewUpload) {
            filled = self.fill_upload(&bucket, &key, &mut uploads).await;
        }
        // Best effort: the role need not be allowed to.
        let _ = uploads.end(&bucket, &key).await;
        Ok(filled?)
    }

    async fn fill_upload(
        &mut self,
        bucket: &Bucket<'_>,
        key: &str,
        uploads: &mut OpenUploads,
    ) -> Result<(), CallError> {
        let upload = uploads.begin(bucket, key, &mut self.budget).await?;
        let sha256 = sha256(TEST_BODY);
        let body = Bytes::from_static(TEST_BODY);
        let send = || bucket.upload_part(key, &upload, 1, body.clone(), &sha256);
        let parts = [self.budget.retry(send).await?];
        let complete = || bucket.complete_upload(key, &upload, &parts);
        match self.budget.retry(complete).await {
            Ok(_) => {
                uploads.completed();
                Ok(())
            }
            Err(error) if error.verdict == Verdict::AlreadyThere => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_object(&mut self, session: &Session, both: bool) -> Result<(), StageError> {
        let (put, uploaded) = self.keys();
        let mut keys = vec![put];
        if both {
            keys.push(uploaded);
        }
        let mut left_over = Vec::new();
        for key in keys {
            let bucket = Bucket::new(session, self.destination, self.conditional());
            match self.budget.retry(|| bucket.delete(&key)).await {
                Ok(()) => {}
                Err(error) if error.verdict == Verdict::Permanent => left_over.push(key),
                Err(error) => return Err(error.into()),
            }
        }
        if !left_over.is_empty() {
            self.warnings.push(format!(
                "The role may not delete, which an export does not need; of the test there remain \
                 {}.",
                left_over.join(" and "),
            ));
        }
        Ok(())
    }
}

fn already_there_is_fine<T>(result: Result<T, CallError>) -> Result<(), CallError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.verdict == Verdict::AlreadyThere => Ok(()),
        Err(error) => Err(error),
    }
}
