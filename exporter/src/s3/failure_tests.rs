//! The table of what failures mean, case by case.

use super::{Operation as Op, Verdict as V, *};

#[test]
fn every_case_of_the_table() {
    let any = [
        Op::PutObject,
        Op::CreateMultipartUpload,
        Op::UploadPart,
        Op::CompleteMultipartUpload,
        Op::DeleteObject,
    ];
    let of_any: &[(Option<&str>, Option<u16>, V)] = &[
        // No answer: time-outs, refused and reset connections.
        (None, None, V::Transient),
        // 5xx and throttling, with and without a code.
        (Some("InternalError"), Some(500), V::Transient),
        (Some("SlowDown"), Some(503), V::Transient),
        (Some("ServiceUnavailable"), Some(503), V::Transient),
        (None, Some(500), V::Transient),
        (None, Some(502), V::Transient),
        (None, Some(503), V::Transient),
        (None, Some(504), V::Transient),
        (None, Some(429), V::Transient),
        (Some("TooManyRequests"), Some(429), V::Transient),
        (Some("RequestTimeout"), Some(400), V::Transient),
        // An unknown code does not hide the status.
        (Some("SomethingNew"), Some(503), V::Transient),
        (Some("SomethingNew"), Some(400), V::Permanent),
        // A 200 whose body is an error, or cannot be read.
        (Some("InternalError"), Some(200), V::Transient),
        (None, Some(200), V::Transient),
        // After a bucket's creation.
        (Some("TemporaryRedirect"), Some(307), V::Transient),
        (None, Some(307), V::Transient),
        // Credentials and clocks.
        (Some("ExpiredToken"), Some(400), V::NewCredentials),
        (Some("InvalidToken"), Some(400), V::NewCredentials),
        (Some("RequestTimeTooSkewed"), Some(403), V::ClockSkew),
        // The customer's side.
        (Some("NoSuchBucket"), Some(404), V::Permanent),
        (Some("AccessDenied"), Some(403), V::Permanent),
        (None, Some(403), V::Permanent),
        (Some("AllAccessDisabled"), Some(403), V::Permanent),
        (Some("PermanentRedirect"), Some(301), V::Permanent),
        (None, Some(301), V::Permanent),
        (
            Some("AuthorizationHeaderMalformed"),
            Some(400),
            V::Permanent,
        ),
        (Some("InvalidBucketName"), Some(400), V::Permanent),
        (Some("KMS.DisabledException"), Some(400), V::Permanent),
        (Some("KMS.NotFoundException"), Some(400), V::Permanent),
        (
            Some("IllegalLocationConstraintException"),
            Some(400),
            V::Permanent,
        ),
        // Ours.
        (Some("SignatureDoesNotMatch"), Some(403), V::Ours),
        (Some("EntityTooSmall"), Some(400), V::Ours),
    ];
    for operation in any {
        for (code, status, verdict) in of_any {
            let got = classify(operation, *code, *status);
            assert_eq!(got, *verdict, "{operation} {code:?} {status:?}");
        }
    }

    let of_one: &[(Op, Option<&str>, Option<u16>, V)] = &[
        // An earlier attempt did it.
        (
            Op::PutObject,
            Some("PreconditionFailed"),
            Some(412),
            V::AlreadyThere,
        ),
        (Op::PutObject, None, Some(412), V::AlreadyThere),
        (
            Op::CompleteMultipartUpload,
            Some("PreconditionFailed"),
            Some(412),
            V::AlreadyThere,
        ),
        (
            Op::CompleteMultipartUpload,
            None,
            Some(412),
            V::AlreadyThere,
        ),
        (Op::UploadPart, None, Some(412), V::Permanent),
        // Another conditional write was under way: of parts, all have to be sent again.
        (
            Op::PutObject,
            Some("ConditionalRequestConflict"),
            Some(409),
            V::Transient,
        ),
        (Op::PutObject, None, Some(409), V::Transient),
        (
            Op::CompleteMultipartUpload,
            Some("ConditionalRequestConflict"),
            Some(409),
            V::NewUpload,
        ),
        (Op::CompleteMultipartUpload, None, Some(409), V::NewUpload),
        // The upload is gone.
        (
            Op::UploadPart,
            Some("NoSuchUpload"),
            Some(404),
            V::NewUpload,
        ),
        (Op::UploadPart, None, Some(404), V::NewUpload),
        (
            Op::CompleteMultipartUpload,
            Some("NoSuchUpload"),
            Some(404),
            V::NewUpload,
        ),
        (
            Op::CompleteMultipartUpload,
            Some("InvalidPart"),
            Some(400),
            V::NewUpload,
        ),
        // The bucket is gone, also for a part.
        (
            Op::UploadPart,
            Some("NoSuchBucket"),
            Some(404),
            V::Permanent,
        ),
        (Op::PutObject, None, Some(404), V::Permanent),
        // STS.
        (
            Op::AssumeRole,
            Some("AccessDenied"),
            Some(403),
            V::Permanent,
        ),
        (
            Op::AssumeRole,
            Some("RegionDisabledException"),
            Some(403),
            V::Permanent,
        ),
        (
            Op::AssumeRole,
            Some("ValidationError"),
            Some(400),
            V::Permanent,
        ),
        (Op::AssumeRole, Some("Throttling"), Some(400), V::Transient),
        (
            Op::AssumeRole,
            Some("ThrottlingException"),
            Some(400),
            V::Transient,
        ),
        (Op::AssumeRole, None, Some(500), V::Transient),
        (Op::AssumeRole, None, None, V::Transient),
        (Op::AssumeRole, Some("ExpiredToken"), Some(403), V::Ours),
        (
            Op::AssumeRole,
            Some("InvalidClientTokenId"),
            Some(403),
            V::Ours,
        ),
        (
            Op::AssumeRole,
            Some("SignatureDoesNotMatch"),
            Some(403),
            V::Ours,
        ),
        (
            Op::AssumeRole,
            Some("RequestTimeTooSkewed"),
            Some(403),
            V::ClockSkew,
        ),
    ];
    for (operation, code, status, verdict) in of_one {
        let got = classify(*operation, *code, *status);
        assert_eq!(got, *verdict, "{operation} {code:?} {status:?}");
    }
}

