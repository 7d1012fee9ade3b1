//! S3, STS and IAM by ministack, a server that nobody here wrote: what ours and the exporter agree
//! upon by mistake shows there. Accounts, roles and keys in it are made by IAM's own requests.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::Credentials,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Bucket, Org,
    env::tool,
    process::{Process, free_port},
    wait::within,
    world::{REGION, sdk_config_of},
};

/// The account of the exporter.
const SERVICE_ACCOUNT: &str = "111111111111";
/// The customers' account.
const CUSTOMER_ACCOUNT: &str = "222222222222";
/// The secret of every account's root, whose access key id is the account's number.
const ROOT_SECRET: &str = "test";
/// The exporter's user.
const SERVICE_USER: &str = "audit-export";

/// A running server, with the exporter's account in it.
#[derive(Debug)]
pub struct Ministack {
    endpoint: String,
    http: reqwest::Client,
    access_key_id: String,
    secret_access_key: String,
    customers: AtomicU32,
    _process: Process,
    _dir: TempDir,
}

impl Ministack {
    /// Starts one, and makes a user for the exporter.
    pub async fn start() -> Self {
        let program = tool("ministack");
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let home = dir.path().to_str().unwrap();
        let environment = [
            ("HOME", home),
            ("TMPDIR", home),
            ("AUTH", "true"),
            ("BIND_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", &port.to_string()),
            ("SFTP_PORT", "0"),
        ];
        let process = Process::start_path(&program, &environment, dir.path());
        let mut peer = Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            access_key_id: String::new(),
            secret_access_key: String::new(),
            customers: AtomicU32::new(0),
            _process: process,
            _dir: dir,
        };
        peer.wait_until_ready().await;
        peer.create_service_user().await;
        peer
    }

    async fn wait_until_ready(&self) {
        let look = || async {
            let answer = self
                .http
                .get(format!("{}/_ministack/ready", self.endpoint))
                .send()
                .await;
            answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(())
        };
        let ready = within(Duration::from_secs(30), look).await;
        ready.expect("ministack is ready in time");
    }

    async fn create_service_user(&mut self) {
        let user = ("UserName", SERVICE_USER);
        self.iam(SERVICE_ACCOUNT, "CreateUser", &[user]).await;
        let may_assume = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"},
        ]});
        let policy = [
            user,
            ("PolicyName", "assume-roles-of-customers"),
            ("PolicyDocument", &may_assume.to_string()),
        ];
        self.iam(SERVICE_ACCOUNT, "PutUserPolicy", &policy).await;
        let key = self.iam(SERVICE_ACCOUNT, "CreateAccessKey", &[user]).await;
        self.access_key_id = element(&key, "AccessKeyId");
        self.secret_access_key = element(&key, "SecretAccessKey");
    }

    /// The exporter's identity.
    pub fn service(&self) -> SdkConfig {
        sdk_config_of(&self.endpoint, &self.access_key_id, &self.secret_access_key)
    }

    /// Its name, for trust policies.
    pub fn service_arn(&self) -> String {
        format!("arn:aws:iam::{SERVICE_ACCOUNT}:user/{SERVICE_USER}")
    }

    /// Makes the exporter's access key `Active` or `Inactive`.
    pub async fn set_service_key(&self, status: &str) {
        let parameters = [
            ("UserName", SERVICE_USER),
            ("AccessKeyId", &self.access_key_id),
            ("Status", status),
        ];
        self.iam(SERVICE_ACCOUNT, "UpdateAccessKey", &parameters)
            .await;
    }

    /// A bucket for an organisation and a role that may write to it, as the setup recommends them.
    pub async fn customer(&self, org: &Org<'_>) -> ForeignCustomer<'_> {
        let customer = self.customer_without_role(org).await;
        let role = [
            ("RoleName", customer.role_name.as_str()),
            ("Path", "/customers/"),
            (
                "AssumeRolePolicyDocument",
                &customer.good_trust().to_string(),
            ),
        ];
        let created = self.iam(CUSTOMER_ACCOUNT, "CreateRole", &role).await;
        assert_eq!(element(&created, "Arn"), customer.role_arn);
        customer.mend_role().await;
        customer
    }

    /// A bucket for an organisation that has still to make the role.
    pub async fn customer_without_role(&self, org: &Org<'_>) -> ForeignCustomer<'_> {
        let number = self.customers.fetch_add(1, Ordering::Relaxed) + 1;
        let root = sdk_config_of(&self.endpoint, CUSTOMER_ACCOUNT, ROOT_SECRET);
        let s3 = aws_sdk_s3::config::Builder::from(&root)
            .force_path_style(true)
            .build();
        let role_name = format!("audit-export-{number}");
        let customer = ForeignCustomer {
            peer: self,
            s3: Client::from_conf(s3),
            bucket_name: format!("foreign-{number}-audit-log"),
            role_arn: format!("arn:aws:iam::{CUSTOMER_ACCOUNT}:role/customers/{role_name}"),
            role_name,
            external_id: org.external_id().to_owned(),
        };
        let here = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(REGION))
            .build();
        let create = customer.s3.create_bucket().bucket(&customer.bucket_name);
        create
            .create_bucket_configuration(here)
            .send()
            .await
            .unwrap();
        customer
    }

    /// A request to IAM, as an account's root: see
    /// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html>.
    async fn iam(&self, account: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", action), ("Version", "2010-05-08")])
            .extend_pairs(parameters)
            .finish();
        let url = format!("{}/", self.endpoint);
        let identity = Credentials::new(account, ROOT_SECRET, None, None, "tests").into();
        let signing = v4::SigningParams::builder()
            .identity(&identity)
            // IAM is one for all regions, and signed for the first of them.
            .region("us-east-1")
            .name("iam")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let signable = SignableRequest::new(
            "POST",
            &url,
            std::iter::empty(),
            SignableBody::Bytes(body.as_bytes()),
        );
        let (signature, _) = sign(signable.unwrap(), &signing.into())
            .unwrap()
            .into_parts();
        let mut request = self
            .http
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in signature.headers() {
            request = request.header(name, value);
        }
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {status}: {text}");
        text
    }
}

