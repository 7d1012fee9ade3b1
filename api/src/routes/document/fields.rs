//! The rules for fields and parameters, each from where it is checked.

use common::{
    destination::{AccountId, Bucket, Compression, KmsKeyArn, Prefix, Region, RoleArn, RoleName},
    ids::OrgId,
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, Parameter},
    request_body::RequestBody,
    schema::{Object, Schema, SchemaType, Type},
};

use super::super::{orgs, runs};
use crate::ingest::{MAX_ACTION_BYTES, MAX_EVENTS, MAX_ID_BYTES, MAX_TARGETS};

/// Not blank and without U+0000. The inner class is what Unicode calls white space: JSON Schema's `\s`
/// is another set in each implementation.
const FILLED: &str = r"^[^\u0000]*[^\u0000\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000]*$";
/// `*`, or ETags of printable ASCII, each of which may be weak (RFC 9110, 8.8.3).
const ETAGS: &str = r#"^(?:\*|(?:W/)?"[!#-~]*"(?: *, *(?:W/)?"[!#-~]*")*)$"#;

/// What a text, or a list, has to be like.
struct Rule {
    pattern: Option<String>,
    max: Option<usize>,
}

impl Rule {
    fn pattern(pattern: impl Into<String>) -> Self {
        let pattern = Some(pattern.into());
        Self { pattern, max: None }
    }

    /// A field that is cleared by an empty text.
    fn empty_or(pattern: &str) -> Self {
        Self::pattern(format!("^$|{pattern}"))
    }

    fn one_of(texts: &[&str]) -> Self {
        Self::pattern(format!("^(?:{})$", texts.join("|")))
    }

    /// At most so many characters, or entries. Where the code counts bytes, as the field's description
    /// says then, this is what any text must keep to.
    fn at_most(self, max: usize) -> Self {
        let max = Some(max);
        Self { max, ..self }
    }

    fn apply_to(&self, schema: &mut Schema) {
        match schema {
            Schema::Object(object) => {
                object.pattern.clone_from(&self.pattern);
                object.max_length = self.max;
            }
            Schema::Array(array) => array.max_items = self.max,
            _ => {}
        }
    }
}

/// What is one thing wherever it is sent: in a body, a path, a query or a header.
fn anywhere(name: &str) -> Option<Rule> {
    Some(match name {
        "bucket" => Rule::pattern(Bucket::PATTERN),
        "region" => Rule::pattern(Region::PATTERN).at_most(Region::MAX_BYTES),
        "prefix" => Rule::pattern(Prefix::PATTERN).at_most(Prefix::MAX_BYTES),
        "bucketOwner" => Rule::empty_or(AccountId::PATTERN),
        "kmsKeyArn" => Rule::empty_or(KmsKeyArn::PATTERN),
        "roleName" => Rule::pattern(RoleName::PATTERN).at_most(RoleName::MAX_BYTES),
        "orgId" => Rule::pattern(OrgId::PATTERN).at_most(OrgId::MAX_BYTES),
        "compression" => Rule::pattern(Compression::PATTERN),
        "status" => Rule::one_of(&runs::STATUSES),
        "If-Match" | "If-None-Match" => Rule::pattern(ETAGS),
        _ => return None,
    })
}

