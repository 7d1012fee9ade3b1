//! Objects: permissions, buckets, regions, bodies.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::ChecksumAlgorithm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{
    BUCKET, FOREIGN_ROLE, MIB, OPEN_ROLE, SERVICE, World, body, is, refusal, refused, user,
};

fn put(client: &Client, key: &str) -> PutObjectFluentBuilder {
    let call = client.put_object().bucket(BUCKET).key(key);
    call.body(body(3))
}

#[tokio::test]
async fn policies_accounts_and_owners() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let owned_by = |account| {
        put(&exporter, "audit/k")
            .expected_bucket_owner(account)
            .send()
    };
    owned_by("222222222222").await.expect("allowed");
    let denied = is(403, "AccessDenied");
    assert_eq!(refused(owned_by("111111111111").await), denied);

    let (status, code, message) = refusal(put(&exporter, "other/k").send().await);
    assert_eq!((status, code), denied);
    assert_eq!(
        message,
        "User: arn:aws:sts::222222222222:assumed-role/audit-export/test is not authorized to \
         perform: s3:PutObject on resource: \"arn:aws:s3:::acme-audit/other/k\" because no \
         identity-based policy allows the s3:PutObject action"
    );
    // More than a connection holds: the refusal must arrive all the same.
    let large = put(&exporter, "other/k").body(body(8 * MIB)).send().await;
    assert_eq!(refused(large), denied);
    let delete = exporter.delete_object().bucket(BUCKET).key("audit/k");
    assert_eq!(refused(delete.send().await), denied);
    let get = exporter.get_object().bucket(BUCKET).key("audit/k");
    assert_eq!(refused(get.send().await), denied);
    let list = exporter.list_objects_v2().bucket(BUCKET);
    assert_eq!(refused(list.send().await), denied);
    let tagged = put(&exporter, "audit/k").tagging("a=b").send().await;
    assert_eq!(refused(tagged), denied);
    let foreign = world.s3(world.session(FOREIGN_ROLE).await);
    assert_eq!(refused(put(&foreign, "audit/k").send().await), denied);
    let service = world.s3(user(SERVICE));
    assert_eq!(refused(put(&service, "audit/k").send().await), denied);

    // What a role may do is looked up at every call, as in AWS.
    let change = world.server.update(|state| state.roles.clear());
    change.expect("a good state");
    assert_eq!(refused(put(&exporter, "audit/k").send().await), denied);

    let writes = world.server.write_log();
    assert_eq!(writes.len(), 1);
    assert_eq!(
        writes[0].principal,
        "arn:aws:sts::222222222222:assumed-role/audit-export/test"
    );
    assert_eq!(
        (writes[0].op.as_str(), writes[0].size),
        ("PutObject", Some(3))
    );
    let file = std::fs::read_to_string(world.dir.path().join("writes.jsonl"));
    assert_eq!(file.expect("the write log").lines().count(), 1);
}

#[tokio::test]
async fn buckets_and_regions() {
    let world = World::start().await;
    let exporter = world.s3(world.session(OPEN_ROLE).await);
    let missing = is(404, "NoSuchBucket");
    let nowhere = put(&exporter, "k").bucket("no-such-bucket").send().await;
    assert_eq!(refused(nowhere), missing);
    assert!(!world.dir.path().join("data/no-such-bucket").exists());
    let create = exporter.create_multipart_upload();
    let create = create.bucket("no-such-bucket").key("k").send().await;
    assert_eq!(refused(create), missing);
    let list = exporter.list_objects_v2().bucket("no-such-bucket");
    assert_eq!(refused(list.send().await), missing);

    let far = put(&exporter, "k").bucket("far-away").send().await;
    let error = far.expect_err("wrong region");
    let response = error.raw_response().expect("a response");
    let region = response.headers().get("x-amz-bucket-region");
    assert_eq!(region, Some("us-west-2"));
    let text = String::from_utf8_lossy(response.body().bytes().expect("a body"));
    assert!(text.contains("<Region>us-west-2</Region>"), "{text}");
    let wrong = "the region 'eu-central-1' is wrong; expecting 'us-west-2'";
    assert!(text.contains(wrong), "{text}");
    let malformed = is(400, "AuthorizationHeaderMalformed");
    assert_eq!(refused(Err::<(), _>(error)), malformed);

    let remove = |state: &mut local_aws::State| state.buckets.retain(|one| one.name != BUCKET);
    world.server.update(remove).expect("a good state");
    assert_eq!(refused(put(&exporter, "k").send().await), missing);
}

