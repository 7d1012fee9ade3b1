//! What a failed request to S3 or STS means. The one classification; everything else asks it.

use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use common::{
    db::{Failure, FailureClass},
    destination::Region,
};

use super::advice;
use crate::retry::Retryable;

/// The requests that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// STS: become the customer's role.
    AssumeRole,
    /// A whole object at once.
    PutObject,
    /// The beginning of an object in parts.
    CreateMultipartUpload,
    /// One part.
    UploadPart,
    /// The end, which makes it visible.
    CompleteMultipartUpload,
    /// The end of an upload that is given up.
    AbortMultipartUpload,
    /// The search for uploads of which nobody knows the id.
    ListMultipartUploads,
    /// Removing a test's object.
    DeleteObject,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What to do about a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same again in a moment.
    Transient,
    /// The same again with new credentials.
    NewCredentials,
    /// The same again after correcting our clock.
    ClockSkew,
    /// The same object again, in a new upload with all its parts.
    NewUpload,
    /// An earlier attempt did it: the key holds an object with our plan's id in its name.
    AlreadyThere,
    /// Not before the customer has changed something.
    Permanent,
    /// Our own side is at fault.
    Ours,
}

/// Decides by the service's error code, and where there is none by the HTTP status; neither means
/// that no answer came, which is transient.
pub fn classify(operation: Operation, code: Option<&str>, status: Option<u16>) -> Verdict {
    code.and_then(|code| by_code(operation, code))
        .unwrap_or_else(|| by_status(operation, status))
}

/// Codes: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> and
/// <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>.
fn by_code(operation: Operation, code: &str) -> Option<Verdict> {
    use Operation as Op;
    Some(match (operation, code) {
        // Here the caller is we ourselves: a customer can neither cause nor mend it.
        (
            Op::AssumeRole,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
            | "InvalidToken"
            | "InvalidAccessKeyId"
            | "OptInRequired",
        ) => Verdict::Ours,

        (
            _,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "InvalidAccessKeyId",
        ) => Verdict::NewCredentials,
        (_, "RequestTimeTooSkewed" | "RequestExpired") => Verdict::ClockSkew,
        (_, "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder") => Verdict::NewUpload,
        (Op::CompleteMultipartUpload, "ConditionalRequestConflict" | "OperationAborted") => {
            Verdict::NewUpload
        }
        (Op::PutObject | Op::CompleteMultipartUpload, "PreconditionFailed") => {
            Verdict::AlreadyThere
        }
        (
            _,
            "InternalError"
            | "InternalFailure"
            | "SlowDown"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "ConditionalRequestConflict"
            | "OperationAborted"
            | "TemporaryRedirect"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "BandwidthLimitExceeded"
            | "PriorRequestNotComplete"
            | "LimitExceededException"
            | "IDPCommunicationError"
            | "BadDigest"
            | "IncompleteBody"
            | "XAmzContentSHA256Mismatch"
            | "KMS.ThrottlingException"
            | "KMS.KMSInternalException"
            | "KMS.DependencyTimeoutException",
        ) => Verdict::Transient,
        (
            _,
            "AccessDenied"
            | "AccessDeniedException"
            | "AllAccessDisabled"
            | "AccountProblem"
            | "NoSuchBucket"
            | "InvalidBucketName"
            | "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "RegionDisabledException"
            | "InvalidObjectState"
            | "NotSignedUp"
            | "NotImplemented"
            | "MethodNotAllowed"
            | "ValidationError",
        ) => Verdict::Permanent,
        (
            _,
            "EntityTooSmall"
            | "EntityTooLarge"
            | "MalformedXML"
            | "MissingContentLength"
            | "KeyTooLongError"
            | "SignatureDoesNotMatch"
            | "PackedPolicyTooLarge"
            | "MalformedPolicyDocument",
        ) => Verdict::Ours,
        _ => return None,
    })
}

