//! Evaluation of policies: each test is a customer's document and a question.

use serde_json::{Value, json};

use super::{Decision, Document, Question, matches};
use crate::condition::Context;

const USER: &str = "arn:aws:iam::111111111111:user/audit-export";

fn document(value: Value) -> Document {
    serde_json::from_value(value).expect("a policy document")
}

fn trusts(document: &Document, caller: &str, external_id: Option<&str>) -> bool {
    let account = crate::state::account_of(caller);
    let principals = [
        caller.to_owned(),
        account.to_owned(),
        format!("arn:aws:iam::{account}:root"),
    ];
    let mut context = Context::default();
    context.set("sts:ExternalId", external_id);
    let question = Question {
        action: "sts:AssumeRole",
        resource: None,
        principals: &principals,
        context: &context,
    };
    document.decide(&question) == Decision::Allowed
}

fn permits(document: &Document, action: &str, resource: &str) -> Decision {
    permits_in(document, action, resource, &Context::default())
}

fn permits_in(document: &Document, action: &str, resource: &str, context: &Context) -> Decision {
    document.decide(&Question {
        action,
        resource: Some(resource),
        principals: &[],
        context,
    })
}

fn trust(principal: Value, condition: Value) -> Document {
    document(json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition,
    }]}))
}

#[test]
fn external_id_must_be_there_and_equal() {
    let policy = trust(
        json!({"AWS": USER}),
        json!({"StringEquals": {"sts:ExternalId": "id-1"}}),
    );
    assert!(trusts(&policy, USER, Some("id-1")));
    assert!(!trusts(&policy, USER, Some("id-2")));
    assert!(!trusts(&policy, USER, Some("ID-1")));
    assert!(!trusts(&policy, USER, None));
}

#[test]
fn one_of_several_external_ids_is_enough() {
    let ids = json!({"StringEquals": {"STS:externalid": ["id-1", "id-2"]}});
    let policy = trust(json!({"AWS": [USER]}), ids);
    assert!(trusts(&policy, USER, Some("id-2")));
    assert!(!trusts(&policy, USER, Some("id-3")));
}

#[test]
fn no_condition_takes_any_external_id() {
    let policy = trust(json!({"AWS": USER}), json!({}));
    assert!(trusts(&policy, USER, None));
    assert!(trusts(&policy, USER, Some("whatever")));
}

#[test]
fn principals_are_compared_whole() {
    for (principal, trusted) in [
        (json!({"AWS": "arn:aws:iam::111111111111:root"}), true),
        (json!({"AWS": "111111111111"}), true),
        (json!({"AWS": "*"}), true),
        (json!("*"), true),
        (
            json!({"AWS": "arn:aws:iam::111111111111:user/other"}),
            false,
        ),
        (json!({"AWS": "arn:aws:iam::111111111111:user/*"}), false),
        (json!({"AWS": "arn:aws:iam::333333333333:root"}), false),
        (json!({"Service": "ec2.amazonaws.com"}), false),
    ] {
        assert_eq!(
            trusts(&trust(principal.clone(), json!({})), USER, None),
            trusted,
            "{principal}"
        );
    }
}

#[test]
fn conditions_not_understood_never_allow_and_never_spare() {
    let odd = [
        json!({"StringFoo": {"sts:ExternalId": "id"}}),
        json!({"ForAnyValue:StringEquals": {"sts:ExternalId": "id"}}),
        json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}),
    ];
    for condition in odd {
        let allow = trust(json!({"AWS": USER}), condition.clone());
        assert!(!trusts(&allow, USER, Some("id")), "{condition}");
        let deny = document(json!({"Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition},
        ]}));
        assert_eq!(
            permits(&deny, "s3:PutObject", "arn:aws:s3:::b/k"),
            Decision::Denied
        );
        assert_eq!(
            permits(&deny, "s3:GetObject", "arn:aws:s3:::b/k"),
            Decision::Allowed
        );
    }
}

