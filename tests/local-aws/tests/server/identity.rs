//! STS, credentials, clocks, and a state that changes.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::Credentials;
use aws_smithy_async::time::TimeSource;
use local_aws::{LocalAws, Options, StateSource};
use serde_json::json;
use tempfile::TempDir;

use crate::world::{
    BUCKET, EXTERNAL_ID, OPEN_ROLE, REGION, ROLE, SERVICE, STRANGER, World, body, credentials, is,
    refusal, refused, state, user,
};

#[tokio::test]
async fn assume_role_needs_trust_and_the_external_id() {
    let world = World::start().await;
    let ask = |key: &str, role: &str, id: Option<&str>| {
        let call = world.sts(user(key), REGION).assume_role();
        let call = call.role_arn(role).role_session_name("org-1");
        call.set_external_id(id.map(str::to_owned)).send()
    };
    let good = ask(SERVICE, ROLE, Some(EXTERNAL_ID)).await;
    let good = good.expect("trusted");
    assert_eq!(
        good.assumed_role_user.expect("a user").arn,
        "arn:aws:sts::222222222222:assumed-role/audit-export/org-1"
    );
    let expiry = good.credentials.expect("credentials").expiration.secs();
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let left = expiry - now.as_secs() as i64;
    assert!((3590..=3600).contains(&left), "{left}");

    let denied = is(403, "AccessDenied");
    let wrong_id = ask(SERVICE, ROLE, Some("ext:acme/2")).await;
    assert_eq!(refused(wrong_id), denied);
    let stranger = ask(STRANGER, ROLE, Some(EXTERNAL_ID)).await;
    assert_eq!(refused(stranger), denied);
    let nowhere = "arn:aws:iam::222222222222:role/no-such-role";
    let unknown = ask(SERVICE, nowhere, Some(EXTERNAL_ID)).await;
    assert_eq!(refused(unknown), denied);
    let (status, _, message) = refusal(ask(SERVICE, ROLE, None).await);
    assert_eq!(status, 403);
    assert_eq!(
        message,
        format!(
            "User: arn:aws:iam::111111111111:user/{SERVICE} is not authorized to perform: \
             sts:AssumeRole on resource: {ROLE}"
        )
    );

    // The confused deputy: this role takes whatever is said.
    let none = ask(SERVICE, OPEN_ROLE, None).await;
    none.expect("no id is fine");
    let any = ask(SERVICE, OPEN_ROLE, Some("anything")).await;
    any.expect("any id is fine");

    let calls = world.server.calls();
    assert_eq!(calls.len(), 7);
    assert_eq!(calls[1].service, "sts");
    assert_eq!(calls[1].operation, "AssumeRole");
    assert_eq!(calls[1].error_code.as_deref(), Some("AccessDenied"));
}

#[tokio::test]
async fn sts_checks_its_parameters() {
    let world = World::start().await;
    let ask = |name: &str, seconds: Option<i32>, id: &str| {
        let call = world.sts(user(SERVICE), REGION).assume_role();
        let call = call.role_arn(ROLE).role_session_name(name);
        call.set_duration_seconds(seconds).external_id(id).send()
    };
    let invalid = is(400, "ValidationError");
    assert_eq!(refused(ask("org 1", None, EXTERNAL_ID).await), invalid);
    let long = "x".repeat(65);
    assert_eq!(refused(ask(&long, None, EXTERNAL_ID).await), invalid);
    assert_eq!(refused(ask("org", None, "with space").await), invalid);
    // The last one is more than a role allows unless it says otherwise.
    for seconds in [899, 43_201, 3601] {
        let result = ask("org", Some(seconds), EXTERNAL_ID).await;
        assert_eq!(refused(result), invalid, "{seconds}");
    }
    let quarter = ask("org", Some(900), EXTERNAL_ID).await;
    quarter.expect("fifteen minutes");
}

