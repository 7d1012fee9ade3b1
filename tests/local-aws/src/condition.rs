//! The Condition element of policies: the operators and keys that are understood. See
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>.

use std::collections::BTreeMap;

use crate::policy::matches;

/// Keys that this server fills in when a request has them. A key outside this list might be set by
/// the real AWS, so a condition on it cannot be judged.
const KNOWN_KEYS: [&str; 14] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:requestedregion",
    "aws:resourceaccount",
    "aws:securetransport",
    "kms:viaservice",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:max-keys",
    "s3:prefix",
    "s3:resourceaccount",
    "sts:externalid",
    "sts:rolesessionname",
];

/// Headers become keys of their own: `s3:x-amz-acl`.
const HEADER_KEYS: &str = "s3:x-amz-";

/// The condition keys of one request. Names are case-insensitive, values are not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context(BTreeMap<String, String>);

impl Context {
    /// Sets a key; `None` leaves it absent, which is not the same as empty.
    pub(crate) fn set(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(key.to_ascii_lowercase(), value.to_owned());
        }
    }
}

/// Whether the condition holds; `None` if operator or key is not understood.
pub(crate) fn holds(
    operator: &str,
    key: &str,
    wanted: &[String],
    context: &Context,
) -> Option<bool> {
    let key = key.to_ascii_lowercase();
    if !KNOWN_KEYS.contains(&key.as_str()) && !key.starts_with(HEADER_KEYS) {
        return None;
    }
    let value = context.0.get(&key).map(String::as_str);
    if operator == "Null" {
        let absent = if value.is_none() { "true" } else { "false" };
        return Some(wanted.iter().any(|want| want.eq_ignore_ascii_case(absent)));
    }
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let any = |fits: fn(&str, &str) -> bool| {
        value.map(|value| wanted.iter().any(|want| fits(want, value)))
    };
    // An absent key fits no positive operator and every negative one.
    let (found, when_absent) = match operator {
        "StringEquals" => (any(|want, value| want == value), false),
        "StringNotEquals" => (any(|want, value| want == value).map(|fits| !fits), true),
        "StringEqualsIgnoreCase" => (
            any(|want, value| want.to_lowercase() == value.to_lowercase()),
            false,
        ),
        "StringNotEqualsIgnoreCase" => (
            any(|want, value| want.to_lowercase() == value.to_lowercase()).map(|fits| !fits),
            true,
        ),
        "StringLike" | "ArnLike" | "ArnEquals" => (any(matches), false),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (any(matches).map(|fits| !fits), true),
        "Bool" => (any(|want, value| want.eq_ignore_ascii_case(value)), false),
        _ => return None,
    };
    Some(found.unwrap_or(when_absent || if_exists))
}
