//! SSE-KMS: who may use which key, and what objects say of theirs.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use local_aws::Key;
use serde_json::{Value, json};

use crate::world::{BUCKET, OPEN_ROLE, World, body, is, refusal, refused};

const KEY_ARN: &str = "arn:aws:kms:eu-central-1:222222222222:key/1";
const OTHER_ARN: &str = "arn:aws:kms:eu-central-1:222222222222:key/2";
const FOREIGN_ARN: &str = "arn:aws:kms:eu-central-1:444444444444:key/3";

/// A world with keys, and a role whose policy is yet to be set.
async fn start() -> (World, Client) {
    let world = World::start().await;
    let key = |arn: &str| Key {
        arn: arn.to_owned(),
        disabled: false,
        policy: None,
    };
    let change = world
        .server
        .update(|state| state.keys = [KEY_ARN, OTHER_ARN, FOREIGN_ARN].map(key).into());
    change.expect("a good state");
    let client = world.s3(world.session(OPEN_ROLE).await);
    (world, client)
}

/// From now on the role may do these things with this key, and everything in S3.
fn allow(world: &World, actions: &[&str], key: &str) {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": actions, "Resource": key},
    ]});
    let policy = serde_json::from_value(policy).expect("a policy");
    let change = world.server.update(|state| {
        let mut roles = state.roles.iter_mut();
        let role = roles.find(|role| role.arn == OPEN_ROLE);
        role.expect("the role").policy = policy;
    });
    change.expect("a good state");
}

fn put(client: &Client, key: Option<&str>) -> PutObjectFluentBuilder {
    let call = client.put_object().bucket(BUCKET).key("k").body(body(3));
    match key {
        Some(key) => call
            .server_side_encryption(ServerSideEncryption::AwsKms)
            .ssekms_key_id(key),
        None => call,
    }
}

fn create(client: &Client) -> CreateMultipartUploadFluentBuilder {
    let call = client.create_multipart_upload().bucket(BUCKET).key("m");
    call.server_side_encryption(ServerSideEncryption::AwsKms)
        .ssekms_key_id(KEY_ARN)
}

fn part(client: &Client, id: &str) -> UploadPartFluentBuilder {
    let call = client.upload_part().bucket(BUCKET).key("m").upload_id(id);
    call.part_number(1).body(body(3))
}

fn not_authorized(action: &str) -> (u16, String, String) {
    let message = format!(
        "User: arn:aws:sts::222222222222:assumed-role/open/test is not authorized to perform: \
         {action} on resource: {KEY_ARN} because no identity-based policy allows the {action} action"
    );
    (403, "AccessDenied".to_owned(), message)
}

#[tokio::test]
async fn a_put_needs_to_generate_a_key_and_the_object_tells_it() {
    let (world, client) = start().await;
    let refused = refusal(put(&client, Some(KEY_ARN)).send().await);
    assert_eq!(refused, not_authorized("kms:GenerateDataKey"));
    allow(&world, &["kms:GenerateDataKey"], KEY_ARN);
    let stored = put(&client, Some(KEY_ARN)).send().await.expect("allowed");
    assert_eq!(stored.ssekms_key_id(), Some(KEY_ARN));
    let head = world.owner().head_object().bucket(BUCKET).key("k");
    let head = head.send().await.expect("head");
    assert_eq!(
        (head.server_side_encryption(), head.ssekms_key_id()),
        (Some(&ServerSideEncryption::AwsKms), Some(KEY_ARN))
    );
    // Reading it needs the other permission.
    let get = || client.get_object().bucket(BUCKET).key("k").send();
    assert_eq!(refusal(get().await), not_authorized("kms:Decrypt"));
    allow(&world, &["kms:Decrypt"], KEY_ARN);
    assert_eq!(get().await.expect("allowed").ssekms_key_id(), Some(KEY_ARN));

    put(&client, None)
        .send()
        .await
        .expect("no key, no permission");
    let writes = world.server.write_log();
    let keys: Vec<_> = writes
        .iter()
        .map(|one| one.kms_key_arn.as_deref())
        .collect();
    assert_eq!(keys, [Some(KEY_ARN), None]);
}

