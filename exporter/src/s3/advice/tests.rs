use common::destination::{AccountId, Bucket, Compression, KmsKeyArn, Prefix, Region, RoleArn};

use super::*;

fn destination() -> Destination {
    Destination {
        bucket: Bucket::parse("acme-audit").unwrap(),
        region: Region::parse("eu-central-1").unwrap(),
        role_arn: RoleArn::parse("arn:aws:iam::222222222222:role/export-to-acme").unwrap(),
        prefix: Prefix::parse("audit").unwrap(),
        bucket_owner: None,
        kms_key_arn: None,
        compression: Compression::Gzip,
    }
}

fn key() -> KmsKeyArn {
    let arn = format!(
        "arn:aws:kms:eu-central-1:222222222222:key/mrk-{}",
        "0".repeat(32)
    );
    KmsKeyArn::parse(&arn).unwrap()
}

fn advice(operation: Operation, code: &str, message: &str) -> String {
    advice_for(&destination(), operation, code, message)
}

fn advice_for(
    destination: &Destination,
    operation: Operation,
    code: &str,
    message: &str,
) -> String {
    let error = CallError {
        code: code.into(),
        message: message.into(),
        bucket_region: Some("us-east-1".into()),
        verdict: super::super::failure::classify(operation, Some(code), Some(403)),
        ..CallError::ours(operation, "")
    };
    text(
        &error,
        &Subject {
            destination,
            external_id: "ext-1",
        },
    )
}

#[test]
fn every_sentence_names_what_to_change() {
    let cases = [
        (
            Operation::AssumeRole,
            "AccessDenied",
            "",
            "sts:ExternalId = ext-1",
        ),
        (
            Operation::PutObject,
            "NoSuchBucket",
            "",
            "acme-audit does not exist",
        ),
        (
            Operation::PutObject,
            "AccessDenied",
            "",
            "arn:aws:s3:::acme-audit/audit/*",
        ),
        (
            Operation::PutObject,
            "AccessDenied",
            "is not authorized to perform: kms:GenerateDataKey on resource",
            "KMS key",
        ),
        (
            Operation::DeleteObject,
            "AccessDenied",
            "",
            "s3:DeleteObject",
        ),
        (
            Operation::PutObject,
            "PermanentRedirect",
            "",
            "set region to us-east-1",
        ),
        (
            Operation::UploadPart,
            "KMS.DisabledException",
            "",
            "KMS.DisabledException",
        ),
        (
            Operation::PutObject,
            "SlowDown",
            "",
            "tried again by itself",
        ),
        (
            Operation::PutObject,
            "SignatureDoesNotMatch",
            "",
            "on our side",
        ),
    ];
    for (operation, code, message, part) in cases {
        let sentence = advice(operation, code, message);
        assert!(sentence.contains(part), "{code}: {sentence}");
        assert!(
            !sentence.contains("222222222222:role/export-to-acme"),
            "{sentence}"
        );
    }
}

/// S3's answer is the same "Access Denied" whatever the reason is.
#[test]
fn a_denial_names_whose_bucket_it_may_be() {
    let denied = |owner: Option<&str>| {
        let destination = Destination {
            bucket_owner: owner.map(|owner| AccountId::parse(owner).unwrap()),
            ..destination()
        };
        advice_for(
            &destination,
            Operation::PutObject,
            "AccessDenied",
            "Access Denied",
        )
    };
    let in_its_policy = "in the bucket's policy as well";
    let unset = denied(None);
    assert!(unset.contains("the role's own account"), "{unset}");
    assert!(unset.contains("set bucketOwner"), "{unset}");
    assert!(!unset.contains(in_its_policy), "{unset}");
    let own = denied(Some("222222222222"));
    assert!(own.contains("correct bucketOwner"), "{own}");
    assert!(!own.contains(in_its_policy), "{own}");
    let other = denied(Some("999999999999"));
    assert!(other.contains("correct bucketOwner"), "{other}");
    assert!(other.contains(in_its_policy), "{other}");
}

#[test]
fn a_denial_names_the_key_that_a_bucket_may_demand() {
    for (kms_key_arn, part) in [(None, "set kmsKeyArn"), (Some(key()), "correct kmsKeyArn")] {
        let destination = Destination {
            kms_key_arn,
            ..destination()
        };
        let operation = Operation::CreateMultipartUpload;
        let sentence = advice_for(&destination, operation, "AccessDenied", "Access Denied");
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn failures_of_a_key_name_the_key_and_what_it_lacks() {
    let named = Destination {
        kms_key_arn: Some(key()),
        ..destination()
    };
    let denied = |action: &str| {
        format!(
            "User: (an identity) is not authorized to perform: {action} on resource: {} because no \
             identity-based policy allows the {action} action",
            key()
        )
    };
    let (put, part) = (Operation::PutObject, Operation::UploadPart);
    for (operation, code, message, lacks) in [
        (
            put,
            "AccessDenied",
            denied("kms:GenerateDataKey"),
            "allow it kms:GenerateDataKey on",
        ),
        (
            part,
            "AccessDenied",
            denied("kms:Decrypt"),
            "allow it kms:Decrypt on",
        ),
        (
            part,
            "AccessDenied",
            denied("kms:GenerateDataKey"),
            "allow it kms:GenerateDataKey on",
        ),
        // Where KMS does not tell, the request does.
        (
            put,
            "KMS.AccessDeniedException",
            String::new(),
            "allow it kms:GenerateDataKey on",
        ),
        (
            part,
            "KMS.AccessDeniedException",
            String::new(),
            "allow it kms:Decrypt on",
        ),
        (
            put,
            "KMS.DisabledException",
            String::new(),
            "enable the key",
        ),
        (
            put,
            "KMS.KMSInvalidStateException",
            String::new(),
            "enable the key",
        ),
        (
            put,
            "KMS.NotFoundException",
            "Invalid arn eu-west-1".into(),
            "in eu-central-1",
        ),
        (
            put,
            "KMS.InvalidKeyUsageException",
            String::new(),
            "symmetric",
        ),
    ] {
        let by_config = advice_for(&named, operation, code, &message);
        assert!(by_config.contains(lacks), "{code}: {by_config}");
        assert!(by_config.contains("that kmsKeyArn names"), "{by_config}");
        let by_default = advice_for(&destination(), operation, code, &message);
        assert!(by_default.contains(lacks), "{code}: {by_default}");
        let whose = "the bucket acme-audit encrypts with by default";
        assert!(by_default.contains(whose), "{by_default}");
    }
    // A key's ARN in a message is no action of KMS.
    let message = format!("the object is encrypted with {}", key());
    let sentence = advice_for(&named, put, "AccessDenied", &message);
    assert!(sentence.contains("s3:PutObject"), "{sentence}");
}

#[test]
fn identities_are_taken_out_of_messages() {
    let message = "User: arn:aws:sts::111111111111:assumed-role/a/b is not authorized to \
                   perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/x";
    let clean = without_identities(message);
    assert!(
        !clean.contains("1111") && !clean.contains("2222"),
        "{clean}"
    );
    assert!(
        clean.starts_with("User: (an identity) is not authorized"),
        "{clean}"
    );
    let odd = "Value 'arn:aws:iam::222222222222:role/a';b,c/d,e' at 'roleArn', and more";
    assert_eq!(
        without_identities(odd),
        "Value '(an identity)' at 'roleArn', and more"
    );
    let bucket = "on resource: \"arn:aws:s3:::b/k\" because";
    assert_eq!(without_identities(bucket), bucket);
}