#[test]
fn the_region_is_read_from_the_body() {
    let body =
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-east-1</Region></Error>";
    assert_eq!(region_in(body), Some("us-east-1"));
    assert_eq!(region_in(b"<Error><Region>"), None);
    assert_eq!(region_in(b"<html>"), None);
}

#[test]
fn the_clock_of_the_other_side_is_read() {
    let time = http_date("Tue, 15 Nov 1994 08:12:31 GMT").unwrap();
    assert_eq!(time.to_string(), "1994-11-15T08:12:31Z");
    assert!(http_date("yesterday").is_none());
}

#[test]
fn what_is_told_of_an_answer_is_short_and_on_one_line() {
    use aws_sdk_s3::{
        error::ErrorMetadata, operation::delete_object::DeleteObjectError, primitives::SdkBody,
    };

    let error = |code: &str, message: &str, region: &'static str| {
        let metadata = ErrorMetadata::builder().code(code).message(message).build();
        let mut response = HttpResponse::new(301.try_into().unwrap(), SdkBody::empty());
        response.headers_mut().insert("x-amz-bucket-region", region);
        let error = SdkError::service_error(DeleteObjectError::generic(metadata), response);
        CallError::new(Op::DeleteObject, &error)
    };
    let arn = "arn:aws:iam::222222222222:role/x";
    let odd = error(&format!("Bad{arn}"), &format!("a\r\n{arn}\tb"), "x, y");
    assert_eq!(
        odd.to_string(),
        "DeleteObject: http_301: a  (an identity) b"
    );
    assert_eq!(odd.bucket_region, None);
    let long = error("Bad\nCode", &"ü".repeat(5_000), "eu-west-1");
    assert_eq!(long.code, "http_301");
    assert_eq!(long.message, "ü".repeat(MAX_MESSAGE) + "…");
    assert_eq!(long.bucket_region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        error("KMS.DisabledException", "", "").code,
        "KMS.DisabledException"
    );
}

#[test]
fn sts_tells_only_in_words_that_clocks_differ() {
    use aws_sdk_s3::primitives::SdkBody;
    use aws_sdk_sts::{error::ErrorMetadata, operation::assume_role::AssumeRoleError};

    let verdict = |message: &str| {
        let metadata = ErrorMetadata::builder()
            .code("SignatureDoesNotMatch")
            .message(message)
            .build();
        let response = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
        let error = SdkError::service_error(AssumeRoleError::generic(metadata), response);
        CallError::new(Op::AssumeRole, &error).verdict
    };
    for message in [
        "Signature expired: 20260131T100000Z is now earlier than 20260131T114500Z",
        "Signature not yet current: 20260131T140000Z is still later than 20260131T121500Z",
    ] {
        assert_eq!(verdict(message), V::ClockSkew, "{message}");
    }
    let other = "The request signature we calculated does not match the signature you provided.";
    assert_eq!(verdict(other), V::Ours);
}
