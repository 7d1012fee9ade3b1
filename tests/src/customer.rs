//! A customer's side of an export: an AWS account with a bucket and a role.

use std::sync::Arc;

use local_aws::{LocalAws, Role, State};
use serde_json::{Value, json};

use crate::{
    bucket::Bucket,
    world::{PRINCIPAL_ARN, REGION},
};

/// A bucket, and a role by which the exporter may write to it.
#[derive(Debug, Clone)]
pub struct Customer {
    aws: Arc<LocalAws>,
    /// The account's number.
    pub account: String,
    /// The bucket's name.
    pub bucket_name: String,
    /// The role.
    pub role_arn: String,
    /// What the role's trust policy asks for.
    pub external_id: String,
    bucket: Bucket,
}

impl Customer {
    /// Makes the account: role and bucket as the setup recommends them.
    pub(crate) fn new(
        aws: &Arc<LocalAws>,
        number: u32,
        external_id: &str,
        dir: &std::path::Path,
    ) -> Self {
        let account = format!("{:012}", 222_222_000_000_u64 + u64::from(number));
        let bucket_name = format!("customer-{number}-audit-log");
        let customer = Self {
            aws: aws.clone(),
            role_arn: format!("arn:aws:iam::{account}:role/customers/audit-export-{number}"),
            external_id: external_id.to_owned(),
            bucket: Bucket::at(dir.join(&bucket_name)),
            account,
            bucket_name,
        };
        customer.add_bucket(&customer.bucket_name, REGION);
        customer.put_role(&customer.role_arn);
        customer
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.aws.update(change).expect("a state that makes sense");
    }

    /// Where events are to go, as the API takes it.
    pub fn settings(&self) -> Value {
        json!({"bucket": self.bucket_name, "region": REGION, "roleArn": self.role_arn})
    }

    /// The same with some settings replaced or added.
    pub fn settings_with(&self, changes: Value) -> Value {
        let mut settings = self.settings();
        for (name, value) in changes.as_object().unwrap() {
            settings[name] = value.clone();
        }
        settings
    }

    /// What lies in the bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Another bucket of the account.
    pub fn add_bucket(&self, name: &str, region: &str) -> Bucket {
        self.add_bucket_of(&self.account, name, region)
    }

    /// A bucket of any account.
    pub fn add_bucket_of(&self, account: &str, name: &str, region: &str) -> Bucket {
        let bucket = local_aws::Bucket::new(name, region, account);
        self.change(|state| state.buckets.push(bucket));
        let dir = self.bucket.path().parent().unwrap();
        Bucket::at(dir.join(name))
    }

    /// Hands a bucket of this name to another account, as if it had been deleted and made again there.
    /// What lies in it stays.
    pub fn move_bucket(&self, name: &str, account: &str) {
        self.change_bucket(name, |bucket| bucket.account = account.into());
    }

