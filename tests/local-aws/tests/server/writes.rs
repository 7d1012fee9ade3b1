//! Conditional writes and multipart uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::complete_multipart_upload::{
    CompleteMultipartUploadError, CompleteMultipartUploadOutput,
};
use aws_sdk_s3::types::ChecksumAlgorithm::{self, Crc32, Sha256};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::world::{BUCKET, MIB, ROLE, World, body, is, refusal, refused};

const KEY: &str = "audit/k";

type Completed = Result<CompleteMultipartUploadOutput, SdkError<CompleteMultipartUploadError>>;

async fn create(client: &Client, algorithm: Option<ChecksumAlgorithm>) -> String {
    let call = client.create_multipart_upload().bucket(BUCKET).key(KEY);
    let made = call.set_checksum_algorithm(algorithm).send().await;
    made.expect("made").upload_id.expect("an id")
}

/// Uploads a part with its SHA-256.
async fn upload(client: &Client, id: &str, number: i32, size: usize) -> CompletedPart {
    let call = client.upload_part().bucket(BUCKET).key(KEY).upload_id(id);
    let call = call.part_number(number).body(body(size));
    let sent = call.checksum_algorithm(Sha256).send().await;
    let sent = sent.expect("a part");
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag)
        .set_checksum_sha256(sent.checksum_sha256)
        .build()
}

async fn complete(client: &Client, id: &str, parts: &[&CompletedPart]) -> Completed {
    let parts = parts.iter().map(|&part| part.clone()).collect();
    let list = CompletedMultipartUpload::builder();
    let list = list.set_parts(Some(parts)).build();
    let call = client.complete_multipart_upload().bucket(BUCKET).key(KEY);
    let call = call.upload_id(id).multipart_upload(list);
    call.if_none_match("*").send().await
}

#[tokio::test]
async fn a_conditional_put_finds_the_key_free_once() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let put = |key: &str| {
        let call = exporter.put_object().bucket(BUCKET).key(key);
        call.if_none_match("*").body(body(MIB)).send()
    };
    put("audit/a").await.expect("the key is free");
    let (status, code, message) = refusal(put("audit/a").await);
    assert_eq!((status, code), is(412, "PreconditionFailed"));
    assert_eq!(
        message,
        "At least one of the pre-conditions you specified did not hold"
    );

    let racing: Vec<_> = (0..8).map(|_| tokio::spawn(put("audit/race"))).collect();
    let mut won = 0;
    for one in racing {
        match one.await.expect("no panic") {
            Ok(_) => won += 1,
            Err(error) => {
                let lost = refused(Err::<(), _>(error));
                assert_eq!(lost, is(412, "PreconditionFailed"));
            }
        }
    }
    assert_eq!(won, 1);
    assert_eq!(world.server.write_log().len(), 2);
}

#[tokio::test]
async fn a_conditional_complete_finds_the_key_free_once() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let mut uploads = Vec::new();
    for _ in 0..4 {
        let id = create(&exporter, None).await;
        let part = upload(&exporter, &id, 1, MIB).await;
        uploads.push((id, part));
    }
    let racing: Vec<_> = uploads
        .iter()
        .map(|(id, part)| {
            let (client, id, part) = (exporter.clone(), id.clone(), part.clone());
            tokio::spawn(async move { complete(&client, &id, &[&part]).await })
        })
        .collect();
    let mut lost = Vec::new();
    for (one, (id, _)) in racing.into_iter().zip(&uploads) {
        if let Err(error) = one.await.expect("no panic") {
            let refused = refused(Err::<(), _>(error));
            assert_eq!(refused, is(412, "PreconditionFailed"));
            lost.push(id);
        }
    }
    assert_eq!(lost.len(), 3);
    assert_eq!(world.server.write_log().len(), 1);
    // The losers are still open and can be aborted.
    assert_eq!(world.server.open_uploads(BUCKET).len(), 3);
    for id in lost {
        let abort = exporter.abort_multipart_upload().bucket(BUCKET).key(KEY);
        abort.upload_id(id).send().await.expect("aborted");
    }
    assert!(world.server.open_uploads(BUCKET).is_empty());
}

