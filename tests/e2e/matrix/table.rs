//! What each fault of each operation must end in. Written from what the system promises its users,
//! not from what the exporter does:
//!
//! - transient failures are retried within the job; if they go on, the run is given back for later;
//! - permanent ones are asked once: the run fails, delivery pauses with a sentence that says what to
//!   change, and resumes by itself;
//! - a key that is taken proves that an earlier attempt has written the object;
//! - what is wrong with our own identity or clock is never blamed on the customer.

use harness::faults::http::Operation;

use Kind as K;
use Operation as Op;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    InternalError,
    SlowDown,
    /// 429 without a code.
    TooManyRequests,
    /// 409 `ConditionalRequestConflict`.
    Conflict,
    PreconditionFailed,
    /// 400 `RequestTimeout`.
    RequestTimeout,
    ExpiredToken,
    RequestTimeTooSkewed,
    ResetBefore,
    /// It takes effect, then the connection is reset.
    ResetAfter,
    CutRequest,
    CutAnswer,
    ErrorIn200,
    /// 200 with the page of a middle box.
    PageIn200,
    /// 502 with the page of a middle box.
    Page502,
    /// 503 with the page of a middle box.
    Page503,
    Hang,
    /// It takes effect and is never answered.
    HangAfter,
    PermanentRedirect,
    AuthorizationHeaderMalformed,
    TemporaryRedirect,
    AccessDenied,
    KmsDenied,
    KmsDisabled,
    NoSuchBucket,
    Throttling,
    ThrottlingException,
    NoSuchUpload,
}

/// All of them; those that take longest stand first.
pub(super) const KINDS: [Kind; 28] = [
    K::Hang,
    K::HangAfter,
    K::ExpiredToken,
    K::NoSuchUpload,
    K::Conflict,
    K::RequestTimeTooSkewed,
    K::ResetBefore,
    K::ResetAfter,
    K::CutRequest,
    K::CutAnswer,
    K::InternalError,
    K::SlowDown,
    K::TooManyRequests,
    K::RequestTimeout,
    K::ErrorIn200,
    K::PageIn200,
    K::Page502,
    K::Page503,
    K::TemporaryRedirect,
    K::Throttling,
    K::ThrottlingException,
    K::PreconditionFailed,
    K::PermanentRedirect,
    K::AuthorizationHeaderMalformed,
    K::AccessDenied,
    K::KmsDenied,
    K::KmsDisabled,
    K::NoSuchBucket,
];

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The first call alone.
    Once,
    /// Every call until the fault is lifted.
    UntilLifted,
}

/// Whose trouble a run that was given back names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Transient,
    Internal,
}

/// How an export ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The run succeeds in its first attempt, with at most so many calls.
    Retried(usize),
    /// Likewise, after S3 has said that the key is taken.
    AlreadyThere(usize),
    /// Likewise, with all parts sent again in a new upload.
    NewUpload(usize),
    /// The run waits with a reason, delivery stays active, and it succeeds by itself later.
    GivenBack(Class),
    /// One of the above: how much of an attempt a hung call may use up, and how much of a cut answer
    /// a client gets to see, is left open.
    RetriedOrGivenBack,
    /// The run fails after one call, delivery pauses, and resumes by itself once the fault is lifted.
    Refused {
        code: &'static str,
        /// What the sentence has to say.
        says: &'static [&'static str],
    },
}

/// How a connection test ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TestEnding {
    /// It passes, with at most so many calls.
    Passes(usize),
    /// It passes, and the warning names the objects that stay.
    Warns,
    /// It fails in the operation's stage; delivery stays active.
    Fails,
}

/// Why a cell is not run.
pub(super) type LeftOut = &'static str;

/// The cells that make no sense, with the reason.
fn left_out(operation: Operation, kind: Kind, mode: Mode) -> Option<LeftOut> {
    Some(match (operation, kind) {
        (
            Op::AssumeRole,
            K::PermanentRedirect
            | K::AuthorizationHeaderMalformed
            | K::TemporaryRedirect
            | K::NoSuchBucket,
        ) => "STS has no buckets",
        (Op::AssumeRole | Op::DeleteObject, K::KmsDenied | K::KmsDisabled) => {
            "nothing is encrypted"
        }
        (
            Op::AssumeRole | Op::PutObject | Op::CreateMultipartUpload | Op::DeleteObject,
            K::NoSuchUpload,
        ) => "the request names no upload",
        (Op::AssumeRole, K::Throttling | K::ThrottlingException) => return None,
        (_, K::Throttling | K::ThrottlingException) => "S3 says SlowDown",
        (Op::PutObject | Op::CompleteMultipartUpload, K::PreconditionFailed) => {
            "it proves that the object is there: the server's own is met after a lost answer"
        }
        (
            Op::DeleteObject,
            K::PreconditionFailed
            | K::PermanentRedirect
            | K::AuthorizationHeaderMalformed
            | K::NoSuchBucket
            | K::PageIn200,
        ) => "the same test has just written to this bucket",
        _ if is_permanent(kind) && operation != Op::DeleteObject && mode == Mode::Once => {
            "what is permanent is asked once anyway"
        }
        _ => return None,
    })
}