    /// Replaces the policy of a bucket, whosever it is.
    pub fn set_bucket_policy(&self, name: &str, statements: Value) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        let policy = serde_json::from_value(policy).unwrap();
        self.change_bucket(name, |bucket| bucket.policy = Some(policy));
    }

    /// Lets these principals do everything in a bucket, as far as the bucket is concerned.
    pub fn open_bucket(&self, name: &str, principal: &str) {
        let objects = format!("arn:aws:s3:::{name}");
        self.set_bucket_policy(
            name,
            json!([{
                "Effect": "Allow",
                "Principal": {"AWS": principal},
                "Action": "s3:*",
                "Resource": [objects, format!("{objects}/*")],
            }]),
        );
    }

    /// The key of objects for which a request names none.
    pub fn set_default_key(&self, arn: &str) {
        let change = |bucket: &mut local_aws::Bucket| bucket.kms_key_arn = Some(arn.into());
        self.change_bucket(&self.bucket_name, change);
    }

    fn change_bucket(&self, name: &str, change: impl FnOnce(&mut local_aws::Bucket)) {
        self.change(|state| {
            let mut buckets = state.buckets.iter_mut();
            change(buckets.find(|bucket| bucket.name == name).unwrap());
        });
    }

    /// Makes a KMS key of the account; returns its ARN.
    pub fn add_key(&self) -> String {
        let id = uuid::Uuid::new_v4();
        let arn = format!("arn:aws:kms:{REGION}:{}:key/{id}", self.account);
        let key = local_aws::Key {
            arn: arn.clone(),
            disabled: false,
            policy: None,
        };
        self.change(|state| state.keys.push(key));
        arn
    }

    /// Disables a key, or enables it.
    pub fn set_key_disabled(&self, arn: &str, disabled: bool) {
        self.change(|state| {
            let mut keys = state.keys.iter_mut();
            keys.find(|key| key.arn == arn).unwrap().disabled = disabled;
        });
    }

    /// Lets the role do what the setup recommends, and these things with a key.
    pub fn allow_key(&self, arn: &str, actions: &[&str]) {
        let mut policy = self.good_policy();
        policy["Statement"].as_array_mut().unwrap().push(json!({
            "Effect": "Allow",
            "Action": actions,
            "Resource": arn,
        }));
        self.set_policy(policy);
    }

    /// The trust policy that the setup recommends.
    pub fn good_trust(&self) -> Value {
        self.trust(
            PRINCIPAL_ARN,
            &json!({"StringEquals": {"sts:ExternalId": self.external_id}}),
        )
    }

    /// A trust policy.
    pub fn trust(&self, principal: &str, condition: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }]})
    }

    /// The permissions that the setup recommends, for all buckets of the account.
    pub fn good_policy(&self) -> Value {
        let mut policy =
            self.policy(&["s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"]);
        let of_buckets = json!({
            "Effect": "Allow",
            "Action": "s3:ListBucketMultipartUploads",
            "Resource": "arn:aws:s3:::*",
        });
        policy["Statement"].as_array_mut().unwrap().push(of_buckets);
        policy
    }

    /// Permission for these actions on all objects.
    pub fn policy(&self, actions: &[&str]) -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::*/*"},
        ]})
    }

    fn put_role(&self, arn: &str) {
        let role = json!({
            "arn": arn,
            "trustPolicy": self.good_trust(),
            "policy": self.good_policy(),
        });
        let role: Role = serde_json::from_value(role).unwrap();
        self.change(|state| state.roles.push(role));
    }

    /// Another role of the account, as good as the first was; returns its ARN.
    pub fn add_role(&self, name: &str) -> String {
        let arn = format!("arn:aws:iam::{}:role/{name}", self.account);
        self.put_role(&arn);
        arn
    }

    /// Replaces the role's trust policy.
    pub fn set_trust(&self, policy: Value) {
        let policy = serde_json::from_value(policy).unwrap();
        self.change_role(|role| role.trust_policy = policy);
    }

    /// Replaces the role's permissions.
    pub fn set_policy(&self, policy: Value) {
        let policy = serde_json::from_value(policy).unwrap();
        self.change_role(|role| role.policy = policy);
    }

    fn change_role(&self, change: impl FnOnce(&mut Role)) {
        self.change(|state| {
            let mut roles = state.roles.iter_mut();
            change(roles.find(|role| role.arn == self.role_arn).unwrap());
        });
    }

    /// Takes all permissions from the role.
    pub fn break_role(&self) {
        self.set_policy(self.policy(&["s3:GetObject"]));
    }

    /// Gives them back.
    pub fn mend_role(&self) {
        self.set_policy(self.good_policy());
    }

    /// Checks that nothing in the bucket was written twice, and nothing but tests' objects removed.
    #[track_caller]
    pub fn nothing_was_rewritten(&self) {
        for write in self.aws.write_log() {
            assert!(!write.replaced || write.op == "DeleteObject", "{write:?}");
            let removed = write.op == "DeleteObject";
            assert!(
                !removed || write.key.contains("audit-export-test/"),
                "{write:?}"
            );
        }
    }
}
