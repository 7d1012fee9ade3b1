//! JSON bodies. What is wrong with one is told by field and rule; no value is repeated.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::read_body;
use crate::error::ApiError;

/// The largest JSON body beside that of events, in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024;
/// How much of a client's own field name an error repeats, in characters.
const MAX_NAME_SHOWN: usize = 64;

/// A JSON body.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Self::read(request).await
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    /// Reads the body of a request that was looked at before.
    ///
    /// # Errors
    /// It is not JSON, not of the right form, or could not be read.
    pub async fn read(request: Request) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        require_json(&parts.headers)?;
        from_json(&read_body(body, MAX_JSON_BYTES).await?).map(Self)
    }
}

/// A JSON body that may be left out, by sending nothing at all.
pub struct OptionalJsonBody<T>(pub Option<T>);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(body, MAX_JSON_BYTES).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        require_json(&parts.headers)?;
        from_json(&bytes).map(|value| Self(Some(value)))
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::UnsupportedMediaType(
        "send the body as JSON, with Content-Type: application/json",
    ))
}

/// Reads a body.
///
/// # Errors
/// It is not JSON, or not of the right form.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::InvalidJson("the body is not JSON: it is not UTF-8".to_owned()))?;
    // Whether it is JSON comes first: serde_json calls some values of a wrong type syntax errors.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| syntax_error(&error))?;
    // An array of all values in order would do for serde, too.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(not_an_object());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| data_error(&error.path().to_string(), &error.inner().to_string()))
}

fn syntax_error(error: &serde_json::Error) -> ApiError {
    ApiError::InvalidJson(format!("the body is not JSON: {error}"))
}

fn not_an_object() -> ApiError {
    ApiError::InvalidRequest {
        field: None,
        message: "the body must be a JSON object".to_owned(),
    }
}

/// Turns serde's text into one that names the field and the rule, but does not repeat the value: a
/// role ARN in the wrong place must not come back.
fn data_error(path: &str, text: &str) -> ApiError {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    // What comes last is serde's own; what was found may hold anything, also these words.
    let (found, expected) = match text.rsplit_once(", expected ") {
        Some((found, expected)) => (found, Some(expected)),
        None => (text, None),
    };
    if let Some(name) = quoted(found, "unknown field ") {
        let known = expected
            .map(|known| format!("; known are {}", known.replace("one of ", "")))
            .unwrap_or_default();
        if !is_plain_name(&name) {
            return ApiError::InvalidRequest {
                field: None,
                message: format!("the body has a field that is not known{known}"),
            };
        }
        return ApiError::field(&name, format!("{name} is not a known field{known}"));
    }
    if let Some(name) = quoted(found, "duplicate field ") {
        return ApiError::field(&name, format!("{name} is given twice"));
    }
    match (path, expected) {
        ("." | "?", _) => not_an_object(),
        (path, _) if !is_plain_name(path) => ApiError::InvalidRequest {
            field: None,
            message: "the body has a field that is not as expected".to_owned(),
        },
        (path, Some(expected)) => ApiError::field(path, format!("{path} must be {expected}")),
        (path, None) => ApiError::field(path, format!("{path} is not as expected")),
    }
}

/// Whether a text looks like a field's name, and not like a value in the wrong place.
fn is_plain_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.chars().all(plain)
}

/// The name between the backticks that follow `before`.
fn quoted(text: &str, before: &str) -> Option<String> {
    let name = text
        .strip_prefix(before)?
        .strip_prefix('`')?
        .strip_suffix('`')?;
    Some(name.chars().take(MAX_NAME_SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Sample {
        bucket: Option<String>,
        enabled: Option<bool>,
        start_from: Option<common::db::export_configs::StartFrom>,
    }

    fn refused(json: &str) -> (&'static str, Option<String>, String) {
        let error = from_json::<Sample>(json.as_bytes()).unwrap_err();
        let (code, message) = (error.status_and_code().1, error.to_string());
        match error {
            ApiError::InvalidRequest { field, .. } => (code, field, message),
            _ => (code, None, message),
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_wrong() {
        for bad in [
            "",
            "{",
            "[{]",
            "{\"bucket\":}",
            "{} x",
            "nope",
            "\u{feff}{}",
        ] {
            assert_eq!(refused(bad).0, "invalid_json", "{bad}");
        }
        let latin1 = from_json::<Sample>(b"{\"bucket\":\"\xe4\"}").unwrap_err();
        assert_eq!(latin1.status_and_code().1, "invalid_json");
        assert!(from_json::<Sample>(b" {} ").is_ok());
    }

    #[test]
    fn fields_are_named_and_values_are_not_repeated() {
        for (json, field, message) in [
            (
                r#"{"bucket":{"arn:secret":1}}"#,
                Some("bucket"),
                "bucket must be a string",
            ),
            (r#"{"bucket":7}"#, Some("bucket"), "bucket must be a string"),
            (
                r#"{"enabled":"arn:secret"}"#,
                Some("enabled"),
                "enabled must be a boolean",
            ),
            (
                r#"{"startFrom":"arn:secret"}"#,
                Some("startFrom"),
                "startFrom must be `beginning` or `now`",
            ),
            (
                r#"{"bukket":"arn:secret"}"#,
                Some("bukket"),
                "bukket is not a known field",
            ),
            (
                r#"{"bucket":"a","bucket":"arn:secret"}"#,
                Some("bucket"),
                "bucket is given twice",
            ),
            (
                r#"{"enabled":"no, expected arn:secret"}"#,
                Some("enabled"),
                "enabled must be a boolean",
            ),
            (
                r#"{"x`, expected arn:secret":1}"#,
                None,
                "the body has a field that is not known; known are",
            ),
            (
                r#"{"startFrom":1}"#,
                Some("startFrom"),
                "startFrom is not as expected",
            ),
            (
                r#"{"arn:secret":1}"#,
                None,
                "the body has a field that is not known; known are",
            ),
            (
                r#"["arn:secret",true,"now"]"#,
                None,
                "the body must be a JSON object",
            ),
            (r#"["arn:secret"]"#, None, "the body must be a JSON object"),
            (r#""arn:secret""#, None, "the body must be a JSON object"),
            ("7", None, "the body must be a JSON object"),
        ] {
            let refused = refused(json);
            assert_eq!(
                (refused.0, refused.1.as_deref()),
                ("invalid_request", field),
                "{json}: {}",
                refused.2
            );
            assert!(refused.2.starts_with(message), "{json}: {}", refused.2);
            assert!(!refused.2.contains("secret"), "{}", refused.2);
        }
    }
}