#[tokio::test]
async fn bodies_must_be_what_they_claim() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let put = || put(&exporter, "audit/k").body(ByteStream::from_static(b"hello"));
    let sha_of_world = "SG6kYiTRuy7+iF4W/YxX2+N6eWV6f3dQ6m0NjU5TJyE=";
    let digest = is(400, "BadDigest");
    let sha = put().checksum_sha256(sha_of_world).send().await;
    assert_eq!(refused(sha), digest);
    let crc = put().checksum_crc32("AAAAAA==").send().await;
    assert_eq!(refused(crc), digest);
    let md5 = put().content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await;
    assert_eq!(refused(md5), digest);
    let form = put().checksum_sha256("short").send().await;
    assert_eq!(refused(form), is(400, "InvalidRequest"));
    let changed = put().customize().interceptor(ChangeBody).send().await;
    assert_eq!(refused(changed), is(400, "XAmzContentSHA256Mismatch"));
    assert_eq!(world.keys().await, Vec::<String>::new());
    assert!(world.server.write_log().is_empty());

    let right = put().checksum_algorithm(ChecksumAlgorithm::Sha256);
    right.send().await.expect("the right SHA-256");
    // A stream's checksum follows in a trailer.
    let path = world.dir.path().join("file");
    std::fs::write(&path, vec![b'y'; 3 * MIB]).expect("a file");
    let stream = ByteStream::from_path(&path).await.expect("a stream");
    let call = put().key("audit/s").body(stream);
    let call = call.checksum_algorithm(ChecksumAlgorithm::Sha256);
    let streamed = call.send().await.expect("streamed");
    assert!(streamed.checksum_sha256().is_some());
    let file = world.dir.path().join("data/acme-audit/audit/s");
    let stored = std::fs::metadata(file).expect("a plain file");
    assert_eq!(stored.len(), 3 * MIB as u64);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let world = World::start().await;
    // A relay that lets a megabyte through and then cuts the line.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let relay = listener.local_addr().expect("an address");
    let server = world.server.address();
    let cut = tokio::spawn(async move {
        let (from, _) = listener.accept().await.expect("a client");
        let mut to = tokio::net::TcpStream::connect(server)
            .await
            .expect("the server");
        let mut bytes = Vec::new();
        let mut some = from.take(MIB as u64);
        some.read_to_end(&mut bytes).await.expect("a megabyte");
        to.write_all(&bytes).await.expect("passed on");
    });
    let config = world.s3_config(world.session(OPEN_ROLE).await);
    let config = config.endpoint_url(format!("http://{relay}")).build();
    let client = Client::from_conf(config);
    let result = put(&client, "audit/k").body(body(8 * MIB)).send().await;
    result.expect_err("the line was cut");
    cut.await.expect("no panic");
    let tmp = world.dir.path().join("data/.local-aws/tmp");
    for _ in 0..100 {
        if std::fs::read_dir(&tmp).expect("a folder").count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read_dir(&tmp).expect("a folder").count(), 0);
    assert_eq!(world.keys().await, Vec::<String>::new());
    assert!(world.server.write_log().is_empty());
}

#[tokio::test]
async fn objects_come_back_as_they_were_sent() {
    let world = World::start().await;
    let owner = world.owner();
    let key = "a/b=c/x.jsonl.gz";
    let call = put(&owner, key).content_type("application/gzip");
    let call = call.metadata("sha256", "abc");
    let call = call.body(ByteStream::from_static(b"0123456789"));
    call.send().await.expect("put");
    let head = owner.head_object().bucket(BUCKET).key(key).send().await;
    let head = head.expect("head");
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.content_type(), Some("application/gzip"));
    assert_eq!(head.e_tag(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    let metadata = head.metadata().expect("metadata");
    assert_eq!(metadata["sha256"], "abc");

    let get = |key: &str| owner.get_object().bucket(BUCKET).key(key);
    let part = get(key).range("bytes=2-4").send().await.expect("get");
    assert_eq!(part.content_range(), Some("bytes 2-4/10"));
    let bytes = part.body.collect().await.expect("a body").to_vec();
    assert_eq!(bytes, b"234");
    let whole = get(key).send().await.expect("get");
    let bytes = whole.body.collect().await.expect("a body").to_vec();
    assert_eq!(bytes, b"0123456789");
    let nothing = get("nothing").send().await;
    assert_eq!(refused(nothing), is(404, "NoSuchKey"));
}

#[tokio::test]
async fn lists_and_deletions() {
    let world = World::start().await;
    let owner = world.owner();
    for key in ["a/b=c/x", "a/b=c/y", "a/z", "../etc", "b//c"] {
        put(&owner, key).send().await.expect("put");
    }
    let all = ["../etc", "a/b=c/x", "a/b=c/y", "a/z", "b//c"];
    assert_eq!(world.keys().await, all);
    assert!(!world.dir.path().join("data/etc").exists());

    let list = || {
        let call = owner.list_objects_v2().bucket(BUCKET);
        call.prefix("a/").delimiter("/").max_keys(1)
    };
    let page = list().send().await.expect("a page");
    assert_eq!(page.common_prefixes()[0].prefix(), Some("a/b=c/"));
    let next = list().set_continuation_token(page.next_continuation_token);
    let next = next.send().await.expect("the next page");
    assert_eq!(next.contents()[0].key(), Some("a/z"));
    assert_eq!(next.is_truncated(), Some(false));

    // The second deletes nothing, which is no error and no write.
    for _ in 0..2 {
        let delete = owner.delete_object().bucket(BUCKET).key("a/z");
        delete.send().await.expect("deleted");
    }
    let writes = world.server.write_log();
    assert_eq!(writes.len(), 6);
    assert_eq!(writes[5].op, "DeleteObject");
    assert_eq!(writes[5].etag, None);
}

/// Sends other bytes than were signed.
#[derive(Debug)]
struct ChangeBody;

impl Intercept for ChangeBody {
    fn name(&self) -> &'static str {
        "ChangeBody"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *context.request_mut().body_mut() = SdkBody::from("HELLO");
        Ok(())
    }
}
