//! What an admin is told where the key that objects are encrypted with cannot be used. Pure.

use common::destination::Destination;

use super::super::failure::{CallError, Operation};

/// Whether a failure is about a key. S3 passes on what KMS said: as a code of its own or, where the
/// role lacks a permission, in the message of an AccessDenied.
pub(super) fn is_about(error: &CallError) -> bool {
    error.code.starts_with("KMS.") || denied_action(&error.message).is_some()
}

/// The sentence for such a failure.
pub(super) fn text(error: &CallError, destination: &Destination) -> String {
    let Destination { bucket, region, .. } = destination;
    let (key, instead) = match destination.kms_key_arn {
        Some(_) => (
            "the KMS key that kmsKeyArn names".to_owned(),
            "name another one in kmsKeyArn",
        ),
        None => (
            format!("the KMS key that the bucket {bucket} encrypts with by default"),
            "let the bucket use another one, or name one in kmsKeyArn",
        ),
    };
    match error.code.as_str() {
        code @ ("KMS.DisabledException" | "KMS.KMSInvalidStateException") => {
            format!("S3 cannot use {key} now ({code}): enable the key, or {instead}.")
        }
        "KMS.NotFoundException" => format!(
            "S3 does not find {key}: it must exist in {region}, the region of the bucket; create it \
             there, or {instead}."
        ),
        "KMS.InvalidKeyUsageException" | "KMS.KMSInvalidKeyUsageException" => {
            format!("S3 cannot use {key}: it is not for symmetric encryption; {instead}.")
        }
        _ => {
            let action = denied_action(&error.message).unwrap_or(match error.operation {
                Operation::UploadPart | Operation::CompleteMultipartUpload => "kms:Decrypt",
                _ => "kms:GenerateDataKey",
            });
            format!(
                "The role {} may not use {key}: allow it {action} on that key, in the role's policy \
                 and in the key's own. (All objects need kms:GenerateDataKey, those that are uploaded \
                 in parts kms:Decrypt as well.)",
                destination.role_arn.masked(),
            )
        }
    }
}

/// The action in `… is not authorized to perform: kms:Decrypt on resource: …`.
fn denied_action(message: &str) -> Option<&str> {
    message
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '.'))
        .find(|word| {
            word.strip_prefix("kms:")
                .is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()))
        })
}
