//! As much of JSON Schema as the project's own schemas use, read independently of the code that
//! makes the messages.

use serde_json::Value;

/// Checks a value and tells the first thing that is wrong with it.
///
/// # Errors
/// Where, and what.
pub fn conforms(schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let good = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "type" => is_of_type(value, rule.as_str().unwrap()),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64() >= rule.as_f64(),
            "format" if rule == "uuid" => is_uuid(value),
            // The one pattern there is: an organisation's id.
            "pattern" => value
                .as_str()
                .is_some_and(|text| text.parse::<common::ids::OrgId>().is_ok()),
            "required" => {
                let names = rule.as_array().unwrap();
                names
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        conforms(schema, value).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                true
            }
            "oneOf" => {
                let all = rule.as_array().unwrap();
                all.iter()
                    .filter(|schema| conforms(schema, value).is_ok())
                    .count()
                    == 1
            }
            other => panic!("this check does not know {other}: {rule}"),
        };
        if !good {
            return Err(format!("{value} does not fit {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("this check does not know the type {other}"),
    }
}

fn is_uuid(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() == 36 && text.parse::<uuid::Uuid>().is_ok())
}
