//! IAM policy documents as customers write them, and their evaluation. Pure; the grammar is that of
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.
//!
//! What is not understood is never skipped: an unknown element makes the document unreadable, and a
//! condition that cannot be judged keeps an Allow from allowing and a Deny from not denying.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::condition::{self, Context};

/// A policy document: the trust policy or the permissions of a role, or the policy of a bucket or key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Document {
    /// `2012-10-17`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A name; means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// One statement or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    pub statement: Vec<Statement>,
}

/// One statement. It matches when all of its parts do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    /// A name; means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What a match means.
    pub effect: Effect,
    /// Whom a trust policy trusts, or whom the policy of a bucket or key means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Actions, `*` and `?` being wildcards.
    #[serde(deserialize_with = "one_or_many")]
    pub action: Vec<String>,
    /// Resources of a permission policy, with the same wildcards.
    #[serde(
        default,
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub resource: Vec<String>,
    /// Operator, then key, then the values of which one must fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<String, BTreeMap<String, Values>>,
}

/// What a matching statement means. A Deny outweighs every Allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The request may go on, unless something denies it.
    Allow,
    /// The request is refused.
    Deny,
}

/// The principal element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Principal {
    /// The text `*`: everybody.
    Text(String),
    /// By kind: `{"AWS": …}` names users, roles and accounts; other kinds match nobody here.
    Kinds(BTreeMap<String, Values>),
}

/// A string or a list of strings. Booleans and numbers are read as their text, as AWS does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Values(pub Vec<String>);

/// What is asked of a document.
pub(crate) struct Question<'a> {
    /// For example `s3:PutObject`.
    pub(crate) action: &'a str,
    /// The ARN; `None` for trust policies, whose resource is the role itself.
    pub(crate) resource: Option<&'a str>,
    /// Every name the caller answers to; a role's permissions do not look at it.
    pub(crate) principals: &'a [String],
    /// The condition keys of the request.
    pub(crate) context: &'a Context,
}

/// The answer of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement says anything: AWS calls it an implicit deny.
    NotAllowed,
    /// A statement denies it.
    Denied,
}

impl Document {
    /// Evaluates the document.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision {
        let mut decision = Decision::NotAllowed;
        for statement in &self.statement {
            if !statement.concerns(question) {
                continue;
            }
            match (
                statement.effect,
                statement.conditions_hold(question.context),
            ) {
                (Effect::Deny, Some(true) | None) => return Decision::Denied,
                (Effect::Allow, Some(true)) => decision = Decision::Allowed,
                (Effect::Deny, Some(false)) | (Effect::Allow, Some(false) | None) => {}
            }
        }
        decision
    }

    /// Whether the document could be a role's trust policy.
    pub(crate) fn check_trust(&self) -> Result<(), String> {
        self.check_version()?;
        for statement in &self.statement {
            if statement.principal.is_none() {
                return Err("a statement has no Principal".into());
            }
            if !statement.resource.is_empty() {
                return Err("a trust policy has no Resource".into());
            }
            if let Some(Principal::Text(text)) = &statement.principal
                && text != "*"
            {
                return Err(format!("Principal {text:?} must be \"*\" or an object"));
            }
        }
        Ok(())
    }

    /// Whether the document could be a role's permission policy.
    pub(crate) fn check_permissions(&self) -> Result<(), String> {
        self.check_version()?;
        for statement in &self.statement {
            if statement.principal.is_some() {
                return Err("a permission policy has no Principal".into());
            }
            if statement.resource.is_empty() {
                return Err("a statement has no Resource".into());
            }
        }
        Ok(())
    }

    /// Whether the document could be the policy of a bucket or a key.
    pub(crate) fn check_resource(&self) -> Result<(), String> {
        self.check_version()?;
        for statement in &self.statement {
            if statement.principal.is_none() || statement.resource.is_empty() {
                return Err("a statement has no Principal or no Resource".into());
            }
        }
        Ok(())
    }

    fn check_version(&self) -> Result<(), String> {
        match self.version.as_deref() {
            None | Some("2012-10-17" | "2008-10-17") => {}
            Some(other) => return Err(format!("Version {other:?} does not exist")),
        }
        if self.statement.is_empty() || self.statement.iter().any(|one| one.action.is_empty()) {
            return Err("statements and actions must not be empty".into());
        }
        Ok(())
    }
}

impl Statement {
    /// Whether principal, action and resource fit.
    fn concerns(&self, question: &Question<'_>) -> bool {
        let principal = match &self.principal {
            None => question.resource.is_some(),
            Some(Principal::Text(text)) => text == "*",
            Some(Principal::Kinds(kinds)) => kinds.get("AWS").is_some_and(|names| {
                names
                    .0
                    .iter()
                    .any(|name| name == "*" || question.principals.contains(name))
            }),
        };
        let action = question.action.to_ascii_lowercase();
        let resource = match question.resource {
            None => self.resource.is_empty(),
            Some(arn) => self.resource.iter().any(|pattern| matches(pattern, arn)),
        };
        principal
            && resource
            && self
                .action
                .iter()
                .any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
    }

    /// `None` where a condition cannot be judged and no other one fails.
    fn conditions_hold(&self, context: &Context) -> Option<bool> {
        let mut answer = Some(true);
        for (operator, keys) in &self.condition {
            for (key, wanted) in keys {
                match condition::holds(operator, key, &wanted.0, context) {
                    Some(true) => {}
                    Some(false) => return Some(false),
                    None => {
                        tracing::warn!(operator, key, "condition not understood: treated as unfit");
                        answer = None;
                    }
                }
            }
        }
        answer
    }
}

/// What a part of a pattern stands for.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    AnyText,
    AnyCharacter,
    Character(char),
}

/// The parts of a pattern. `${*}`, `${?}` and `${$}` are these characters themselves: see
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>.
fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        let mut ahead = rest.clone();
        let next = [ahead.next(), ahead.next(), ahead.next()];
        parts.push(match (c, next) {
            ('$', [Some('{'), Some(c @ ('*' | '?' | '$')), Some('}')]) => {
                rest = ahead;
                Part::Character(c)
            }
            ('*', _) => Part::AnyText,
            ('?', _) => Part::AnyCharacter,
            (c, _) => Part::Character(c),
        });
    }
    parts
}

/// Whether the text fits the pattern, in which `*` stands for any text and `?` for one character.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern = parts(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on if the text behind the last star does not fit: one more character for the star.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Part::AnyText) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&wanted) if [Part::AnyCharacter, Part::Character(text[t])].contains(&wanted) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&rest| rest == Part::AnyText)
}

fn one_or_many<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    // By way of a value, since errors inside an untagged enum would name no field.
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::Array(list) => list
            .into_iter()
            .map(|one| T::deserialize(one).map_err(serde::de::Error::custom))
            .collect(),
        one => Ok(vec![T::deserialize(one).map_err(serde::de::Error::custom)?]),
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list: Vec<serde_json::Value> = one_or_many(from)?;
        let text = |value| match value {
            serde_json::Value::String(text) => Ok(text),
            serde_json::Value::Bool(truth) => Ok(truth.to_string()),
            serde_json::Value::Number(number) => Ok(number.to_string()),
            other => Err(serde::de::Error::custom(format!("{other} is not a string"))),
        };
        Ok(Self(list.into_iter().map(text).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
