//! A server with a few users, buckets and roles, and clients for it.

use std::fmt::Debug;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use local_aws::{LocalAws, Options, State};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const BUCKET: &str = "acme-audit";
pub(crate) const ROLE: &str = "arn:aws:iam::222222222222:role/customers/audit-export";
/// Asks for no external id and may do everything.
pub(crate) const OPEN_ROLE: &str = "arn:aws:iam::222222222222:role/open";
/// Of another account than the bucket.
pub(crate) const FOREIGN_ROLE: &str = "arn:aws:iam::333333333333:role/foreign";
/// The user that the roles trust.
pub(crate) const SERVICE: &str = "AKIASERVICE";
/// A user of the bucket's account.
pub(crate) const OWNER: &str = "AKIAOWNER";
/// A user whom nobody trusts.
pub(crate) const STRANGER: &str = "AKIASTRANGER";
pub(crate) const EXTERNAL_ID: &str = "ext:acme/1";
pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn state() -> Value {
    let user = |account: &str, key: &str| {
        json!({
            "arn": format!("arn:aws:iam::{account}:user/{key}"),
            "accessKeyId": key,
            "secretAccessKey": format!("secret of {key}"),
        })
    };
    let service = format!("arn:aws:iam::111111111111:user/{SERVICE}");
    let trust = |condition: Value| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": service},
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }]})
    };
    let with_id = trust(json!({"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}));
    let write = json!({"Version": "2012-10-17", "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": "arn:aws:s3:::acme-audit/audit/*",
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucketMultipartUploads",
            "Resource": "arn:aws:s3:::acme-audit",
        },
    ]});
    let all = json!({"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}});
    json!({
        "region": REGION,
        "users": [
            user("111111111111", SERVICE),
            user("222222222222", OWNER),
            user("444444444444", STRANGER),
        ],
        "buckets": [
            {"name": BUCKET, "region": REGION, "account": "222222222222"},
            {"name": "far-away", "region": "us-west-2", "account": "222222222222"},
        ],
        "roles": [
            {"arn": ROLE, "trustPolicy": with_id, "policy": write},
            {"arn": OPEN_ROLE, "trustPolicy": trust(json!({})), "policy": all},
            {"arn": FOREIGN_ROLE, "trustPolicy": trust(json!({})), "policy": all},
        ],
        "sessionSeconds": null,
    })
}

pub(crate) struct World {
    pub(crate) server: LocalAws,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().expect("a folder")).await
    }

    pub(crate) async fn start_in(dir: TempDir) -> Self {
        let state: State = serde_json::from_value(state()).expect("a state");
        let options = Options {
            listen: "127.0.0.1:0".parse().expect("an address"),
            data_dir: dir.path().join("data"),
            state: state.into(),
            write_log: Some(dir.path().join("writes.jsonl")),
        };
        let server = LocalAws::start(options).await.expect("the server starts");
        Self { server, dir }
    }

    pub(crate) fn sts(&self, user: Credentials, region: &'static str) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(self.server.endpoint())
            .region(Region::new(region))
            .retry_config(RetryConfig::disabled())
            .credentials_provider(user);
        aws_sdk_sts::Client::from_conf(config.build())
    }

    pub(crate) fn s3(&self, credentials: Credentials) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(self.s3_config(credentials).build())
    }

    pub(crate) fn s3_config(&self, credentials: Credentials) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(self.server.endpoint())
            .region(Region::new(REGION))
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .credentials_provider(credentials)
    }

    pub(crate) fn owner(&self) -> aws_sdk_s3::Client {
        self.s3(user(OWNER))
    }

    pub(crate) async fn session(&self, role: &str) -> Credentials {
        let sts = self.sts(user(SERVICE), REGION);
        let call = sts.assume_role().role_arn(role).role_session_name("test");
        let result = call.external_id(EXTERNAL_ID).send().await;
        let got = result.expect("trusted").credentials.expect("credentials");
        credentials(
            &got.access_key_id,
            &got.secret_access_key,
            Some(&got.session_token),
        )
    }

    /// A client with a session of the least-privilege role.
    pub(crate) async fn exporter(&self) -> aws_sdk_s3::Client {
        self.s3(self.session(ROLE).await)
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let list = self.owner().list_objects_v2().bucket(BUCKET).send().await;
        let keys = list.expect("a list").contents.unwrap_or_default();
        keys.into_iter().filter_map(|one| one.key).collect()
    }
}

pub(crate) fn user(key: &str) -> Credentials {
    credentials(key, &format!("secret of {key}"), None)
}

pub(crate) fn credentials(key: &str, secret: &str, token: Option<&str>) -> Credentials {
    let mut builder = Credentials::builder()
        .access_key_id(key)
        .secret_access_key(secret)
        .provider_name("test");
    builder.set_session_token(token.map(str::to_owned));
    builder.build()
}

/// Status and code of a refusal.
pub(crate) fn refused<T, E>(result: Result<T, SdkError<E>>) -> (u16, String)
where
    T: Debug,
    E: ProvideErrorMetadata + Debug,
{
    let (status, code, _) = refusal(result);
    (status, code)
}

/// Status, code and message of a refusal.
pub(crate) fn refusal<T, E>(result: Result<T, SdkError<E>>) -> (u16, String, String)
where
    T: Debug,
    E: ProvideErrorMetadata + Debug,
{
    let error = result.expect_err("must be refused");
    let Some(response) = error.raw_response() else {
        panic!("no response: {error:?}");
    };
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    (status, text(error.code()), text(error.message()))
}

pub(crate) fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn body(size: usize) -> ByteStream {
    ByteStream::from(vec![b'x'; size])
}
