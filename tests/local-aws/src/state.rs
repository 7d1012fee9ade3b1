//! What exists in the pretended AWS: users, buckets, roles, keys. Read from JSON, checked before use.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::policy::Document;

/// Everything the server knows about the outside world. The objects themselves lie on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The region of the STS endpoint. Requests signed for a bucket's region are taken as well.
    pub region: String,
    /// IAM users, which sign with long-lived keys.
    #[serde(default)]
    pub users: Vec<User>,
    /// Buckets that exist; any other name is `NoSuchBucket`.
    #[serde(default)]
    pub buckets: Vec<Bucket>,
    /// IAM roles that may be assumed.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// KMS keys that exist.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// Overrides the life of new sessions, in seconds, for tests of expiry.
    #[serde(default)]
    pub session_seconds: Option<u32>,
}

/// An IAM user with one access key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// `arn:aws:iam::111111111111:user/name`; the account is taken from it.
    pub arn: String,
    /// The key's public half.
    pub access_key_id: String,
    /// The key's secret half.
    pub secret_access_key: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("arn", &self.arn)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A bucket; its directory is made when it is first needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bucket {
    /// The name, by the rules of S3.
    pub name: String,
    /// Requests must be signed for this region.
    pub region: String,
    /// The 12 digits of the owning account.
    pub account: String,
    /// The bucket policy. Other accounts need it; the owner's roles do with their own policies, and
    /// are held back by what it denies.
    #[serde(default)]
    pub policy: Option<Document>,
    /// The KMS key of objects for which a request names none.
    #[serde(default)]
    pub kms_key_arn: Option<String>,
}

impl Bucket {
    /// A bucket without a policy, and without a key.
    pub fn new(name: &str, region: &str, account: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            policy: None,
            kms_key_arn: None,
        }
    }
}

/// A KMS key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// `arn:aws:kms:eu-central-1:222222222222:key/…`.
    pub arn: String,
    /// Whether it cannot be used for the time being.
    #[serde(default)]
    pub disabled: bool,
    /// The key's policy. Other accounts need it; in the key's own account, those of roles decide, as
    /// they do with the policy that AWS gives a new key.
    #[serde(default)]
    pub policy: Option<Document>,
}

/// An IAM role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::222222222222:role/path/name`.
    pub arn: String,
    /// Who may assume the role.
    pub trust_policy: Document,
    /// What sessions of the role may do.
    pub policy: Document,
    /// The longest session that may be asked for, in seconds. AWS's default is an hour.
    #[serde(default = "one_hour")]
    pub max_session_seconds: u32,
}

fn one_hour() -> u32 {
    3600
}

/// A state that makes no sense, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("bad state: {0}")]
pub struct BadState(pub String);

impl State {
    /// The bucket of this name, if it exists.
    pub fn bucket(&self, name: &str) -> Option<&Bucket> {
        self.buckets.iter().find(|bucket| bucket.name == name)
    }

    /// The role with this ARN, if it exists.
    pub fn role(&self, arn: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.arn == arn)
    }

    /// The user with this access key, if there is one.
    pub fn user_by_key(&self, access_key_id: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.access_key_id == access_key_id)
    }

    /// Refuses what AWS could never have stored, so that a slip in a test's set-up is not taken
    /// for a fault of the program under test.
    pub fn check(&self) -> Result<(), BadState> {
        let fail = |reason: String| Err(BadState(reason));
        if self.region.is_empty() {
            return fail("region is empty".into());
        }
        let mut keys = HashSet::new();
        for user in &self.users {
            if !is_iam_arn(&user.arn, "user") {
                return fail(format!("{} is not the ARN of a user", user.arn));
            }
            if user.access_key_id.is_empty() || user.secret_access_key.is_empty() {
                return fail(format!("{} has an empty key", user.arn));
            }
            if !keys.insert(&user.access_key_id) {
                return fail(format!("access key {} is there twice", user.access_key_id));
            }
        }
        let mut names = HashSet::new();
        for bucket in &self.buckets {
            if !s3s::path::check_bucket_name(&bucket.name) {
                return fail(format!("{:?} is not a bucket name", bucket.name));
            }
            if !is_account(&bucket.account) || bucket.region.is_empty() {
                return fail(format!(
                    "bucket {} needs a region and a 12-digit account",
                    bucket.name
                ));
            }
            if !names.insert(&bucket.name) {
                return fail(format!("bucket {} is there twice", bucket.name));
            }
            let policy = bucket
                .policy
                .as_ref()
                .map_or(Ok(()), Document::check_resource);
            policy.map_err(|reason| BadState(format!("policy of {}: {reason}", bucket.name)))?;
            if bucket
                .kms_key_arn
                .as_ref()
                .is_some_and(|arn| !is_key_arn(arn))
            {
                return fail(format!("bucket {} needs the ARN of a key", bucket.name));
            }
        }
        for key in &self.keys {
            if !is_key_arn(&key.arn) {
                return fail(format!("{} is not the ARN of a key", key.arn));
            }
            let policy = key.policy.as_ref().map_or(Ok(()), Document::check_resource);
            policy.map_err(|reason| BadState(format!("policy of {}: {reason}", key.arn)))?;
        }
        let mut arns = HashSet::new();
        for role in &self.roles {
            if !is_iam_arn(&role.arn, "role") {
                return fail(format!("{} is not the ARN of a role", role.arn));
            }
            if !arns.insert(&role.arn) {
                return fail(format!("role {} is there twice", role.arn));
            }
            role.trust_policy
                .check_trust()
                .map_err(|reason| BadState(format!("trust policy of {}: {reason}", role.arn)))?;
            role.policy
                .check_permissions()
                .map_err(|reason| BadState(format!("policy of {}: {reason}", role.arn)))?;
        }
        Ok(())
    }
}

impl Role {
    /// The role's name without its path: what stands in an assumed-role ARN.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }
}

/// The account of an ARN: its fifth field; empty if there is none.
pub fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The partition of an ARN (`aws`, `aws-cn`, …): its second field.
pub(crate) fn partition_of(arn: &str) -> &str {
    arn.split(':').nth(1).unwrap_or("aws")
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this is `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
fn is_key_arn(arn: &str) -> bool {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "kms", region, account, resource] = fields[..] else {
        return false;
    };
    partition.starts_with("aws")
        && !region.is_empty()
        && is_account(account)
        && resource
            .strip_prefix("key/")
            .is_some_and(|id| !id.is_empty())
}

/// Whether this is `arn:PARTITION:iam::ACCOUNT:KIND/NAME`.
pub(crate) fn is_iam_arn(arn: &str, kind: &str) -> bool {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = fields[..] else {
        return false;
    };
    let name = resource
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix('/'));
    partition.starts_with("aws")
        && is_account(account)
        && name.is_some_and(|name| !name.is_empty() && !name.ends_with('/'))
}
