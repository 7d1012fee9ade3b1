//! Where a customer wants the events delivered, each part of it valid by construction.
//!
//! Everything here is pure. A value is checked once, where it enters the system, and carries its
//! own type from there on. No error repeats what was sent: a role ARN pasted into the wrong field
//! must not come back in a message or end up in a log.

mod account;
mod bucket;
mod compression;
mod kinds;
mod kms_key_arn;
mod prefix;
mod region;
mod role_arn;
mod role_name;

pub use account::AccountId;
pub use bucket::Bucket;
pub use compression::Compression;
pub use kms_key_arn::KmsKeyArn;
pub use prefix::Prefix;
pub use region::Region;
pub use role_arn::RoleArn;
pub use role_name::RoleName;

use std::fmt;

/// Why a value was refused: one sentence that tells what to change, safe to show and to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The part of AWS that an account and its regions belong to. Credentials of one partition mean
/// nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// AWS GovCloud (US).
    AwsUsGov,
    /// AWS China.
    AwsCn,
}

impl Partition {
    /// The name as it stands in ARNs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
        }
    }

    /// The partition of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "aws" => Some(Self::Aws),
            "aws-us-gov" => Some(Self::AwsUsGov),
            "aws-cn" => Some(Self::AwsCn),
            _ => None,
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where events go, and as whom: any change of it makes a new version of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The customer's bucket.
    pub bucket: Bucket,
    /// The bucket's region.
    pub region: Region,
    /// The role of the customer's that may write to it.
    pub role_arn: RoleArn,
    /// What all keys begin with; may be empty.
    pub prefix: Prefix,
    /// The account that owns the bucket, where that is not the role's.
    pub bucket_owner: Option<AccountId>,
    /// The key that objects are encrypted with, where the bucket's own setting is not to decide.
    pub kms_key_arn: Option<KmsKeyArn>,
    /// How objects are compressed.
    pub compression: Compression,
}

impl Destination {
    /// The account that must own the bucket: nobody else's gets anything.
    #[must_use]
    pub fn owner(&self) -> &AccountId {
        self.bucket_owner
            .as_ref()
            .unwrap_or_else(|| self.role_arn.account())
    }
}

/// Checks that a role can be used in a region at all: both must be of one partition.
///
/// # Errors
/// A sentence that names both partitions.
pub fn same_partition(region: &Region, role: &RoleArn) -> Result<(), Invalid> {
    if region.partition() == role.partition() {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "region {region} is in the partition {}, but roleArn is in the partition {}; use a role \
         and a bucket of one partition",
        region.partition(),
        role.partition(),
    )))
}

/// Checks that S3 can use a key for a bucket: both must be of one region.
///
/// # Errors
/// A sentence that names both regions.
pub fn same_region(region: &Region, key: &KmsKeyArn) -> Result<(), Invalid> {
    if region == key.region() {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "kmsKeyArn is of a key in the region {}, but the bucket is in {region}; S3 uses keys of the \
         bucket's own region only",
        key.region(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_roles_account_unless_another_is_named() {
        let mut destination = Destination {
            bucket: Bucket::parse("acme").unwrap(),
            region: Region::parse("eu-central-1").unwrap(),
            role_arn: RoleArn::parse("arn:aws:iam::123456789012:role/export").unwrap(),
            prefix: Prefix::default(),
            bucket_owner: None,
            kms_key_arn: None,
            compression: Compression::Gzip,
        };
        assert_eq!(destination.owner().as_str(), "123456789012");
        destination.bucket_owner = Some(AccountId::parse("999999999999").unwrap());
        assert_eq!(destination.owner().as_str(), "999999999999");
    }

    #[test]
    fn bucket_and_key_must_be_of_one_region() {
        let region = |name: &str| Region::parse(name).unwrap();
        let arn = format!(
            "arn:aws:kms:eu-west-1:123456789012:key/mrk-{}",
            "0".repeat(32)
        );
        let key = KmsKeyArn::parse(&arn).unwrap();
        assert!(same_region(&region("eu-west-1"), &key).is_ok());
        let error = same_region(&region("eu-west-2"), &key).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("eu-west-1") && error.contains("eu-west-2"),
            "{error}"
        );
        assert!(!error.contains("123456789012"), "{error}");
    }

    #[test]
    fn region_and_role_must_be_of_one_partition() {
        let role = |arn: &str| RoleArn::parse(arn).unwrap();
        let region = |name: &str| Region::parse(name).unwrap();
        let china = role("arn:aws-cn:iam::123456789012:role/export");
        let gov = role("arn:aws-us-gov:iam::123456789012:role/export");
        let commercial = role("arn:aws:iam::123456789012:role/export");

        assert!(same_partition(&region("cn-north-1"), &china).is_ok());
        assert!(same_partition(&region("us-gov-west-1"), &gov).is_ok());
        assert!(same_partition(&region("eu-central-1"), &commercial).is_ok());
        for (name, role) in [
            ("us-east-1", &china),
            ("us-east-1", &gov),
            ("cn-northwest-1", &commercial),
        ] {
            let error = same_partition(&region(name), role).unwrap_err().to_string();
            assert!(error.contains("partition"), "{error}");
            assert!(!error.contains("123456789012"), "{error}");
        }
    }
}
