//! How each fault is made, in the words of the service that is asked.

use harness::faults::http::{Answer, Fault, Operation};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use super::table::Kind;

/// The region that the wrong-region answers name.
const RIGHT_REGION: &str = "us-east-1";

/// The fault, for calls of this operation.
pub(super) fn fault(operation: Operation, kind: Kind) -> Fault {
    match kind {
        Kind::ResetBefore => Fault::ResetBefore,
        Kind::ResetAfter => Fault::LoseAnswer,
        Kind::CutRequest => Fault::CutRequest,
        Kind::CutAnswer => Fault::CutAnswer,
        Kind::Hang => Fault::Hang,
        Kind::HangAfter => Fault::HangAfter,
        _ => Fault::Answer(answer(operation, kind)),
    }
}

fn answer(operation: Operation, kind: Kind) -> Answer {
    let sts = operation == Operation::AssumeRole;
    let either = |status, code| match sts {
        true => Answer::sts(status, code),
        false => Answer::s3(status, code),
    };
    match kind {
        Kind::InternalError if sts => Answer::sts(500, "InternalFailure"),
        Kind::InternalError => Answer::s3(500, "InternalError"),
        Kind::SlowDown if sts => Answer::sts(503, "ServiceUnavailable"),
        Kind::SlowDown => Answer::s3(503, "SlowDown"),
        Kind::TooManyRequests => Answer::empty(429),
        Kind::Conflict => either(409, "ConditionalRequestConflict"),
        Kind::PreconditionFailed => either(412, "PreconditionFailed"),
        Kind::RequestTimeout => either(400, "RequestTimeout"),
        Kind::ExpiredToken if sts => Answer::sts(403, "ExpiredToken"),
        Kind::ExpiredToken => Answer::s3(400, "ExpiredToken"),
        // Both clocks are right: what is measured is that they differ by nothing.
        Kind::RequestTimeTooSkewed => either(403, "RequestTimeTooSkewed").header("date", now()),
        Kind::ErrorIn200 if sts => Answer::sts(200, "InternalFailure"),
        Kind::ErrorIn200 => Answer::s3(200, "InternalError"),
        Kind::PageIn200 => page(200),
        Kind::Page502 => page(502),
        Kind::Page503 => page(503),
        Kind::PermanentRedirect => {
            Answer::s3(301, "PermanentRedirect").header("x-amz-bucket-region", RIGHT_REGION)
        }
        // Here S3 names the region in the body alone.
        Kind::AuthorizationHeaderMalformed => {
            let message = format!(
                "The authorization header is malformed; the region 'eu-central-1' is wrong; \
                 expecting '{RIGHT_REGION}'"
            );
            let region = format!("<Region>{RIGHT_REGION}</Region>");
            document(400, "AuthorizationHeaderMalformed", &message, &region)
        }
        // Nobody listens there: a client that follows it gets nowhere.
        Kind::TemporaryRedirect => {
            Answer::s3(307, "TemporaryRedirect").header("location", "http://127.0.0.1:9/")
        }
        Kind::AccessDenied => either(403, "AccessDenied"),
        Kind::KmsDenied => document(
            403,
            "AccessDenied",
            "User: arn:aws:sts::222222222222:assumed-role/export/session is not authorized to \
             perform: kms:GenerateDataKey on resource: \
             arn:aws:kms:eu-central-1:222222222222:key/0f1e because no identity-based policy \
             allows the kms:GenerateDataKey action",
            "",
        ),
        Kind::KmsDisabled => document(
            400,
            "KMS.DisabledException",
            "arn:aws:kms:eu-central-1:222222222222:key/0f1e is disabled.",
            "",
        ),
        Kind::NoSuchBucket => Answer::s3(404, "NoSuchBucket"),
        Kind::Throttling => Answer::sts(400, "Throttling"),
        Kind::ThrottlingException => Answer::sts(400, "ThrottlingException"),
        Kind::NoSuchUpload => Answer::s3(404, "NoSuchUpload"),
        Kind::ResetBefore
        | Kind::ResetAfter
        | Kind::CutRequest
        | Kind::CutAnswer
        | Kind::Hang
        | Kind::HangAfter => unreachable!("{kind:?} is no answer"),
    }
}

/// What a proxy between us and AWS answers of its own accord. Not well-formed XML, as is usual.
fn page(status: u16) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".into(), "text/html".into())],
        body: "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Gateway</title></head>\
               <body><center><h1>We are sorry</h1></center><hr><p>Try again</body></html>\n"
            .into(),
    }
}

fn document(status: u16, code: &str, message: &str, more: &str) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".into(), "application/xml".into())],
        body: format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{message}</Message>{more}<RequestId>4442587FB7D0A2F9</RequestId></Error>"
        ),
    }
}

fn now() -> String {
    let printer = DateTimePrinter::new();
    printer
        .timestamp_to_rfc9110_string(&Timestamp::now())
        .unwrap()
}
