//! S3 and STS, and the exporter's identity there.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use local_aws::{LocalAws, Options};
use serde_json::json;
use tempfile::TempDir;

/// The region of the exporter, and of buckets where a test says nothing else.
pub const REGION: &str = "eu-central-1";
/// The exporter's own identity.
pub const PRINCIPAL_ARN: &str = "arn:aws:iam::111111111111:user/audit-export";
/// Its access key.
pub const ACCESS_KEY_ID: &str = "AKIAAUDITEXPORT";
/// Its secret key.
pub const SECRET_ACCESS_KEY: &str = "secret of the exporter";

/// Starts them, with the exporter as the only user.
pub(super) async fn start(dir: &TempDir) -> LocalAws {
    let state = json!({
        "region": REGION,
        "users": [{
            "arn": PRINCIPAL_ARN,
            "accessKeyId": ACCESS_KEY_ID,
            "secretAccessKey": SECRET_ACCESS_KEY,
        }],
    });
    let state: local_aws::State = serde_json::from_value(state).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().join("s3"),
        state: state.into(),
        write_log: None,
    };
    LocalAws::start(options).await.expect("S3 and STS start")
}

/// The exporter's identity at an endpoint of S3 and STS. Nothing of it comes from the environment.
pub fn sdk_config(endpoint: &str) -> SdkConfig {
    sdk_config_of(endpoint, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
}

/// Anybody's identity at an endpoint of S3 and STS.
pub fn sdk_config_of(endpoint: &str, access_key_id: &str, secret_access_key: &str) -> SdkConfig {
    let credentials = Credentials::builder()
        .access_key_id(access_key_id)
        .secret_access_key(secret_access_key)
        .provider_name("tests")
        .build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
