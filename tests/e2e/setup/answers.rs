//! What is asked, and what is answered.

use harness::{World, attacks, world::PRINCIPAL_ARN};
use serde_json::{Value, json};

use super::{BUCKET, HOSTILE_PREFIX, KEY, REGION, ask};

fn allow(sid: &str, actions: &[&str], resource: &str) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource})
}

/// The permissions for a bucket, and for what its keys begin with, as a policy says that.
fn permissions(bucket: &str, folder: &str, key: Option<&str>) -> Value {
    let tests = format!("{folder}/audit-export-test/*");
    let objects = ["s3:PutObject", "s3:AbortMultipartUpload"];
    let mut statements = vec![
        allow("WriteObjects", &objects, &format!("{folder}/*")),
        allow(
            "FindUnfinishedUploads",
            &["s3:ListBucketMultipartUploads"],
            bucket,
        ),
        allow("RemoveWhatTestsWrote", &["s3:DeleteObject"], &tests),
    ];
    statements.extend(key.map(|key| {
        let actions = ["kms:GenerateDataKey", "kms:Decrypt"];
        allow("EncryptObjects", &actions, key)
    }));
    json!({"Version": "2012-10-17", "Statement": statements})
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_of_this_organisation_and_of_what_is_asked_for() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "AssumedForThisOrganisation",
        "Effect": "Allow",
        "Principal": {"AWS": PRINCIPAL_ARN},
        "Action": ["sts:AssumeRole"],
        "Condition": {"StringEquals": {"sts:ExternalId": acme.external_id()}},
    }]});
    let bucket = "arn:aws:s3:::acme-audit-logs";
    let folder = |folder: &str| format!("{bucket}/{folder}");
    for (query, folder, key) in [
        (&[][..], bucket.to_owned(), None),
        (&[("prefix", "")], bucket.to_owned(), None),
        (&[("prefix", "/audit/logs/")], folder("audit/logs"), None),
        (
            &[("prefix", HOSTILE_PREFIX), ("kmsKeyArn", KEY)],
            folder("it's${*}/'(!)='/${*}${*}/_.-/'"),
            Some(KEY),
        ),
    ] {
        let query = [&[BUCKET, REGION], query].concat();
        let setup = ask(&acme, &query).await.expect(200);
        assert_eq!(setup["externalId"], acme.external_id());
        assert_eq!(setup["principalArn"], PRINCIPAL_ARN);
        assert_eq!(setup["trustPolicy"], trust);
        assert_eq!(
            setup["permissionsPolicy"],
            permissions(bucket, &folder, key)
        );
        for text in ["awsCli", "cloudFormation", "terraform"] {
            let text = setup[text].as_str().unwrap();
            assert!(
                text.contains("audit-export") && !text.contains("{{"),
                "{text}"
            );
        }
    }

    let advice = |setup: &Value| setup["advice"].to_string();
    let plain = ask(&acme, &[BUCKET, REGION]).await.expect(200);
    assert!(advice(&plain).contains("aborts incomplete multipart uploads"));
    assert!(advice(&plain).contains("ask again with kmsKeyArn"));
    let owner = ("bucketOwner", "210987654321");
    let query = [
        BUCKET,
        REGION,
        owner,
        ("kmsKeyArn", KEY),
        ("roleName", "our+role"),
    ];
    let central = ask(&acme, &query).await.expect(200);
    assert!(advice(&central).contains("has to allow the role our+role"));
    assert!(advice(&central).contains(&format!("The policy of the key {KEY}")));
    assert!(
        central["awsCli"]
            .as_str()
            .unwrap()
            .contains("role_name='our+role'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_as_configured_and_the_role_is_not_told() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let role = "arn:aws:iam::210987654321:role/secret/path/our-very-own-name";
    world.api.must_never_show(role);
    world.api.must_never_show("our-very-own-name");
    let config = json!({
        "bucket": "acme-configured",
        "region": "eu-central-1",
        "prefix": "audit",
        "roleArn": role,
        "kmsKeyArn": KEY,
        "bucketOwner": "333333333333",
        "enabled": false,
    });
    acme.save(config).await.expect(201);
    let bucket = "arn:aws:s3:::acme-configured";

    let setup = ask(&acme, &[]).await.expect(200);
    let configured = permissions(bucket, &format!("{bucket}/audit"), Some(KEY));
    assert_eq!(setup["permissionsPolicy"], configured);
    assert!(setup["advice"].to_string().contains("account 333333333333"));
    assert!(
        setup["awsCli"]
            .as_str()
            .unwrap()
            .contains("role_name='audit-export'")
    );

    let none = [("prefix", ""), ("kmsKeyArn", ""), ("bucketOwner", "")];
    let setup = ask(&acme, &none).await.expect(200);
    assert_eq!(
        setup["permissionsPolicy"],
        permissions(bucket, bucket, None)
    );
    assert!(!setup["advice"].to_string().contains("333333333333"));

    let setup = ask(&acme, &[("bucket", "another")]).await.expect(200);
    let another = "arn:aws:s3:::another";
    let asked_for = permissions(another, &format!("{another}/audit"), Some(KEY));
    assert_eq!(setup["permissionsPolicy"], asked_for);
    // A key that the configuration names is of its region.
    let elsewhere = ask(&acme, &[("region", "eu-west-1")]).await;
    assert_eq!(
        elsewhere.expect_error(422, "invalid_request")["field"],
        "kmsKeyArn"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_by_its_name() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    for (query, field) in [
        (&[][..], "bucket"),
        (&[REGION], "bucket"),
        (&[BUCKET], "region"),
        (&[BUCKET, ("region", "moon")], "region"),
        (&[("bucket", "a"), REGION], "bucket"),
        (&[BUCKET, ("region", "cn-north-1")], "region"),
        (&[BUCKET, REGION, ("bucketOwner", "1")], "bucketOwner"),
        (&[BUCKET, REGION, ("kmsKeyArn", "alias/a")], "kmsKeyArn"),
        (
            &[BUCKET, ("region", "eu-west-1"), ("kmsKeyArn", KEY)],
            "kmsKeyArn",
        ),
        (&[BUCKET, REGION, ("roleName", "")], "roleName"),
        (&[BUCKET, REGION, ("roleName", "path/role")], "roleName"),
    ] {
        let refused = ask(&acme, query).await.expect_error(422, "invalid_request");
        assert_eq!(refused["field"], field, "{query:?}: {refused}");
    }
    let nothing = ask(&acme, &[]).await.expect_error(422, "invalid_request");
    let sentence = nothing["error"].as_str().unwrap();
    assert!(
        sentence.contains("there is no configuration yet"),
        "{sentence}"
    );
    for query in [&[("bucketName", "a")][..], &[BUCKET, BUCKET]] {
        let refused = ask(&acme, query).await.expect_error(422, "invalid_request");
        assert_eq!(refused["field"], Value::Null, "{refused}");
    }

    for hostile in [
        "'; id; '",
        "$(id)",
        "`id`",
        "a\nb",
        "\"",
        "\\",
        "${aws:username}",
        "%{if}",
        "{{region}}",
        "a?",
        "a: b",
        "#",
        "POLICY\n",
        "\u{0}",
    ] {
        for field in [
            "prefix",
            "roleName",
            "bucket",
            "region",
            "bucketOwner",
            "kmsKeyArn",
        ] {
            let good: Vec<_> = [BUCKET, REGION]
                .into_iter()
                .filter(|(name, _)| *name != field)
                .collect();
            let query = [&good[..], &[(field, hostile)]].concat();
            let refused = ask(&acme, &query)
                .await
                .expect_error(422, "invalid_request");
            assert_eq!(refused["field"], field, "{hostile:?}: {refused}");
        }
    }
    attacks::record(
        "injection",
        "quotes, expansions and line ends in what setup puts into scripts and templates",
        "422 with the field; nothing is rendered",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_exporters_identity_the_operator_is_named() {
    let world = World::start_with(|config| config.principal_arn = None).await;
    let acme = world.org("acme").await;
    let refused = ask(&acme, &[BUCKET, REGION]).await;
    let refused = refused.expect_error(409, "principal_not_configured");
    let sentence = refused["error"].as_str().unwrap();
    assert!(
        sentence.contains("AUDIT_EXPORT_PRINCIPAL_ARN"),
        "{sentence}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arns_are_of_the_regions_partition() {
    for (partition, region) in [
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-cn", "cn-northwest-1"),
    ] {
        let principal = format!("arn:{partition}:iam::111111111111:role/audit-export");
        let identity = principal.parse().unwrap();
        let world = World::start_with(|config| config.principal_arn = Some(identity)).await;
        let acme = world.org("acme").await;
        let setup = ask(&acme, &[BUCKET, ("region", region)]).await.expect(200);
        let bucket = format!("arn:{partition}:s3:::acme-audit-logs");
        assert_eq!(
            setup["permissionsPolicy"],
            permissions(&bucket, &bucket, None)
        );
        assert_eq!(
            setup["trustPolicy"]["Statement"][0]["Principal"]["AWS"],
            principal
        );
        let script = setup["awsCli"].as_str().unwrap();
        assert!(
            script.contains(&format!("AWS_REGION='{region}'")),
            "{script}"
        );
        let elsewhere = ask(&acme, &[BUCKET, REGION]).await;
        assert_eq!(
            elsewhere.expect_error(422, "invalid_request")["field"],
            "region"
        );
    }
}
