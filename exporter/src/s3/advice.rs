//! What an admin is told about a failed request: what to change, in a sentence. Pure.

mod kms;

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
    let Destination { bucket, region, .. } = subject.destination;
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
        _ if kms::is_about(error) => kms::text(error, subject.destination),
        "AccessDenied" | "AccessDeniedException" | "AllAccessDisabled" | "http_403" => {
            denied_text(error.operation, subject.destination)
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

/// S3 says "Access Denied" and no more where the bucket is another account's than was expected, and
/// often where a policy is to blame: so every sentence names both.
fn denied_text(operation: Operation, destination: &Destination) -> String {
    let Destination {
        bucket,
        role_arn,
        prefix,
        bucket_owner,
        kms_key_arn,
        ..
    } = destination;
    let action = match operation {
        Operation::DeleteObject => "s3:DeleteObject",
        Operation::AbortMultipartUpload => "s3:AbortMultipartUpload",
        Operation::ListMultipartUploads => "s3:ListBucketMultipartUploads",
        _ => "s3:PutObject",
    };
    let keys = match prefix.as_str() {
        "" => "*".to_owned(),
        prefix => format!("{prefix}/*"),
    };
    let of_another_account = match bucket_owner {
        Some(owner) if owner != role_arn.account() => {
            " (in the bucket's policy as well, since the bucket is not of the role's account)"
        }
        _ => "",
    };
    let key = match kms_key_arn {
        Some(_) => "if it demands encryption with another KMS key, correct kmsKeyArn",
        None => "if it demands encryption with a KMS key, set kmsKeyArn",
    };
    let owner = match bucket_owner {
        Some(_) => {
            "belongs to the account that bucketOwner names; if it belongs to another account of \
             yours, correct bucketOwner"
        }
        None => {
            "belongs to the role's own account; if it belongs to another account of yours, set \
             bucketOwner to the number of that account"
        }
    };
    format!(
        "S3 denied the role {} access to the bucket {bucket}: allow it {action} on \
         arn:{}:s3:::{bucket}/{keys}{of_another_account}; see that no bucket policy denies it ({key}); \
         and see that the bucket {owner}.",
        role_arn.masked(),
        role_arn.partition(),
    )
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
mod tests;