#[tokio::test]
async fn complete_takes_only_what_was_uploaded() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let id = create(&exporter, Some(Sha256)).await;
    let small = upload(&exporter, &id, 1, 1000).await;
    let last = upload(&exporter, &id, 2, 1000).await;
    let too_small = complete(&exporter, &id, &[&small, &last]).await;
    assert_eq!(refused(too_small), is(400, "EntityTooSmall"));

    // Sent again, part 1 is another one.
    let first = upload(&exporter, &id, 1, 5 * MIB).await;
    let old = complete(&exporter, &id, &[&small, &last]).await;
    assert_eq!(refused(old), is(400, "InvalidPart"));
    let unordered = complete(&exporter, &id, &[&last, &first]).await;
    assert_eq!(refused(unordered), is(400, "InvalidPartOrder"));
    let empty = complete(&exporter, &id, &[]).await;
    assert_eq!(refused(empty), is(400, "MalformedXML"));
    let part = |number| {
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(first.e_tag.clone())
    };
    let unknown = complete(&exporter, &id, &[&first, &part(3).build()]).await;
    assert_eq!(refused(unknown), is(400, "InvalidPart"));
    let mixed = part(1).set_checksum_sha256(last.checksum_sha256.clone());
    let mixed = complete(&exporter, &id, &[&mixed.build()]).await;
    assert_eq!(refused(mixed), is(400, "InvalidPart"));
    let bare = complete(&exporter, &id, &[&part(1).build()]).await;
    assert_eq!(refused(bare), is(400, "InvalidRequest"));

    let third = || {
        let call = exporter.upload_part().bucket(BUCKET).key(KEY);
        call.upload_id(&id).part_number(3).body(body(10))
    };
    let sum = last.checksum_sha256().expect("a checksum");
    let wrong = third().checksum_sha256(sum).send().await;
    assert_eq!(refused(wrong), is(400, "BadDigest"));
    let other = third().checksum_algorithm(Crc32).send().await;
    assert_eq!(refused(other), is(400, "InvalidRequest"));
    assert_eq!(world.server.open_uploads(BUCKET)[0].parts, [1, 2]);
    assert_eq!(world.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_outlives_a_restart_and_ends_once() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let id = create(&exporter, Some(Sha256)).await;
    let first = upload(&exporter, &id, 1, 5 * MIB).await;
    let last = upload(&exporter, &id, 2, 1000).await;
    let list = exporter.list_multipart_uploads().bucket(BUCKET);
    let list = list.prefix("audit/").send().await.expect("a list");
    assert_eq!(list.uploads()[0].upload_id(), Some(id.as_str()));

    let session = world.session(ROLE).await;
    let World { server, dir } = world;
    server.kill().await;
    let world = World::start_in(dir).await;
    // The session of before is good, too.
    let exporter = world.s3(session);
    let done = complete(&exporter, &id, &[&first, &last]).await;
    let done = done.expect("complete");
    assert!(done.e_tag().is_some_and(|tag| tag.ends_with("-2\"")));
    assert!(
        done.checksum_sha256()
            .is_some_and(|sum| sum.ends_with("-2"))
    );
    let head = world.owner().head_object().bucket(BUCKET).key(KEY);
    let head = head.send().await.expect("head");
    assert_eq!(head.content_length(), Some(5 * MIB as i64 + 1000));
    let writes = world.server.write_log();
    assert_eq!(writes[0].op, "CompleteMultipartUpload");

    let gone = is(404, "NoSuchUpload");
    let again = complete(&exporter, &id, &[&first, &last]).await;
    assert_eq!(refused(again), gone);
    let part = exporter.upload_part().bucket(BUCKET).key(KEY);
    let part = part.upload_id(&id).part_number(1).body(body(1));
    assert_eq!(refused(part.send().await), gone);
    let abort = exporter.abort_multipart_upload().bucket(BUCKET).key(KEY);
    assert_eq!(refused(abort.upload_id(&id).send().await), gone);
    let folder = world.dir.path().join("data/.local-aws/uploads");
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), 0);
}