fn by_status(operation: Operation, status: Option<u16>) -> Verdict {
    use Operation as Op;
    match (operation, status) {
        (Op::PutObject | Op::CompleteMultipartUpload, Some(412)) => Verdict::AlreadyThere,
        (Op::CompleteMultipartUpload, Some(409)) => Verdict::NewUpload,
        (Op::UploadPart | Op::CompleteMultipartUpload, Some(404)) => Verdict::NewUpload,
        (_, Some(307 | 408 | 409 | 425 | 429 | 500..)) => Verdict::Transient,
        (_, Some(300..)) => Verdict::Permanent,
        // No answer, or one that is not S3's: whoever is between us may be gone in a moment.
        (_, _) => Verdict::Transient,
    }
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct CallError {
    /// Which.
    pub operation: Operation,
    /// What to do about it.
    pub verdict: Verdict,
    /// The service's error code, or a name for what happened.
    pub code: String,
    /// What the service or the network said.
    pub message: String,
    /// Where the service says that the bucket is.
    pub bucket_region: Option<String>,
    /// The service's clock, for correcting ours.
    pub server_time: Option<jiff::Timestamp>,
}

impl CallError {
    /// Whether AWS itself said that the caller may not. A bare 403 may be anybody's on the way.
    pub fn is_denied(&self) -> bool {
        matches!(&*self.code, "AccessDenied" | "AccessDeniedException")
    }

    /// The answer to a request that was to be refused: any other refusal than [`Self::is_denied`] says
    /// nothing about what was asked, so it is asked again later.
    pub fn telling_nothing(mut self) -> Self {
        if self.verdict == Verdict::Permanent {
            self.verdict = Verdict::Transient;
        }
        self
    }

    /// Reads the SDK's error.
    pub fn new<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let response = error.raw_response();
        let status = response.map(|r| r.status().as_u16());
        let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = metadata.and_then(|m| m.code()).filter(|c| is_name(c));
        let message = metadata.and_then(|m| m.message());
        let header = |name: &str| response.and_then(|r| r.headers().get(name));
        Self {
            operation,
            verdict: match classify(operation, code, status) {
                Verdict::Ours if message.is_some_and(is_about_the_time) => Verdict::ClockSkew,
                verdict => verdict,
            },
            code: match (code, status) {
                (Some(code), _) => code.to_owned(),
                (None, Some(status)) => format!("http_{status}"),
                (None, None) => transport_code(error).to_owned(),
            },
            message: told(&message.map_or_else(|| root_cause(error), str::to_owned)),
            bucket_region: header("x-amz-bucket-region")
                .or_else(|| region_in(response?.body().bytes()?))
                .and_then(|region| Region::parse(region).ok())
                .map(|region| region.as_str().to_owned()),
            server_time: header("date").and_then(http_date),
        }
    }

    /// An answer that says neither yes nor no as AWS does: a middle box's, perhaps.
    pub fn not_of_aws(operation: Operation) -> Self {
        Self {
            verdict: Verdict::Transient,
            code: UNREADABLE.into(),
            ..Self::ours(operation, "the answer is not one of AWS")
        }
    }

    /// No answer in the time that there was.
    pub fn timed_out(operation: Operation) -> Self {
        Self {
            verdict: Verdict::Transient,
            code: TIMEOUT.into(),
            ..Self::ours(operation, "no answer in time")
        }
    }

    /// A failure of our own making, found before or after a request.
    pub fn ours(operation: Operation, message: impl Into<String>) -> Self {
        Self {
            operation,
            verdict: Verdict::Ours,
            code: "internal".into(),
            message: message.into(),
            bucket_region: None,
            server_time: None,
        }
    }

    /// How it is recorded for the admin of `destination`.
    pub fn failure(&self, destination: &advice::Subject<'_>) -> Failure {
        let class = match self.verdict {
            Verdict::Permanent => FailureClass::Permanent,
            Verdict::Ours | Verdict::ClockSkew => FailureClass::Internal,
            Verdict::Transient
            | Verdict::NewCredentials
            | Verdict::NewUpload
            | Verdict::AlreadyThere => FailureClass::Transient,
        };
        Failure {
            class,
            code: self.code.clone(),
            text: advice::text(self, destination),
        }
    }
}

impl Retryable for CallError {
    fn is_transient(&self) -> bool {
        self.verdict == Verdict::Transient
    }

    fn is_timeout(&self) -> bool {
        self.code == TIMEOUT
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.operation, self.code, self.message)
    }
}

impl std::error::Error for CallError {}

/// The name for an answer that did not come in time.
const TIMEOUT: &str = "timeout";
/// The name for an answer that cannot be read.
const UNREADABLE: &str = "unreadable_response";

/// The longest message that is told, in characters.
const MAX_MESSAGE: usize = 1_000;
/// The longest code, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// Whether a code looks like one. What does not is some other server's, and could be anything.
fn is_name(code: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(plain)
}

/// A message as it may be logged and shown: without identities, short, and on one line.
fn told(message: &str) -> String {
    let clean = advice::without_identities(message);
    let mut characters = clean.chars();
    let mut told: String = characters
        .by_ref()
        .take(MAX_MESSAGE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if characters.next().is_some() {
        told.push('…');
    }
    told
}

fn transport_code<E>(error: &SdkError<E, HttpResponse>) -> &'static str {
    match error {
        SdkError::TimeoutError(_) => TIMEOUT,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => TIMEOUT,
        SdkError::DispatchFailure(_) => "connection_failed",
        SdkError::ResponseError(_) => UNREADABLE,
        _ => "request_failed",
    }
}

/// The innermost error of a chain, which says what really happened.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// STS has no code of its own for a request whose time is off: it is a signature that does not match,
/// and only the message tells. See
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>.
fn is_about_the_time(message: &str) -> bool {
    message.starts_with("Signature expired") || message.starts_with("Signature not yet current")
}

/// The bucket's region, which an error's body names where no header does.
fn region_in(body: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Region>")?;
    let (region, _) = rest.split_once("</Region>")?;
    Some(region)
}

/// RFC 9110 `Date`, such as `Tue, 15 Nov 1994 08:12:31 GMT`.
fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|time| time.timestamp())
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