#[test]
fn operators() {
    let mut context = Context::default();
    context.set("s3:prefix", Some("audit/2026"));
    let with = |condition: Value| {
        let policy = document(json!({"Statement": {
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b", "Condition": condition,
        }}));
        permits_in(&policy, "s3:ListBucket", "arn:aws:s3:::b", &context) == Decision::Allowed
    };
    assert!(with(
        json!({"StringLike": {"s3:prefix": ["other/*", "audit/*"]}})
    ));
    assert!(!with(json!({"StringLike": {"s3:prefix": "other/*"}})));
    assert!(!with(json!({"StringNotLike": {"s3:prefix": "audit/*"}})));
    assert!(with(json!({"StringNotEquals": {"s3:prefix": "audit/"}})));
    assert!(with(json!({"StringEqualsIfExists": {"s3:delimiter": "/"}})));
    assert!(!with(json!({"StringEquals": {"s3:delimiter": "/"}})));
    assert!(with(json!({"Null": {"s3:delimiter": true}})));
    assert!(!with(json!({"Null": {"s3:prefix": "true"}})));
    assert!(!with(json!({"Bool": {"aws:SecureTransport": "true"}})));
    // Two conditions: both must hold.
    assert!(!with(
        json!({"StringLike": {"s3:prefix": "audit/*"}, "Null": {"s3:prefix": "true"}})
    ));
}

#[test]
fn actions_and_resources_with_wildcards() {
    let policy = document(json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Write", "Effect": "Allow", "Action": ["s3:PutObject", "s3:Abort*"],
         "Resource": "arn:aws:s3:::acme-audit/audit/*"},
        {"Effect": "Allow", "Action": "s3:ListBucketMultipartUploads", "Resource": ["arn:aws:s3:::acme-audit"]},
    ]}));
    let object = "arn:aws:s3:::acme-audit/audit/a/b.gz";
    assert_eq!(permits(&policy, "s3:PutObject", object), Decision::Allowed);
    assert_eq!(
        permits(&policy, "s3:AbortMultipartUpload", object),
        Decision::Allowed
    );
    assert_eq!(
        permits(&policy, "s3:GetObject", object),
        Decision::NotAllowed
    );
    assert_eq!(
        permits(&policy, "s3:PutObject", "arn:aws:s3:::acme-audit/other/x"),
        Decision::NotAllowed
    );
    assert_eq!(
        permits(&policy, "s3:PutObject", "arn:aws:s3:::ACME-audit/audit/x"),
        Decision::NotAllowed
    );
    assert_eq!(
        permits(&policy, "s3:PutObjectTagging", object),
        Decision::NotAllowed
    );
    assert_eq!(
        permits(
            &policy,
            "s3:ListBucketMultipartUploads",
            "arn:aws:s3:::acme-audit"
        ),
        Decision::Allowed
    );
}

#[test]
fn deny_wins_whatever_the_order() {
    let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let deny = json!({"Effect": "Deny", "Action": "s3:delete*", "Resource": "*"});
    for statements in [json!([allow, deny]), json!([deny, allow])] {
        let policy = document(json!({"Statement": statements}));
        assert_eq!(
            permits(&policy, "s3:DeleteObject", "arn:aws:s3:::b/k"),
            Decision::Denied
        );
        assert_eq!(
            permits(&policy, "s3:PutObject", "arn:aws:s3:::b/k"),
            Decision::Allowed
        );
    }
}

#[test]
fn wildcards() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("*", "a/b", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*ab", "aab", true),
        ("", "a", false),
        ("a**", "a", true),
        ("a${*}c", "a*c", true),
        ("a${*}c", "abc", false),
        ("${*}*", "*b", true),
        ("a${?}${$}", "a?$", true),
        ("a${?}", "ab", false),
        ("${b}", "${b}", true),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let error = serde_json::from_value::<Document>(json!({"Statement": [
        {"Effect": "Allow", "NotAction": "s3:*", "Action": "*", "Resource": "*"},
    ]}))
    .expect_err("NotAction is not supported");
    assert!(error.to_string().contains("NotAction"), "{error}");
    let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]});
    assert!(document(trust).check_trust().is_err());
    let permission = json!({"Statement": [{"Effect": "Allow", "Action": "s3:*"}]});
    assert!(document(permission).check_permissions().is_err());
}