#[tokio::test]
async fn an_upload_in_parts_needs_both_permissions() {
    let (world, client) = start().await;
    allow(&world, &["kms:Decrypt"], KEY_ARN);
    let refused = refusal(create(&client).send().await);
    assert_eq!(refused, not_authorized("kms:GenerateDataKey"));

    allow(&world, &["kms:GenerateDataKey"], KEY_ARN);
    let made = create(&client).send().await.expect("allowed");
    assert_eq!(made.ssekms_key_id(), Some(KEY_ARN));
    let id = made.upload_id.expect("an id");
    let refused = refusal(part(&client, &id).send().await);
    assert_eq!(refused, not_authorized("kms:Decrypt"));

    allow(&world, &["kms:GenerateDataKey", "kms:Decrypt"], KEY_ARN);
    let sent = part(&client, &id).send().await.expect("allowed");
    let done = CompletedPart::builder().part_number(1);
    let done = done.set_e_tag(sent.e_tag).build();
    let list = CompletedMultipartUpload::builder().parts(done).build();
    let complete = || {
        let call = client.complete_multipart_upload().bucket(BUCKET).key("m");
        call.upload_id(&id).multipart_upload(list.clone()).send()
    };
    allow(&world, &["kms:GenerateDataKey"], KEY_ARN);
    assert_eq!(refusal(complete().await), not_authorized("kms:Decrypt"));
    allow(&world, &["kms:*"], KEY_ARN);
    let whole = complete().await.expect("allowed");
    assert_eq!(whole.ssekms_key_id(), Some(KEY_ARN));
    let writes = world.server.write_log();
    assert_eq!(writes[0].kms_key_arn.as_deref(), Some(KEY_ARN));
}

#[tokio::test]
async fn keys_that_cannot_be_used() {
    let (world, client) = start().await;
    allow(&world, &["kms:*"], "*");
    let not_found = |message: &str| {
        let code = "KMS.NotFoundException".to_owned();
        (400, code, message.to_owned())
    };
    let far = "arn:aws:kms:us-east-1:222222222222:key/1";
    let refused_far = refusal(put(&client, Some(far)).send().await);
    assert_eq!(refused_far, not_found("Invalid arn us-east-1"));
    let missing = "arn:aws:kms:eu-central-1:222222222222:key/9";
    let refused_missing = refusal(put(&client, Some(missing)).send().await);
    let message = format!("Key '{missing}' does not exist");
    assert_eq!(refused_missing, not_found(&message));
    let without = put(&client, None).ssekms_key_id(KEY_ARN).send().await;
    assert_eq!(refused(without), is(400, "InvalidArgument"));

    let change = world.server.update(|state| state.keys[0].disabled = true);
    change.expect("a good state");
    let disabled = put(&client, Some(KEY_ARN)).send().await;
    assert_eq!(refused(disabled), is(400, "KMS.DisabledException"));

    // A key of another account has to allow it itself.
    let foreign = || put(&client, Some(FOREIGN_ARN)).send();
    let (status, code, message) = refusal(foreign().await);
    assert_eq!((status, code), is(403, "AccessDenied"));
    assert!(
        message.contains("no resource-based policies allow"),
        "{message}"
    );
    let policy = json!({"Statement": {
        "Effect": "Allow",
        "Principal": {"AWS": OPEN_ROLE},
        "Action": "kms:GenerateDataKey",
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}},
    }});
    let policy = serde_json::from_value(policy).expect("a policy");
    let change = world
        .server
        .update(|state| state.keys[2].policy = Some(policy));
    change.expect("a good state");
    foreign().await.expect("both policies allow it");
    assert_eq!(world.server.write_log().len(), 1);
}

#[tokio::test]
async fn a_bucket_has_a_key_of_its_own_or_demands_one() {
    let (world, client) = start().await;
    let own_key = |state: &mut local_aws::State| {
        state.buckets[0].kms_key_arn = Some(KEY_ARN.to_owned());
    };
    world.server.update(own_key).expect("a good state");
    let refused = refusal(put(&client, None).send().await);
    assert_eq!(refused, not_authorized("kms:GenerateDataKey"));
    allow(&world, &["kms:*"], "*");
    let stored = put(&client, None).send().await.expect("allowed");
    assert_eq!(stored.ssekms_key_id(), Some(KEY_ARN));
    let stored = put(&client, Some(OTHER_ARN)).send().await;
    assert_eq!(stored.expect("allowed").ssekms_key_id(), Some(OTHER_ARN));

    world.server.update(demand).expect("a good state");
    for key in [None, Some(OTHER_ARN)] {
        let (status, _, message) = refusal(put(&client, key).send().await);
        assert_eq!(status, 403, "{key:?}");
        assert!(message.contains("explicit deny in a resource"), "{message}");
    }
    put(&client, Some(KEY_ARN))
        .send()
        .await
        .expect("the right key");
    // Parts do not name the key again.
    let made = create(&client).send().await.expect("the right key");
    let id = made.upload_id.expect("an id");
    part(&client, &id).send().await.expect("the upload's key");
}

/// The bucket policy that AWS's documentation shows.
fn demand(state: &mut local_aws::State) {
    let policy: Value = json!({"Statement": {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
        "Condition": {
            "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY_ARN},
        },
    }});
    state.buckets[0].policy = Some(serde_json::from_value(policy).expect("a policy"));
}