/// The text of the first such element.
fn element(xml: &str, name: &str) -> String {
    let text = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    text().unwrap_or_else(|| panic!("no {name} in {xml}"))
}

/// A customer's side of an export: a bucket, and a role in its account.
#[derive(Debug)]
pub struct ForeignCustomer<'p> {
    peer: &'p Ministack,
    s3: Client,
    /// The bucket's name.
    pub bucket_name: String,
    /// The role.
    pub role_arn: String,
    /// The role's name.
    pub role_name: String,
    external_id: String,
}

impl ForeignCustomer<'_> {
    /// Where events are to go, as the API takes it, under a prefix.
    pub fn settings(&self) -> Value {
        json!({
            "bucket": self.bucket_name,
            "region": REGION,
            "roleArn": self.role_arn,
            "prefix": "security/audit",
        })
    }

    /// The same with one setting replaced.
    pub fn settings_with(&self, name: &str, value: &str) -> Value {
        let mut settings = self.settings();
        settings[name] = value.into();
        settings
    }

    /// What the AWS CLI takes from its environment to act for the account.
    pub fn environment(&self) -> [(&str, &str); 3] {
        [
            ("AWS_ENDPOINT_URL", &self.peer.endpoint),
            ("AWS_ACCESS_KEY_ID", CUSTOMER_ACCOUNT),
            ("AWS_SECRET_ACCESS_KEY", ROOT_SECRET),
        ]
    }

    /// The trust policy that the setup recommends.
    pub fn good_trust(&self) -> Value {
        self.trust(&self.peer.service_arn(), &self.external_id)
    }

    /// The same for somebody else, or with another external id.
    pub fn trust(&self, principal: &str, external_id: &str) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }]})
    }

    /// Replaces the role's trust policy.
    pub async fn set_trust(&self, policy: &Value) {
        let parameters = [
            ("RoleName", self.role_name.as_str()),
            ("PolicyDocument", &policy.to_string()),
        ];
        self.peer
            .iam(CUSTOMER_ACCOUNT, "UpdateAssumeRolePolicy", &parameters)
            .await;
    }

    /// Allows the role these actions under the prefix, and nothing else.
    pub async fn allow(&self, actions: &[&str]) {
        self.allow_on(&format!("{}/security/audit/*", self.bucket_name), actions)
            .await;
    }

    /// Allows the role these actions on these buckets or objects, and nothing else.
    pub async fn allow_on(&self, resource: &str, actions: &[&str]) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Action": actions,
            "Resource": format!("arn:aws:s3:::{resource}"),
        }]});
        let parameters = [
            ("RoleName", self.role_name.as_str()),
            ("PolicyName", "write-audit-log"),
            ("PolicyDocument", &policy.to_string()),
        ];
        self.peer
            .iam(CUSTOMER_ACCOUNT, "PutRolePolicy", &parameters)
            .await;
    }

    /// Allows the role what an export and its test need.
    pub async fn mend_role(&self) {
        self.allow(&["s3:PutObject", "s3:DeleteObject"]).await;
    }

    /// Has the bucket refuse what is not to be encrypted with a KMS key. (It cannot tell which.)
    pub async fn demand_kms(&self) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": format!("arn:aws:s3:::{}/*", self.bucket_name),
            "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}},
        }]});
        let put = self.s3.put_bucket_policy().bucket(&self.bucket_name);
        put.policy(policy.to_string()).send().await.unwrap();
    }

    /// The key that an object says it is encrypted with.
    pub async fn key_of(&self, object: &str) -> Option<String> {
        let head = self.s3.head_object().bucket(&self.bucket_name).key(object);
        head.send().await.unwrap().ssekms_key_id
    }

    /// What lies in the bucket, fetched through S3 by the account's root.
    pub async fn fetch(&self) -> Fetched {
        let dir = TempDir::new().unwrap();
        let list = self.s3.list_objects_v2().bucket(&self.bucket_name);
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.unwrap().contents() {
                let key = object.key().unwrap();
                let get = self.s3.get_object().bucket(&self.bucket_name).key(key);
                let bytes = get.send().await.unwrap().body.collect().await.unwrap();
                let path = dir.path().join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes.into_bytes()).unwrap();
            }
        }
        Fetched {
            bucket: Bucket::at(dir.path().to_owned()),
            _dir: dir,
        }
    }
}

/// A bucket as it was at one moment.
#[derive(Debug)]
pub struct Fetched {
    /// Its objects.
    pub bucket: Bucket,
    _dir: TempDir,
}
