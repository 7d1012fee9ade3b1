//! Encryption with keys of KMS, as far as it shows: who may use which key, and what objects say of
//! theirs. Nothing is really encrypted.

use http::{HeaderMap, StatusCode};
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::access::Authorized;
use crate::authorize::{Refusal, Resource, decide};
use crate::errors::custom;
use crate::state::{Bucket, account_of};

/// The header, and condition key, of how an object is encrypted.
const ALGORITHM: &str = "x-amz-server-side-encryption";
/// The same of the key that it is encrypted with.
const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// What a PUT and the beginning of an upload do with the key.
pub(crate) const TO_WRITE: &str = "kms:GenerateDataKey";
/// What parts, the end of an upload, and reading do with it.
pub(crate) const TO_READ: &str = "kms:Decrypt";

/// How an object is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Encryption {
    /// `AES256` or `aws:kms`.
    pub(crate) algorithm: String,
    /// The key's ARN; `None` where it is one of S3's own.
    pub(crate) key: Option<String>,
}

impl Encryption {
    /// What a request asks for, or else what the bucket does by itself.
    pub(crate) fn read(headers: &HeaderMap, bucket: Option<&Bucket>) -> S3Result<Option<Self>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let key = text(KEY).map(str::to_owned);
        match text(ALGORITHM) {
            Some(algorithm @ "aws:kms") => Ok(Some(Self {
                algorithm: algorithm.to_owned(),
                key,
            })),
            Some(algorithm @ "AES256") if key.is_none() => Ok(Some(Self {
                algorithm: algorithm.to_owned(),
                key,
            })),
            None if key.is_none() => {
                let default = bucket.and_then(|bucket| bucket.kms_key_arn.clone());
                Ok(default.map(|key| Self {
                    algorithm: "aws:kms".to_owned(),
                    key: Some(key),
                }))
            }
            Some("AES256") | None => Err(S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                "Server Side Encryption with AWS KMS managed key requires HTTP header \
                 x-amz-server-side-encryption : aws:kms",
            )),
            Some(_) => Err(S3ErrorCode::NotImplemented.into()),
        }
    }

    /// The condition keys of a request about an object that is encrypted so.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (String, Option<&str>)> {
        let algorithm = (format!("s3:{ALGORITHM}"), Some(self.algorithm.as_str()));
        [algorithm, (format!("s3:{KEY}"), self.key.as_deref())].into_iter()
    }

    /// The headers that tell it.
    pub(crate) fn told(
        encryption: Option<&Self>,
    ) -> (Option<dto::ServerSideEncryption>, Option<String>) {
        let algorithm = encryption.map(|one| one.algorithm.clone().into());
        (algorithm, encryption.and_then(|one| one.key.clone()))
    }
}

/// Whether the caller may use the key of an object, if it has one.
pub(crate) fn may_use(
    app: &App,
    authorized: &Authorized,
    encryption: Option<&Encryption>,
    action: &str,
) -> S3Result<()> {
    let Some(arn) = encryption.and_then(|one| one.key.as_deref()) else {
        return Ok(());
    };
    let refuse = |code: &str, message: String| Err(custom(StatusCode::BAD_REQUEST, code, message));
    let region = arn.split(':').nth(3).unwrap_or_default();
    let here = authorized.bucket.as_ref().map(|bucket| &bucket.region);
    if here.is_some_and(|here| here != region) {
        return refuse("KMS.NotFoundException", format!("Invalid arn {region}"));
    }
    let state = app.state.current();
    let Some(key) = state.keys.iter().find(|key| key.arn == arn) else {
        return refuse(
            "KMS.NotFoundException",
            format!("Key '{arn}' does not exist"),
        );
    };
    let mut context = authorized.context.clone();
    context.set(
        "kms:ViaService",
        Some(&format!("s3.{region}.amazonaws.com")),
    );
    let resource = Resource {
        arn,
        account: account_of(arn),
        policy: key.policy.as_ref(),
    };
    if let Err(refusal) = decide(&state, &authorized.caller, &context, action, &resource) {
        let why = match refusal {
            Refusal::Because(why) => why,
            Refusal::OtherAccount => "because the resource does not exist in this Region, no \
                                      resource-based policies allow access, or a resource-based \
                                      policy explicitly denies access"
                .to_owned(),
        };
        let user = authorized.caller.arn();
        let question = format!("User: {user} is not authorized to perform: {action}");
        return Err(S3Error::with_message(
            S3ErrorCode::AccessDenied,
            format!("{question} on resource: {arn} {why}"),
        ));
    }
    if key.disabled {
        return refuse("KMS.DisabledException", format!("{arn} is disabled."));
    }
    Ok(())
}
