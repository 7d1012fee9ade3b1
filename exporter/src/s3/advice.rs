//! What an admin is told about a failed request: what to change, in a sentence. Pure.

use common::destination::Destination;

use super::failure::{CallError, Operation, Verdict};

/// What the sentence is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The destination that was tried.
    pub destination: &'a Destination,
    /// The organisation's external id.
    pub external_id: &'a str,
}

/// The sentence for a failed request.
pub fn text(error: &CallError, subject: &Subject<'_>) -> String {
    match error.verdict {
        Verdict::Ours | Verdict::ClockSkew => {
            "The export could not be carried out because of a problem on our side; it is tried \
             again by itself and nothing needs to be changed."
                .into()
        }
        Verdict::Permanent if error.operation == Operation::AssumeRole => sts_text(error, subject),
        Verdict::Permanent => s3_text(error, subject),
        Verdict::Transient
        | Verdict::NewCredentials
        | Verdict::NewUpload
        | Verdict::AlreadyThere => {
            let service = match error.operation {
                Operation::AssumeRole => "AWS STS",
                _ => "S3",
            };
            format!(
                "{service} did not answer as it should ({} failed: {}); it is tried again by \
                 itself.",
                error.operation, error.code,
            )
        }
    }
}

fn sts_text(error: &CallError, subject: &Subject<'_>) -> String {
    let role = subject.destination.role_arn.masked();
    let external_id = subject.external_id;
    match error.code.as_str() {
        "AccessDenied" | "AccessDeniedException" | "http_403" => format!(
            "The role's trust policy does not allow us to assume {role} with external id \
             {external_id}: check that the role exists, and let its trust policy name our \
             principal with the condition StringEquals sts:ExternalId = {external_id}."
        ),
        "RegionDisabledException" => format!(
            "STS is not activated for our region in the account of {role}: activate it in that \
             account's settings."
        ),
        _ => format!(
            "STS refused the role {role} ({}): {}",
            error.code, error.message
        ),
    }
}

fn s3_text(error: &CallError, subject: &Subject<'_>) -> String {
    let Destination {
        bucket,
        region,
        role_arn,
        prefix,
    } = subject.destination;
    let role = role_arn.masked();
    match error.code.as_str() {
        "NoSuchBucket" | "http_404" => format!(
            "The bucket {bucket} does not exist: create it in {region}, or correct the bucket's \
             name."
        ),
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "http_301"
        | "IllegalLocationConstraintException" => match &error.bucket_region {
            Some(right) => format!(
                "The bucket {bucket} is in region {right}, not in {region}: set region to {right}."
            ),
            None => format!(
                "The bucket {bucket} is not in region {region}: set region to the bucket's own."
            ),
        },
        code @ ("KMS.DisabledException" | "KMS.KMSInvalidStateException") => format!(
            "The KMS key that encrypts the bucket {bucket} cannot be used now ({code}): enable the \
             key, or let the bucket use another one.",
        ),
        "KMS.NotFoundException" => format!(
            "The KMS key that encrypts the bucket {bucket} does not exist: let the bucket use \
             another one."
        ),
        _ if is_about_kms(error) => format!(
            "The role {role} may not use the KMS key that encrypts the bucket {bucket}: allow it \
             kms:GenerateDataKey and, for uploads in parts, kms:Decrypt on that key ({}).",
            error.code,
        ),
        "AccessDenied" | "AccessDeniedException" | "AllAccessDisabled" | "http_403" => {
            let partition = role_arn.partition();
            let action = match error.operation {
                Operation::DeleteObject => "s3:DeleteObject",
                Operation::AbortMultipartUpload => "s3:AbortMultipartUpload",
                Operation::ListMultipartUploads => "s3:ListBucketMultipartUploads",
                _ => "s3:PutObject",
            };
            let keys = match prefix.as_str() {
                "" => "*".to_owned(),
                prefix => format!("{prefix}/*"),
            };
            format!(
                "S3 denied the role {role} access to the bucket {bucket}: allow it {action} on \
                 arn:{partition}:s3:::{bucket}/{keys}, see that no bucket policy denies it, and \
                 that the bucket belongs to the role's own account."
            )
        }
        "InvalidBucketName" => {
            format!("S3 does not accept the bucket's name {bucket}: correct it.")
        }
        code => format!(
            "S3 refused {} on the bucket {bucket} ({code}): {}",
            error.operation, error.message
        ),
    }
}

fn is_about_kms(error: &CallError) -> bool {
    error.code.starts_with("KMS.") || error.message.contains("kms:")
}

/// Takes what identifies a role out of a service's message: `arn:…:iam::…` and `arn:…:sts::…` are
/// cut down to their kind, since messages end up in logs and in the admin's sight. A role's name may
/// hold commas and its path any character but white space, so only white space surely ends it.
pub fn without_identities(message: &str) -> String {
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("arn:") {
        let (before, from) = rest.split_at(at);
        let word = from.split(char::is_whitespace).next().unwrap_or_default();
        let arn = word.trim_end_matches(['"', '\'', ',', ';', ':', ')', '.', '<', '>']);
        let after = &from[arn.len()..];
        clean.push_str(before);
        if arn.contains(":iam:") || arn.contains(":sts:") {
            clean.push_str("(an identity)");
        } else {
            clean.push_str(arn);
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use common::destination::{Bucket, Prefix, Region, RoleArn};

    use super::*;

    fn destination() -> Destination {
        Destination {
            bucket: Bucket::parse("acme-audit").unwrap(),
            region: Region::parse("eu-central-1").unwrap(),
            role_arn: RoleArn::parse("arn:aws:iam::222222222222:role/export-to-acme").unwrap(),
            prefix: Prefix::parse("audit").unwrap(),
        }
    }

    fn advice(operation: Operation, code: &str, message: &str) -> String {
        let destination = destination();
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
                destination: &destination,
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
                "not allowed kms:GenerateDataKey",
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
}
