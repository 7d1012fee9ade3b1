//! The customer's side of an export, with one organisation's values filled in. Pure.

mod policies;
mod principal;
mod texts;

use common::destination::{AccountId, Bucket, KmsKeyArn, Prefix, Region, RoleName};

pub use policies::Policy;
pub use principal::PrincipalArn;

/// What the role is called where nobody says otherwise.
pub const DEFAULT_ROLE_NAME: &str = "audit-export";

/// What the customer's side depends on.
#[derive(Debug)]
pub struct Setup {
    /// The exporter's identity.
    pub principal: PrincipalArn,
    /// The organisation's.
    pub external_id: String,
    /// What the role is to be called.
    pub role_name: RoleName,
    /// The bucket to write to.
    pub bucket: Bucket,
    /// Its region.
    pub region: Region,
    /// What all keys begin with.
    pub prefix: Prefix,
    /// The account that owns the bucket, where that is not the role's.
    pub bucket_owner: Option<AccountId>,
    /// The key to encrypt with.
    pub kms_key_arn: Option<KmsKeyArn>,
}

/// The same in the forms in which it can be applied.
#[derive(Debug)]
pub struct Forms {
    /// The role's trust policy.
    pub trust_policy: Policy,
    /// Its permissions.
    pub permissions_policy: Policy,
    /// A script for bash.
    pub aws_cli: String,
    /// A template in YAML.
    pub cloud_formation: String,
    /// A configuration in HCL.
    pub terraform: String,
}

impl Setup {
    /// Fills in the forms.
    #[must_use]
    pub fn forms(&self) -> Forms {
        let trust_policy = policies::trust(self);
        let permissions_policy = policies::permissions(self);
        let values = texts::Values {
            region: self.region.as_str(),
            role_name: self.role_name.as_str(),
            principal: self.principal.as_str(),
            external_id: &self.external_id,
            trust_policy: &trust_policy.text(),
            permissions_policy: &permissions_policy.text(),
        };
        Forms {
            aws_cli: values.aws_cli(),
            cloud_formation: values.cloud_formation(),
            terraform: values.terraform(),
            trust_policy,
            permissions_policy,
        }
    }

    /// What the role alone does not do, a sentence each.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let Self {
            bucket, role_name, ..
        } = self;
        let mut advice = vec![format!(
            "Give the bucket {bucket} a lifecycle rule that aborts incomplete multipart uploads after a \
             day, beside the rules that it has: it removes what a broken connection may leave behind."
        )];
        if let Some(owner) = &self.bucket_owner {
            advice.push(format!(
                "If the role is not in the account {owner}, to which the bucket {bucket} is to belong, \
                 the bucket's policy has to allow the role {role_name} what permissionsPolicy allows on \
                 the bucket."
            ));
        }
        advice.push(match &self.kms_key_arn {
            Some(key) => format!(
                "The policy of the key {key} has to allow its use by IAM policies of the role's \
                 account, as it does by default within the key's own account."
            ),
            None => format!(
                "If the bucket {bucket} encrypts with a KMS key of yours, ask again with kmsKeyArn: the \
                 role needs permissions on that key."
            ),
        });
        advice
    }
}
