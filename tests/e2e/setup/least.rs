//! Whether the role may do what it has to, and nothing else: by our own server, which enforces policies.

use aws_sdk_s3::{
    Client, config::Credentials, error::ProvideErrorMetadata, primitives::ByteStream,
};
use harness::{
    Customer, Org, World, attacks,
    world::{REGION, sdk_config},
};
use serde_json::{Value, json};

use super::{HOSTILE_PREFIX, ask};

/// Takes an action from whichever statement allows it.
fn without(policy: &Value, action: &str) -> Value {
    let mut policy = policy.clone();
    let mut taken = 0;
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in statements.iter_mut() {
        let actions = statement["Action"].as_array_mut().unwrap();
        let before = actions.len();
        actions.retain(|allowed| allowed != action);
        taken += before - actions.len();
    }
    statements.retain(|statement| statement["Action"] != json!([]));
    assert_eq!(taken, 1, "{action} in {policy}");
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_is_needed_and_together_they_are_enough() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let key = customer.add_key();
    let query = [
        ("bucket", customer.bucket_name.as_str()),
        ("region", REGION),
        ("prefix", HOSTILE_PREFIX),
        ("kmsKeyArn", &key),
    ];
    let setup = ask(&acme, &query).await.expect(200);
    customer.set_trust(setup["trustPolicy"].clone());
    let policy = &setup["permissionsPolicy"];
    let settings = customer.settings_with(json!({"prefix": HOSTILE_PREFIX, "kmsKeyArn": key}));
    let test = async |policy: Value| {
        customer.set_policy(policy);
        acme.test_of(settings.clone()).await.expect(200)
    };

    let result = test(policy.clone()).await;
    assert_eq!(result["success"], true, "{result}");
    assert_eq!(result["warning"], Value::Null, "{result}");
    assert_eq!(customer.bucket().keys(), [""; 0]);
    for (action, stage) in [
        ("s3:PutObject", "put_object"),
        ("kms:GenerateDataKey", "put_object"),
        ("kms:Decrypt", "multipart_upload"),
    ] {
        let result = test(without(policy, action)).await;
        assert_eq!(result["success"], false, "{action}: {result}");
        let stages = result["stages"].as_array().unwrap();
        let failed = stages.iter().find(|stage| stage["success"] == false);
        assert_eq!(failed.unwrap()["name"], stage, "{action}: {result}");
    }
    let result = test(without(policy, "s3:DeleteObject")).await;
    assert_eq!(result["success"], true, "{result}");
    assert!(
        result["warning"]
            .as_str()
            .unwrap()
            .contains("may not delete"),
        "{result}"
    );

    // What is there for the end of uploads that a crash has left, no test shows.
    customer.set_policy(policy.clone());
    let role = role_of(&world, &acme, &customer).await;
    let object = format!("{HOSTILE_PREFIX}/object");
    let upload = role.begin(&object).await;
    assert!(role.finds(&upload).await);
    customer.set_policy(without(policy, "s3:ListBucketMultipartUploads"));
    assert!(!role.finds(&upload).await);
    customer.set_policy(without(policy, "s3:AbortMultipartUpload"));
    assert!(!role.ends(&object, &upload).await);
    customer.set_policy(policy.clone());
    assert!(role.ends(&object, &upload).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_may_do_nothing_else() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let bucket = customer.bucket_name.as_str();
    let query = [("bucket", bucket), ("region", REGION), ("prefix", "a*/b")];
    let setup = ask(&acme, &query).await.expect(200);
    customer.set_trust(setup["trustPolicy"].clone());
    customer.set_policy(setup["permissionsPolicy"].clone());
    let role = role_of(&world, &acme, &customer).await;

    assert!(role.puts("a*/b/object").await && role.puts("a*/b/audit-export-test/1").await);
    assert!(role.deletes("a*/b/audit-export-test/1").await);
    for elsewhere in [
        "object",
        "a/b/object",
        "ax/b/object",
        "a*/b",
        "a*/bc/object",
    ] {
        assert!(!role.puts(elsewhere).await, "{elsewhere}");
    }
    for other in [
        "a*/b/object",
        "ax/b/audit-export-test/1",
        "audit-export-test/1",
    ] {
        assert!(!role.deletes(other).await, "{other}");
    }
    assert!(!role.reads("a*/b/object").await && !role.lists().await);
    attacks::record(
        "too much power",
        "reading, listing, deleting what was delivered, or writing beside the prefix, by the role of setup",
        "S3 refuses: the policy allows none of it",
    );
}

/// What can be done as the role.
struct Role {
    s3: Client,
    bucket: String,
}

/// Assumes the role as the exporter does.
async fn role_of(world: &World, org: &Org<'_>, customer: &Customer) -> Role {
    let service = sdk_config(&world.aws.endpoint());
    let assume = aws_sdk_sts::Client::new(&service).assume_role();
    let assumed = assume
        .role_arn(&customer.role_arn)
        .external_id(org.external_id())
        .role_session_name("least")
        .send()
        .await;
    let session = assumed.unwrap().credentials.unwrap();
    let (id, secret) = (session.access_key_id, session.secret_access_key);
    let credentials = Credentials::new(id, secret, Some(session.session_token), None, "tests");
    let config = aws_sdk_s3::config::Builder::from(&service)
        .credentials_provider(credentials)
        .force_path_style(true)
        .build();
    Role {
        s3: Client::from_conf(config),
        bucket: customer.bucket_name.clone(),
    }
}

/// True where it was done, false where it was denied; nothing else may have happened.
fn done<T, E: ProvideErrorMetadata + std::fmt::Debug>(result: Result<T, E>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code(), Some("AccessDenied"), "{error:?}");
            false
        }
    }
}

impl Role {
    async fn puts(&self, key: &str) -> bool {
        let put = self.s3.put_object().bucket(&self.bucket).key(key);
        done(put.body(ByteStream::from_static(b"x")).send().await)
    }

    async fn deletes(&self, key: &str) -> bool {
        let delete = self.s3.delete_object().bucket(&self.bucket).key(key);
        done(delete.send().await)
    }

    async fn reads(&self, key: &str) -> bool {
        done(
            self.s3
                .get_object()
                .bucket(&self.bucket)
                .key(key)
                .send()
                .await,
        )
    }

    async fn lists(&self) -> bool {
        done(self.s3.list_objects_v2().bucket(&self.bucket).send().await)
    }

    async fn begin(&self, key: &str) -> String {
        let begin = self
            .s3
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key);
        begin.send().await.unwrap().upload_id.unwrap()
    }

    async fn finds(&self, upload: &str) -> bool {
        let list = self.s3.list_multipart_uploads().bucket(&self.bucket);
        let found = list.send().await;
        if let Ok(found) = &found {
            let mut ids = found.uploads().iter().map(|open| open.upload_id());
            assert!(ids.any(|id| id == Some(upload)), "{found:?}");
        }
        done(found)
    }

    async fn ends(&self, key: &str, upload: &str) -> bool {
        let end = self
            .s3
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(key);
        done(end.upload_id(upload).send().await)
    }
}