#[tokio::test]
async fn sts_checks_signatures_and_their_region() {
    let world = World::start().await;
    let whoami = |user: Credentials, region| world.sts(user, region).get_caller_identity().send();
    let identity = whoami(user(SERVICE), REGION).await.expect("identity");
    assert_eq!(identity.account(), Some("111111111111"));
    let of_a_bucket = whoami(user(SERVICE), "us-west-2").await;
    of_a_bucket.expect("a bucket's region is fine");
    let elsewhere = whoami(user(SERVICE), "ap-south-1").await;
    assert_eq!(refused(elsewhere), is(403, "SignatureDoesNotMatch"));
    let nobody = whoami(user("AKIANOBODY"), REGION).await;
    assert_eq!(refused(nobody), is(403, "InvalidClientTokenId"));
    let forged = whoami(credentials(SERVICE, "wrong", None), REGION).await;
    assert_eq!(refused(forged), is(403, "SignatureDoesNotMatch"));

    // A session may call, until it ends.
    let session = world.session(ROLE).await;
    let identity = whoami(session.clone(), REGION).await.expect("identity");
    assert_eq!(identity.account(), Some("222222222222"));
    world.server.expire_sessions().expect("expired");
    let ended = whoami(session, REGION).await;
    assert_eq!(refused(ended), is(403, "ExpiredToken"));
}

#[tokio::test]
async fn keys_tokens_and_clocks() {
    let world = World::start().await;
    let put = |client: aws_sdk_s3::Client| {
        let call = client.put_object().bucket(BUCKET).key("audit/k");
        call.body(body(3)).send()
    };
    let session = world.session(ROLE).await;
    let good = put(world.s3(session.clone())).await;
    good.expect("a good session");

    let (key, secret) = (session.access_key_id(), session.secret_access_key());
    let bad = [
        (user("AKIANOBODY"), is(403, "InvalidAccessKeyId")),
        (
            credentials(key, "wrong", session.session_token()),
            is(403, "SignatureDoesNotMatch"),
        ),
        (
            credentials(key, secret, None),
            is(403, "InvalidAccessKeyId"),
        ),
        (credentials(key, secret, Some("x")), is(400, "InvalidToken")),
    ];
    for (credentials, expected) in bad {
        assert_eq!(refused(put(world.s3(credentials)).await), expected);
    }

    let at = |minutes: u64| {
        let clock = Clock(Duration::from_secs(60 * minutes));
        let config = world.s3_config(session.clone()).time_source(clock);
        put(aws_sdk_s3::Client::from_conf(config.build()))
    };
    at(14).await.expect("14 minutes are tolerated");
    assert_eq!(refused(at(16).await), is(403, "RequestTimeTooSkewed"));

    world.server.expire_sessions().expect("expired");
    let (status, code, message) = refusal(put(world.s3(session.clone())).await);
    assert_eq!((status, code), is(400, "ExpiredToken"));
    assert_eq!(message, "The provided token has expired.");

    let change = world.server.update(|state| state.session_seconds = Some(1));
    change.expect("a good state");
    let short = world.exporter().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(refused(put(short).await), is(400, "ExpiredToken"));
}

#[tokio::test]
async fn the_state_file_is_read_again_when_it_changes() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("state.json");
    let mut content = state();
    std::fs::write(&path, content.to_string()).expect("written");
    let options = Options {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data_dir: dir.path().join("data"),
        state: StateSource::File(path.clone()),
        write_log: None,
    };
    let server = LocalAws::start(options).await.expect("started");
    let world = World { server, dir };
    let exporter = world.exporter().await;
    let put = || {
        let call = exporter.put_object().bucket(BUCKET).key("audit/k");
        call.body(body(1)).send()
    };
    put().await.expect("allowed");
    std::fs::write(&path, "{ not JSON").expect("written");
    put().await.expect("the old state stays");
    content["roles"] = json!([]);
    std::fs::write(&path, content.to_string()).expect("written");
    assert_eq!(refused(put().await), is(403, "AccessDenied"));
    world.server.shutdown().await;
    let gone = put().await.expect_err("nobody listens");
    assert!(gone.raw_response().is_none());
}

/// A clock that is behind.
#[derive(Debug)]
struct Clock(Duration);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::now() - self.0
    }
}
