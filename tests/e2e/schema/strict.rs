//! The document as we keep it ourselves. Clients have to put up with fields that a later version adds,
//! so the document leaves its answers open; here an answer must not have any that it does not tell of.

use serde_json::{Map, Value, json};

/// Headers that an answer may lack.
const OPTIONAL: [&str; 1] = ["Link"];

/// The document with closed schemas, and with all headers of answers required.
pub(super) fn of(document: &Value) -> Value {
    let mut strict = document.clone();
    let schemas = strict["components"]["schemas"].as_object_mut().unwrap();
    let open = schemas.clone();
    for schema in schemas.values_mut() {
        close(schema, &open);
    }
    for item in strict["paths"].as_object_mut().unwrap().values_mut() {
        for operation in item.as_object_mut().unwrap().values_mut() {
            for response in operation["responses"].as_object_mut().unwrap().values_mut() {
                let headers = response["headers"].as_object_mut().unwrap();
                for (name, header) in headers {
                    header["required"] = json!(!OPTIONAL.contains(&name.as_str()));
                }
            }
        }
    }
    strict
}

/// Closes an object; where it is made of several, makes it one before, since each of them would
/// refuse the others' fields.
fn close(schema: &mut Value, open: &Map<String, Value>) {
    if let Some(parts) = schema.get("allOf").cloned() {
        let (mut properties, mut required) = (json!({}), json!([]));
        for part in parts.as_array().unwrap() {
            let part = match part["$ref"].as_str() {
                Some(name) => &open[name.rsplit('/').next().unwrap()],
                None => part,
            };
            let all = properties.as_object_mut().unwrap();
            all.extend(part["properties"].as_object().unwrap().clone());
            let all = required.as_array_mut().unwrap();
            all.extend(part["required"].as_array().unwrap().clone());
        }
        *schema = json!({"type": "object", "properties": properties, "required": required});
    }
    if schema.get("properties").is_some() {
        schema["additionalProperties"] = json!(false);
    }
}
