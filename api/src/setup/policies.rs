//! The two policies of a customer's role: who may assume it, and what it may do.

use serde::Serialize;
use serde_json::{Value, json};

use super::Setup;

/// The version of the policy language; an older one has no variables, [`literal`] among them.
const VERSION: &str = "2012-10-17";

/// A policy. The members are in the order in which people write them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

impl Policy {
    /// As JSON, indented.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and lists of them")
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// Lets the exporter assume the role, where it does so for this organisation.
pub fn trust(setup: &Setup) -> Policy {
    let assume = Statement {
        sid: "AssumedForThisOrganisation",
        effect: "Allow",
        principal: Some(json!({"AWS": setup.principal.as_str()})),
        action: vec!["sts:AssumeRole"],
        resource: None,
        condition: Some(json!({"StringEquals": {"sts:ExternalId": setup.external_id}})),
    };
    policy(vec![assume])
}

/// Lets the role do what an export and its test do, and nothing else. It cannot read, nor delete what
/// it has delivered.
pub fn permissions(setup: &Setup) -> Policy {
    let partition = setup.region.partition();
    let bucket = format!("arn:{partition}:s3:::{}", setup.bucket);
    let folder = match setup.prefix.as_str() {
        "" => bucket.clone(),
        prefix => format!("{bucket}/{}", literal(prefix)),
    };
    let objects = format!("{folder}/*");
    let tests = format!("{folder}/audit-export-test/*");
    let mut statements = vec![
        allow(
            "WriteObjects",
            vec!["s3:PutObject", "s3:AbortMultipartUpload"],
            objects,
        ),
        allow(
            "FindUnfinishedUploads",
            vec!["s3:ListBucketMultipartUploads"],
            bucket,
        ),
        allow("RemoveWhatTestsWrote", vec!["s3:DeleteObject"], tests),
    ];
    if let Some(key) = &setup.kms_key_arn {
        let actions = vec!["kms:GenerateDataKey", "kms:Decrypt"];
        statements.push(allow("EncryptObjects", actions, key.to_string()));
    }
    policy(statements)
}

fn policy(statement: Vec<Statement>) -> Policy {
    Policy {
        version: VERSION,
        statement,
    }
}

fn allow(sid: &'static str, action: Vec<&'static str>, resource: String) -> Statement {
    Statement {
        sid,
        effect: "Allow",
        principal: None,
        action,
        resource: Some(resource),
        condition: None,
    }
}

/// A part of a resource's ARN in which nothing is a wildcard or the beginning of a variable: see
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '$' => literal.extend(['$', '{', c, '}']),
            c => literal.push(c),
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_literal_is_a_wildcard() {
        assert_eq!(literal("a/b_!.'()=-c"), "a/b_!.'()=-c");
        assert_eq!(literal("**/a?"), "${*}${*}/a${?}");
        assert_eq!(literal("${aws:username}"), "${$}{aws:username}");
    }
}
