//! Whose bucket it is: the owner that requests expect, and bucket policies.

use aws_sdk_s3::Client;
use local_aws::Bucket;
use serde_json::{Value, json};

use crate::world::{BUCKET, FOREIGN_ROLE, OPEN_ROLE, ROLE, World, body, is, refusal, refused};

const OWNER_ACCOUNT: &str = "222222222222";
const KEY: &str = "audit/k";

/// Every operation there is on a bucket, with this owner, and its status and code. Some name an upload
/// that does not exist.
async fn every_operation(client: &Client, owner: &str) -> Vec<(&'static str, (u16, String))> {
    let mut seen = Vec::new();
    macro_rules! ask {
        ($name:ident $(, $method:ident($value:expr))*) => {{
            let call = client.$name().bucket(BUCKET)$(.$method($value))*;
            let answer = call.expected_bucket_owner(owner).send().await;
            let outcome = match answer {
                Ok(_) => (200, String::new()),
                Err(error) => refused(Err::<(), _>(error)),
            };
            seen.push((stringify!($name), outcome));
        }};
    }
    ask!(put_object, key(KEY), body(body(3)));
    ask!(get_object, key(KEY));
    ask!(head_object, key(KEY));
    ask!(create_multipart_upload, key(KEY));
    ask!(
        upload_part,
        key(KEY),
        upload_id("x"),
        part_number(1),
        body(body(3))
    );
    ask!(complete_multipart_upload, key(KEY), upload_id("x"));
    ask!(abort_multipart_upload, key(KEY), upload_id("x"));
    ask!(list_parts, key(KEY), upload_id("x"));
    ask!(list_multipart_uploads);
    ask!(list_objects_v2);
    ask!(head_bucket);
    ask!(get_bucket_location);
    ask!(delete_object, key(KEY));
    seen
}

#[tokio::test]
async fn every_operation_looks_at_the_expected_owner() {
    let world = World::start().await;
    let client = world.s3(world.session(OPEN_ROLE).await);
    let wrong = "999999999999";
    for (operation, (status, code)) in every_operation(&client, wrong).await {
        assert_eq!(status, 403, "{operation}");
        // The answer to a HEAD has no body.
        let silent = operation.starts_with("head_");
        assert!(silent || code == "AccessDenied", "{operation}: {code}");
    }
    assert!(world.server.write_log().is_empty());
    for (operation, (status, code)) in every_operation(&client, OWNER_ACCOUNT).await {
        assert_ne!(status, 403, "{operation}: {code}");
    }
    let named: Vec<_> = world
        .server
        .calls()
        .into_iter()
        .filter(|call| call.service == "s3")
        .map(|call| call.expected_owner.unwrap_or_default())
        .collect();
    let (before, after) = named.split_at(named.len() / 2);
    assert!(before.iter().all(|owner| owner == wrong), "{named:?}");
    assert!(
        after.iter().all(|owner| owner == OWNER_ACCOUNT),
        "{named:?}"
    );
}

fn allow(principal: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "s3:PutObject",
        "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
    })
}

fn set_policy(world: &World, statements: Value) {
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let policy = serde_json::from_value(policy).expect("a policy");
    let change = world
        .server
        .update(|state| state.buckets[0].policy = Some(policy));
    change.expect("a good state");
}

#[tokio::test]
async fn another_account_needs_both_policies() {
    let world = World::start().await;
    let foreign = world.s3(world.session(FOREIGN_ROLE).await);
    let put = || {
        let call = foreign.put_object().bucket(BUCKET).key(KEY);
        call.body(body(3)).send()
    };
    let denied = (403, "AccessDenied".to_owned(), "Access Denied".to_owned());
    assert_eq!(refusal(put().await), denied);
    set_policy(&world, json!([allow(ROLE)]));
    assert_eq!(refusal(put().await), denied);
    for principal in [
        FOREIGN_ROLE,
        "333333333333",
        "arn:aws:iam::333333333333:root",
    ] {
        set_policy(&world, json!([allow(principal)]));
        put().await.expect("both policies allow it");
    }
    let mut deny = allow("*");
    deny["Effect"] = json!("Deny");
    set_policy(&world, json!([allow(FOREIGN_ROLE), deny]));
    assert_eq!(refusal(put().await), denied);
    // The bucket's owner may say what it likes: the role has to be allowed as well.
    set_policy(&world, json!([allow("*")]));
    put().await.expect("both policies allow it");
    let change = world.server.update(|state| {
        for role in &mut state.roles {
            role.policy.statement[0].action = vec!["s3:GetObject".to_owned()];
        }
    });
    change.expect("a good state");
    let (status, _, message) = refusal(put().await);
    assert_eq!(status, 403);
    assert!(
        message.contains("no identity-based policy allows"),
        "{message}"
    );
}

#[tokio::test]
async fn a_bucket_policy_denies_its_own_accounts_roles() {
    let world = World::start().await;
    let exporter = world.exporter().await;
    let mut deny = allow("*");
    deny["Effect"] = json!("Deny");
    set_policy(&world, json!([deny]));
    let put = exporter.put_object().bucket(BUCKET).key(KEY).body(body(3));
    let (status, code, message) = refusal(put.send().await);
    assert_eq!((status, code), is(403, "AccessDenied"));
    let end = "with an explicit deny in a resource-based policy";
    assert!(message.ends_with(end), "{message}");

    let no_principal = json!({"Statement": {
        "Effect": "Allow", "Action": "s3:*", "Resource": "*",
    }});
    let bad = Bucket {
        policy: Some(serde_json::from_value(no_principal).expect("a document")),
        ..Bucket::new("other", "eu-central-1", OWNER_ACCOUNT)
    };
    let change = world.server.update(|state| state.buckets.push(bad));
    change.expect_err("a bucket policy without principals");
}