fn is_permanent(kind: Kind) -> bool {
    matches!(
        kind,
        K::PreconditionFailed
            | K::PermanentRedirect
            | K::AuthorizationHeaderMalformed
            | K::AccessDenied
            | K::KmsDenied
            | K::KmsDisabled
            | K::NoSuchBucket
    )
}

/// How an export must end whose calls of this operation meet this fault.
pub(super) fn of_export(operation: Operation, kind: Kind, mode: Mode) -> Result<Ending, LeftOut> {
    if let Some(reason) = left_out(operation, kind, mode) {
        return Err(reason);
    }
    if let Some(refused) = refused(operation, kind) {
        return Ok(refused);
    }
    // Objects of the multipart cells have two parts.
    let usual = match operation {
        Op::UploadPart => 2,
        _ => 1,
    };
    Ok(match (operation, kind, mode) {
        // Our own identity: the customer can neither cause nor mend it.
        (Op::AssumeRole, K::ExpiredToken, _) => Ending::GivenBack(Class::Internal),
        (_, K::RequestTimeTooSkewed, Mode::UntilLifted) => Ending::GivenBack(Class::Internal),

        (_, K::Hang | K::HangAfter, Mode::Once) => Ending::RetriedOrGivenBack,
        // It took effect, and the next answer says in its head that the key is taken.
        (Op::PutObject | Op::CompleteMultipartUpload, K::CutAnswer, Mode::UntilLifted) => {
            Ending::RetriedOrGivenBack
        }
        (_, _, Mode::UntilLifted) => Ending::GivenBack(Class::Transient),

        (Op::PutObject, K::ResetAfter | K::CutAnswer, Mode::Once) => Ending::AlreadyThere(2),
        // The upload is gone with its completion; a new one is told that the key is taken.
        (Op::CompleteMultipartUpload, K::ResetAfter | K::CutAnswer, Mode::Once) => {
            Ending::AlreadyThere(3)
        }
        (Op::CompleteMultipartUpload, K::Conflict, Mode::Once) => Ending::NewUpload(2),
        (Op::UploadPart | Op::CompleteMultipartUpload, K::NoSuchUpload, Mode::Once) => {
            Ending::NewUpload(usual + 1)
        }
        (_, _, Mode::Once) => Ending::Retried(usual + 1),
    })
}

fn refused(operation: Operation, kind: Kind) -> Option<Ending> {
    let (code, says): (&'static str, &'static [&'static str]) = match (operation, kind) {
        // As any answer that says "not so": asking again the same way would not help.
        (Op::AssumeRole, K::PreconditionFailed) => ("PreconditionFailed", &["STS"]),
        (_, K::PreconditionFailed) => ("PreconditionFailed", &["{bucket}"]),
        (Op::AssumeRole, K::AccessDenied) => (
            "AccessDenied",
            &["trust policy", "sts:ExternalId = {external id}"],
        ),
        (_, K::AccessDenied) => ("AccessDenied", &["s3:PutObject", "{bucket}"]),
        (_, K::KmsDenied) => ("AccessDenied", &["KMS key", "kms:GenerateDataKey"]),
        (_, K::KmsDisabled) => ("KMS.DisabledException", &["KMS key", "enable"]),
        (_, K::NoSuchBucket) => ("NoSuchBucket", &["{bucket} does not exist", "create it"]),
        (_, K::PermanentRedirect) => ("PermanentRedirect", &["set region to us-east-1"]),
        (_, K::AuthorizationHeaderMalformed) => {
            ("AuthorizationHeaderMalformed", &["set region to us-east-1"])
        }
        _ => return None,
    };
    Some(Ending::Refused { code, says })
}

/// How a connection test must end whose deletions meet this fault.
pub(super) fn of_deletion(kind: Kind, mode: Mode) -> Result<TestEnding, LeftOut> {
    if let Some(reason) = left_out(Op::DeleteObject, kind, mode) {
        return Err(reason);
    }
    Ok(match (kind, mode) {
        // An export deletes nothing.
        (K::AccessDenied, _) => TestEnding::Warns,
        // Two objects.
        (_, Mode::Once) => TestEnding::Passes(3),
        (_, Mode::UntilLifted) => TestEnding::Fails,
    })
}

/// The faults that connection tests meet in every operation, and what the sentence has to say.
pub(super) fn of_test(operation: Operation) -> [(Kind, &'static [&'static str]); 4] {
    let service: &'static [&'static str] = match operation {
        Op::AssumeRole => &["STS"],
        _ => &["S3"],
    };
    let denied = match refused(operation, K::AccessDenied) {
        Some(Ending::Refused { says, .. }) => says,
        _ => service,
    };
    [
        (K::AccessDenied, denied),
        (K::SlowDown, service),
        // The stage is named; whose the silence is may be left open.
        (K::Hang, &[]),
        (K::ResetBefore, service),
    ]
}

/// The stage of a connection test in which an operation fails.
pub(super) fn stage_of(operation: Operation) -> &'static str {
    match operation {
        Op::AssumeRole => "assume_role",
        Op::PutObject => "put_object",
        Op::DeleteObject => "delete_object",
        _ => "multipart_upload",
    }
}
