//! Which buckets, regions, roles and prefixes are taken.

use harness::{Org, World, attacks};
use serde_json::{Value, json};

use super::{refused, settings_with};

const GOOD: [(&str, &[&str]); 7] = [
    (
        "bucket",
        &[
            "abc",
            "a.b-c.9",
            "123",
            "acme-audit-log",
            "1.2.3.4.5",
            "a1.2.3.4",
            LONGEST_BUCKET,
        ],
    ),
    (
        "region",
        &[
            "us-east-1",
            "eu-central-1",
            "ap-southeast-7",
            "mx-central-1",
            "ca-west-1",
        ],
    ),
    (
        "roleArn",
        &[
            "arn:aws:iam::123456789012:role/r",
            "arn:aws:iam::000000000000:role/audit-export",
            "arn:aws:iam::123456789012:role/a/path/of/several/parts/audit-export",
            "arn:aws:iam::123456789012:role/A_z0+9=,.@-",
        ],
    ),
    (
        "prefix",
        &[
            "",
            "/",
            "a",
            "a/b/c",
            "/a/",
            "audit_log/2026!/*'()=.-",
            "a..b/.c",
        ],
    ),
    ("bucketOwner", &["", "123456789012", "000000000000"]),
    (
        "kmsKeyArn",
        &[
            "",
            "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ],
    ),
    ("compression", &["gzip", "zstd"]),
];
const LONGEST_BUCKET: &str = "a23456789012345678901234567890123456789012345678901234567890123";

const BAD: [(&str, &[&str]); 7] = [
    (
        "bucket",
        &[
            "",
            "ab",
            "a234567890123456789012345678901234567890123456789012345678901234",
            "Acme-logs",
            "acme_logs",
            "acme logs",
            "äcme-logs",
            "-acme",
            "acme-",
            ".acme",
            "acme.",
            "acme..logs",
            "192.168.5.4",
            "xn--acme",
            "sthree-acme",
            "amzn-s3-demo-acme",
            "acme-s3alias",
            "acme--ol-s3",
            "acme.mrap",
            "acme--x-s3",
            "acme--table-s3",
            "arn:aws:s3:::acme",
            "s3://acme",
            "acme/logs",
            "acme\n",
        ],
    ),
    (
        "region",
        &[
            "",
            "eu",
            "eu-central",
            "eu-central-",
            "eu-central-10",
            "EU-CENTRAL-1",
            "eu_central_1",
            " eu-central-1",
            "eu-central-1a",
            "eu-central-1\n",
            "us-iso-east-1",
            "us-isob-east-1",
            "../etc-1",
            "aws-global",
        ],
    ),
    (
        "roleArn",
        &[
            "",
            "audit-export",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role",
            "arn:aws:iam::12345678901:role/r",
            "arn:aws:iam::1234567890123:role/r",
            "arn:aws:iam::12345678901x:role/r",
            "arn:aws:iam::123456789012:user/r",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam:us-east-1:123456789012:role/r",
            "arn:aws:sts::123456789012:assumed-role/r/session",
            "arn:aws:s3:::bucket",
            "arn:aws-iso:iam::123456789012:role/r",
            "arn:AWS:iam::123456789012:role/r",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/r*",
            "arn:aws:iam::123456789012:role/pa th/r",
            "arn:aws:iam::123456789012:role/rôle",
            "arn:aws:iam::123456789012:role/r\n",
            " arn:aws:iam::123456789012:role/r",
        ],
    ),
    (
        "prefix",
        &[
            "a//b", "//", "a/./b", "../a", "a/..", "a b", "a\\b", "ä", "a?b", "a#b", "a%2Fb",
            "a\n", "a:b",
        ],
    ),
    (
        "bucketOwner",
        &[
            "12345678901",
            "1234567890123",
            "1234-5678-9012",
            "12345678901x",
            " 123456789012",
            "********9012",
            "arn:aws:iam::123456789012:root",
        ],
    ),
    (
        "kmsKeyArn",
        &[
            "alias/audit",
            "arn:aws:kms:eu-central-1:123456789012:alias/audit",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "arn:aws:kms:eu-central-1:123456789012:key/1234",
            "arn:aws:kms:eu-central-1:12345678901:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:iam::123456789012:role/audit-export",
        ],
    ),
    (
        "compression",
        &["", "none", "gz", "GZIP", "zstd ", "zstd:19"],
    ),
];

/// Things with a name like a bucket's, and what an admin is told that they are.
const OTHER_KINDS: [(&str, &str); 12] = [
    (
        "acme-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias",
        "is the alias of an access point",
    ),
    (
        "acme--ol-s3",
        "is the alias of an Object Lambda access point",
    ),
    (
        "mfzwi23gnjvgw.mrap",
        "is the alias of a multi-region access point",
    ),
    ("acme--euc1-az1--x-s3", "is a directory bucket"),
    ("acme--table-s3", "is a table bucket"),
    (
        "arn:aws:s3:eu-central-1:210987654321:accesspoint/acme",
        "is an access point",
    ),
    (
        "arn:aws:s3::210987654321:accesspoint/mfzwi23gnjvgw.mrap",
        "is a multi-region access point",
    ),
    (
        "arn:aws:s3-object-lambda:eu-central-1:210987654321:accesspoint/acme",
        "is an Object Lambda access point",
    ),
    (
        "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
        "is a multi-region access point",
    ),
    (
        "acme-210987654321.s3-accesspoint.eu-central-1.amazonaws.com",
        "is an access point",
    ),
    ("acme.s3.eu-central-1.amazonaws.com", "not a host's"),
    ("arn:aws:s3:::acme", "what follows arn:aws:s3:::"),
];

async fn must_take(org: &Org<'_>, mut settings: Value) {
    settings["enabled"] = json!(false);
    let answer = org.save(settings.clone()).await;
    assert_eq!(answer.status, 201, "{settings}: {}", answer.text);
}

/// By both routes that take settings; returns the sentence.
async fn must_refuse(org: &Org<'_>, settings: Value, field: &str) -> String {
    let mut told = String::new();
    for answer in [
        org.save(settings.clone()).await,
        org.test_of(settings.clone()).await,
    ] {
        assert_eq!(answer.status, 422, "{settings}: {}", answer.text);
        let sentence = refused(&answer, 422, "invalid_request", &json!({"field": field}));
        assert!(sentence.contains(field), "{sentence}");
        told = sentence;
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bucket_is_refused_by_its_kind() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    for (name, kind) in OTHER_KINDS {
        let told = must_refuse(&acme, settings_with(json!({"bucket": name})), "bucket").await;
        assert!(
            told.starts_with("bucket ") && told.contains(kind),
            "{name}: {told}"
        );
        assert!(!told.contains(name), "{told}");
        // What to give instead.
        let instead = ["own name", "name of a general-purpose bucket", "bare name"];
        assert!(instead.iter().any(|part| told.contains(part)), "{told}");
        attacks::record("no bucket of one's own", name, &told);
    }
}

/// A key can be used for buckets of its own region, whichever of the two is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_key_is_not_left_behind_in_its_region() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let key = "arn:aws:kms:eu-central-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    must_take(&acme, settings_with(json!({"kmsKeyArn": key}))).await;
    let moved = json!({"region": "eu-west-1"});
    must_refuse(&acme, settings_with(moved), "kmsKeyArn").await;
    let without = json!({"region": "eu-west-1", "kmsKeyArn": null});
    must_take(&acme, settings_with(without)).await;
    assert_eq!(acme.config().await["kmsKeyArn"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn good_values_are_taken_and_bad_ones_named() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    for (field, values) in BAD {
        for value in values {
            must_refuse(&acme, settings_with(json!({field: value})), field).await;
        }
    }
    for (field, too_long) in [
        ("prefix", "x".repeat(513)),
        ("region", format!("eu-{}-1", "x".repeat(30))),
        (
            "roleArn",
            format!("arn:aws:iam::123456789012:role/{}", "x".repeat(65)),
        ),
        (
            "roleArn",
            format!("arn:aws:iam::123456789012:role/{}/r", "x".repeat(511)),
        ),
    ] {
        must_refuse(&acme, settings_with(json!({field: too_long})), field).await;
    }
    for field in ["bucket", "region", "roleArn"] {
        must_refuse(&acme, settings_with(json!({field: null})), field).await;
    }
    let none = acme.ask("GET", "/audit-export/config").send().await;
    none.expect_error(404, "not_configured");

    for (field, values) in GOOD {
        for value in values {
            must_take(&acme, settings_with(json!({field: value}))).await;
        }
    }
    for (field, longest) in [
        ("prefix", "x".repeat(512)),
        (
            "roleArn",
            format!("arn:aws:iam::123456789012:role/{}", "x".repeat(64)),
        ),
    ] {
        must_take(&acme, settings_with(json!({field: longest}))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn region_and_role_are_of_one_partition() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let partitions = [
        ("aws", "eu-west-1"),
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-cn", "cn-northwest-1"),
    ];
    for (partition, _) in partitions {
        let role = format!("arn:{partition}:iam::123456789012:role/exports");
        for (of_region, region) in partitions {
            let settings = settings_with(json!({"region": region, "roleArn": role}));
            if of_region == partition {
                must_take(&acme, settings).await;
                let mask = acme.config().await["roleArnMasked"].clone();
                assert_eq!(mask, format!("arn:{partition}:iam::********9012:role/e…s"));
            } else {
                must_refuse(&acme, settings, "region").await;
            }
        }
    }
    // Nor can a stored role be left behind in its partition.
    let elsewhere = settings_with(json!({"region": "eu-west-1", "roleArn": null}));
    must_refuse(&acme, elsewhere, "region").await;
}
