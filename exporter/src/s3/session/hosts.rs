//! Which hosts requests go to, whatever a tenant may name.

use std::sync::{Arc, Mutex};

use aws_config::BehaviorVersion;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use common::destination::{Bucket, Partition, Prefix, RoleArn};
use proptest::prelude::*;
use tokio::runtime;

use super::*;

/// What an operator may have set as the endpoint of S3, and the host in it.
const ENDPOINTS: [(Option<&str>, &str); 4] = [
    (None, ""),
    (
        Some("https://s3.operator.example:9000"),
        "s3.operator.example:9000",
    ),
    (Some("http://s3.operator.example"), "s3.operator.example"),
    (Some("http://127.0.0.1:9000"), "127.0.0.1:9000"),
];

/// Notes where requests would go, and sends none.
#[derive(Debug, Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl HttpConnector for Noted {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap().push(request.uri().to_owned());
        let error = ConnectorError::user("nothing is sent".into());
        HttpConnectorFuture::ready(Err(error))
    }
}

/// The URL of a PUT.
fn url(destination: &Destination, endpoint: Option<&str>, path_style: bool) -> String {
    let noted = Noted::default();
    let connector = SharedHttpConnector::new(noted.clone());
    let mut base = SdkConfig::builder().behavior_version(BehaviorVersion::latest());
    base.set_endpoint_url(endpoint.map(str::to_owned));
    let config = addressing(&base.build(), destination, path_style)
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    let put = aws_sdk_s3::Client::from_conf(config)
        .put_object()
        .bucket(destination.bucket.as_str())
        .key("key");
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let sent = runtime.unwrap().block_on(put.send());
    assert!(
        matches!(sent, Err(SdkError::DispatchFailure(_))),
        "{sent:?}"
    );
    let urls = noted.0.lock().unwrap();
    let [url] = &urls[..] else { panic!("{urls:?}") };
    url.clone()
}

/// What stands between the scheme and the path.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split(['/', '?', '#']).next().unwrap()
}

fn destination(bucket: &str, region: &str) -> Option<Destination> {
    Some(Destination {
        bucket: Bucket::parse(bucket).ok()?,
        region: common::destination::Region::parse(region).ok()?,
        role_arn: RoleArn::parse("arn:aws:iam::222222222222:role/audit-export").unwrap(),
        prefix: Prefix::parse("").unwrap(),
        bucket_owner: None,
        kms_key_arn: None,
        compression: common::destination::Compression::Gzip,
    })
}

/// Checks that requests go to the operator's host or to AWS's, in any style.
fn check(destination: &Destination) {
    let (bucket, region) = (&destination.bucket, &destination.region);
    for path_style in [false, true] {
        for (endpoint, operators) in ENDPOINTS {
            let url = url(destination, endpoint, path_style);
            let domain = match destination.region.partition() {
                Partition::AwsCn => "amazonaws.com.cn",
                Partition::Aws | Partition::AwsUsGov => "amazonaws.com",
            };
            let expected = match endpoint {
                Some(_) => operators.to_owned(),
                None => format!("s3.{region}.{domain}"),
            };
            let host = host(&url);
            let below = host.strip_suffix(&expected);
            let label = below.unwrap_or_else(|| panic!("{url} is not at {expected}"));
            assert!(
                label.is_empty()
                    || (label == format!("{bucket}.") && !bucket.as_str().contains('.')),
                "{url}"
            );
        }
    }
}

#[test]
fn no_name_of_a_bucket_chooses_the_host() {
    let good = [
        "acme-audit-logs",
        "acme.audit.logs",
        "localhost",
        "127.0.0.1.nip.io",
        "metadata.google.internal",
        "s3.operator.example",
        "evil.example.com",
        "1.2.3.4.5",
        "0x7f000001",
        "2130706433",
    ];
    for bucket in good {
        check(&destination(bucket, "eu-central-1").expect(bucket));
    }
    for bucket in [
        "s3.amazonaws.com",
        "169.254.169.254",
        "evil.example.com/",
        "user@evil.example.com",
        "evil.example.com:443",
        "evil.example.com#",
        "evil.example.com?",
        "https://evil.example.com",
        "[::1]",
        "%2f%2fevil",
    ] {
        assert!(destination(bucket, "eu-central-1").is_none(), "{bucket}");
    }
}

#[test]
fn no_region_chooses_the_host() {
    for region in [
        "us-east-1",
        "ap-southeast-7",
        "xx-nowhere-9",
        "us-gov-west-1",
        "cn-north-1",
    ] {
        check(&destination("acme-audit-logs", region).expect(region));
        check(&destination("acme.audit.logs", region).expect(region));
    }
    for region in [
        "us-east-1.evil.example",
        "evil.example/us-east-1",
        "us-east-1@evil.example",
        "us-east-1#",
        "us-east-1?",
        "us-east-1:80",
        "fips-us-east-1",
        "us-east-1-fips",
        "aws-global",
        "localhost",
    ] {
        assert!(destination("acme-audit-logs", region).is_none(), "{region}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn neither_do_any_others(bucket in "[a-z0-9.@:/-]{3,20}", region in "[a-z]{2}-[a-z]{1,9}-[0-9]") {
        if let Some(destination) = destination(&bucket, &region) {
            check(&destination);
        }
    }
}