/// The fields of the schemas.
fn fields() -> Vec<(&'static str, &'static str, Rule)> {
    let filled = || Rule::pattern(FILLED);
    let without_nul = || Rule::pattern(r"^[^\u0000]*$");
    let role = format!("{}|{}", RoleArn::PATTERN, RoleArn::MASK_PATTERN);
    let settings = [
        "bucket",
        "region",
        "prefix",
        "bucketOwner",
        "kmsKeyArn",
        "compression",
    ];
    let settings = settings
        .into_iter()
        .filter_map(|name| Some(("ConfigRequest", name, anywhere(name)?)));
    let others = [
        ("ConfigRequest", "roleArn", Rule::pattern(role)),
        (
            "OrgRequest",
            "name",
            Rule::pattern(orgs::NAME_PATTERN).at_most(orgs::MAX_NAME_BYTES),
        ),
        ("AuditEvent", "id", filled().at_most(MAX_ID_BYTES)),
        (
            "AuditEvent",
            "action",
            Rule::pattern(format!("^(?!audit_export\\.){}", &FILLED[1..]))
                .at_most(MAX_ACTION_BYTES),
        ),
        ("AuditEvent", "targets", without_nul().at_most(MAX_TARGETS)),
        ("Party", "type", filled()),
        ("Party", "id", filled()),
        ("Party", "name", without_nul()),
        ("EventContext", "location", without_nul()),
        ("EventContext", "userAgent", without_nul()),
        (
            "AuditExportConfig",
            "roleArnMasked",
            Rule::pattern(RoleArn::MASK_PATTERN),
        ),
        ("Run", "status", Rule::one_of(&runs::STATUSES)),
        ("ErrorBody", "code", Rule::pattern("^[a-z_]+$")),
    ];
    settings.chain(others).collect()
}

/// Adds the rules to the schemas.
pub(super) fn constrain_schemas(document: &mut OpenApi) {
    let Some(components) = &mut document.components else {
        return;
    };
    for (schema, field, rule) in fields() {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema)
            && let Some(RefOr::T(field)) = object.properties.get_mut(field)
        {
            rule.apply_to(field);
        }
    }
}

/// Adds the rules to what an operation takes.
pub(super) fn constrain_request(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            constrain_parameter(parameter);
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        constrain_body(body);
    }
}

fn constrain_parameter(parameter: &mut Parameter) {
    let Some(RefOr::T(schema)) = &mut parameter.schema else {
        return;
    };
    if let Schema::Object(object) = schema {
        never_null(object);
    }
    if let Some(rule) = anywhere(&parameter.name) {
        rule.apply_to(schema);
    }
}

/// What may be left out of a URL or of the headers cannot be null there.
fn never_null(object: &mut Object) {
    if let SchemaType::Array(types) = &mut object.schema_type {
        types.retain(|r#type| *r#type != Type::Null);
        if let [only] = types.as_slice() {
            object.schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn constrain_body(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        match &mut content.schema {
            // A batch of events.
            Some(RefOr::T(Schema::Array(array))) => {
                array.min_items = Some(1);
                array.max_items = Some(MAX_EVENTS);
            }
            // A body that may be left out: it cannot be null, either.
            Some(RefOr::T(Schema::OneOf(choice))) => {
                let body = choice
                    .items
                    .iter()
                    .find(|item| matches!(item, RefOr::Ref(_)));
                content.schema = body.cloned();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_that_of_a_field() {
        let document = serde_json::to_value(crate::routes::openapi()).unwrap();
        for (schema, field, rule) in fields() {
            let schema = &document["components"]["schemas"][schema];
            let found = &schema["properties"][field];
            let (pattern, max) = (&found["pattern"], &found["maxLength"]);
            let is_list = !found["items"].is_null();
            assert!(
                is_list || pattern.as_str() == rule.pattern.as_deref(),
                "{field}: {found}"
            );
            let max = if is_list { &found["maxItems"] } else { max };
            let expected = rule.max.map(|max| u64::try_from(max).unwrap());
            assert_eq!(max.as_u64(), expected, "{field}: {found}");
        }
    }

    /// Numbers and UUIDs have a type, or a format, that says it all.
    #[test]
    fn every_parameter_that_is_text_has_a_rule_and_none_is_null() {
        let document = serde_json::to_value(crate::routes::openapi()).unwrap();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                for parameter in operation["parameters"].as_array().unwrap() {
                    let schema = &parameter["schema"];
                    let says_it_all = schema["type"] == "integer" || schema["format"] == "uuid";
                    let is_text = schema["type"] == "string" && schema["pattern"].is_string();
                    assert!(says_it_all || is_text, "{parameter}");
                }
            }
        }
    }
}
