//! The fields that say where events go, as `config` and `test-connection` take them.

use common::{
    db::export_configs::StartFrom,
    destination::{
        AccountId, Bucket, Compression, Destination, KmsKeyArn, Prefix, Region, RoleArn,
        same_partition, same_region,
    },
};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::error::ApiError;

/// Where an organisation's events are to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConfigRequest {
    /// The bucket's name.
    #[schema(required, nullable = false, example = "acme-audit-logs")]
    bucket: Option<String>,
    /// The bucket's region.
    #[schema(required, nullable = false, example = "eu-central-1")]
    region: Option<String>,
    /// The role to assume. Required for a new configuration; in an update it may be left out, or
    /// sent as `roleArnMasked` shows it, and stays as it is then.
    #[schema(example = "arn:aws:iam::123456789012:role/audit-export")]
    role_arn: Option<String>,
    /// What all keys begin with. Left out: unchanged, or none where the configuration is new. Null
    /// or empty: none.
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(nullable, example = "security/audit")]
    prefix: Option<String>,
    /// The number of the account that owns the bucket, where that is not the role's account. A bucket
    /// of any other account gets nothing. Left out: unchanged. Null or empty: the role's account.
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(nullable, example = "210987654321")]
    bucket_owner: Option<String>,
    /// The KMS key that objects are to be encrypted with, by the ARN of the key itself. It must be of
    /// the bucket's region. Left out: unchanged. Null or empty: none, so that the bucket's own setting
    /// decides.
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(
        nullable,
        example = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    )]
    kms_key_arn: Option<String>,
    /// How objects are compressed: `gzip` or `zstd`. Left out: unchanged, or gzip where the
    /// configuration is new.
    #[schema(example = "zstd")]
    compression: Option<String>,
    /// Whether to export. Left out: unchanged, or true where the configuration is new.
    pub(super) enabled: Option<bool>,
    /// Where delivery begins; only with the organisation's first configuration, default `beginning`.
    #[schema(value_type = Option<String>, pattern = "^(beginning|now)$")]
    pub(super) start_from: Option<StartFrom>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

impl ConfigRequest {
    /// The destination that is asked for: the fields as they were sent, those that are left out as
    /// they are stored.
    pub(crate) fn destination(
        &self,
        stored: Option<&Destination>,
    ) -> Result<Destination, ApiError> {
        let wanted = Destination {
            bucket: parse("bucket", self.bucket.as_deref(), Bucket::parse)?,
            region: parse("region", self.region.as_deref(), Region::parse)?,
            role_arn: match (self.role_arn.as_deref(), stored) {
                (None, Some(stored)) => stored.role_arn.clone(),
                (Some(sent), Some(stored)) if sent == stored.role_arn.masked() => {
                    stored.role_arn.clone()
                }
                (sent, _) => parse("roleArn", sent, parse_role)?,
            },
            prefix: prefix(self.prefix.as_deref(), stored)?,
            bucket_owner: bucket_owner(self.bucket_owner.as_deref(), stored)?,
            kms_key_arn: kms_key_arn(self.kms_key_arn.as_deref(), stored)?,
            compression: match self.compression.as_deref() {
                None => stored.map(|d| d.compression).unwrap_or_default(),
                sent => parse("compression", sent, Compression::parse)?,
            },
        };
        same_partition(&wanted.region, &wanted.role_arn)
            .map_err(|error| ApiError::field("region", error.to_string()))?;
        key_in_region(&wanted.region, wanted.kms_key_arn.as_ref())?;
        Ok(wanted)
    }
}

/// A mask that is not this organisation's deserves a better hint than a rule about digits.
fn parse_role(text: &str) -> Result<RoleArn, String> {
    if text.contains(['*', '…']) {
        return Err(
            "roleArn is masked, but not the mask of the configured role; send the whole ARN"
                .to_owned(),
        );
    }
    RoleArn::parse(text).map_err(|error| error.to_string())
}

// What may be left out is as it is stored then, and an empty text takes it away.

pub(super) fn prefix(sent: Option<&str>, stored: Option<&Destination>) -> Result<Prefix, ApiError> {
    match sent {
        None => Ok(stored.map(|d| d.prefix.clone()).unwrap_or_default()),
        sent => parse("prefix", sent, Prefix::parse),
    }
}

pub(super) fn bucket_owner(
    sent: Option<&str>,
    stored: Option<&Destination>,
) -> Result<Option<AccountId>, ApiError> {
    match sent {
        None => Ok(stored.and_then(|d| d.bucket_owner.clone())),
        Some("") => Ok(None),
        sent => parse("bucketOwner", sent, AccountId::parse).map(Some),
    }
}

pub(super) fn kms_key_arn(
    sent: Option<&str>,
    stored: Option<&Destination>,
) -> Result<Option<KmsKeyArn>, ApiError> {
    match sent {
        None => Ok(stored.and_then(|d| d.kms_key_arn.clone())),
        Some("") => Ok(None),
        sent => parse("kmsKeyArn", sent, KmsKeyArn::parse).map(Some),
    }
}

/// Checks that S3 can use the key, where there is one, for a bucket of this region.
pub(super) fn key_in_region(region: &Region, key: Option<&KmsKeyArn>) -> Result<(), ApiError> {
    let Some(key) = key else { return Ok(()) };
    same_region(region, key).map_err(|error| ApiError::field("kmsKeyArn", error.to_string()))
}

pub(super) fn parse<T, E: ToString>(
    field: &str,
    sent: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ApiError> {
    let text = sent.ok_or_else(|| ApiError::field(field, format!("{field} is missing")))?;
    parse(text).map_err(|error| ApiError::field(field, error.to_string()))
}

#[cfg(test)]
mod tests;
