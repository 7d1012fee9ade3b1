//! A server whose clock is not that of this machine.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::Credentials;
use aws_smithy_async::time::TimeSource;
use jiff::{SignedDuration, Timestamp};

use crate::world::{
    BUCKET, EXTERNAL_ID, REGION, ROLE, SERVICE, World, body, credentials, is, refusal, refused,
    user,
};

/// The system's clock, wrong by so many minutes.
#[derive(Debug, Clone, Copy)]
struct Off(i64);

impl TimeSource for Off {
    fn now(&self) -> SystemTime {
        let by = Duration::from_secs(60 * self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    }
}

fn s3_at(world: &World, minutes: i64, credentials: Credentials) -> aws_sdk_s3::Client {
    let config = world
        .s3_config(credentials)
        .time_source(Off(minutes))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn sts_at(world: &World, minutes: i64) -> aws_sdk_sts::Client {
    let config = world.sts(user(SERVICE), REGION).config().to_builder();
    aws_sdk_sts::Client::from_conf(config.time_source(Off(minutes)).build())
}

async fn assume(world: &World, minutes: i64) -> (Credentials, Timestamp) {
    let call = sts_at(world, minutes).assume_role();
    let call = call.role_arn(ROLE).role_session_name("test");
    let result = call.external_id(EXTERNAL_ID).send().await;
    let got = result.expect("trusted").credentials.expect("credentials");
    let expires = Timestamp::from_second(got.expiration.secs()).expect("a time");
    let (key, secret) = (&got.access_key_id, &got.secret_access_key);
    let session = credentials(key, secret, Some(&got.session_token));
    (session, expires)
}

#[tokio::test]
async fn requests_are_judged_by_the_servers_clock() {
    let world = World::start().await;
    for (minutes, way) in [
        (120, "Signature expired: "),
        (-120, "Signature not yet current: "),
    ] {
        world
            .server
            .set_clock_offset(SignedDuration::from_mins(minutes));
        let (session, expires) = assume(&world, minutes).await;
        let server = Timestamp::now() + SignedDuration::from_mins(minutes);
        let life = expires.duration_since(server);
        assert!((3590..=3600).contains(&life.as_secs()), "{life}");
        let put = |at| {
            let client = s3_at(&world, at, session.clone());
            let key = format!("audit/{minutes}-{at}");
            async move {
                let call = client.put_object().bucket(BUCKET).key(key);
                call.body(body(3)).send().await
            }
        };
        for good in [minutes - 14, minutes, minutes + 14] {
            put(good).await.expect("close enough");
        }
        for bad in [minutes - 16, 0, minutes + 16] {
            assert_eq!(refused(put(bad).await), is(403, "RequestTimeTooSkewed"));
        }

        let whoami = sts_at(&world, 0).get_caller_identity().send().await;
        let (status, code, message) = refusal(whoami);
        assert_eq!((status, code), is(403, "SignatureDoesNotMatch"));
        assert!(message.starts_with(way), "{message}");
    }
}

#[tokio::test]
async fn answers_tell_the_servers_time() {
    let world = World::start().await;
    let offset = SignedDuration::from_hours(-2);
    world.server.set_clock_offset(offset);
    let put = world.owner().put_object().bucket(BUCKET).key("k");
    let error = put.body(body(1)).send().await.expect_err("two hours off");
    let response = error.raw_response().expect("an answer");
    let date = response.headers().get("date").expect("a date");
    let date = jiff::fmt::rfc2822::parse(date).expect("as in RFC 9110");
    let now = Timestamp::now() + offset;
    assert!(date.timestamp().duration_since(now).abs() < SignedDuration::from_secs(5));
    let bytes = response.body().bytes().expect("a body in memory");
    let xml = String::from_utf8_lossy(bytes);
    assert!(
        xml.contains("<ServerTime>") && xml.contains("<RequestTime>"),
        "{xml}"
    );
    assert_eq!(
        world.server.calls()[0].error_code.as_deref(),
        Some("RequestTimeTooSkewed")
    );
}

#[tokio::test]
async fn sessions_and_uploads_go_by_the_servers_clock() {
    let world = World::start().await;
    let (session, _) = assume(&world, 0).await;
    let create = |at, session: Credentials| {
        let client = s3_at(&world, at, session);
        async move {
            let call = client.create_multipart_upload().bucket(BUCKET);
            call.key("audit/k").send().await
        }
    };
    world.server.set_clock_offset(SignedDuration::from_mins(59));
    create(59, session.clone()).await.expect("a minute is left");
    let initiated = world.server.open_uploads(BUCKET)[0].initiated;
    assert!(
        initiated > Timestamp::now() + SignedDuration::from_mins(58),
        "{initiated}"
    );
    world.server.set_clock_offset(SignedDuration::from_mins(61));
    let ended = create(61, session).await;
    assert_eq!(refused(ended), is(400, "ExpiredToken"));
}
