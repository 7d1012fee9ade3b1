//! What handlers take out of a request. Every refusal is an [`ApiError`].

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, header::CONTENT_TYPE, request::Parts},
};
use common::{
    db::{self, Tenant, orgs::Org, system_events::Author},
    ids::{OrgId, RunId},
};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::Instant;

use crate::{AppState, admission, auth::Caller, author::author, error::ApiError};

/// The largest JSON body beside that of events, in bytes.
pub const MAX_JSON_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive, beside what its size allows.
const BODY_GRACE: Duration = Duration::from_secs(10);
/// How fast a body has to arrive otherwise: 62.5 KiB a second.
const BODY_BYTES_PER_MS: u64 = 64;
/// How much of a body that is too large is read all the same, in bytes, and for how long.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a client's own field name an error repeats, in characters.
const MAX_NAME_SHOWN: usize = 64;

/// The organisation of the URL, of which the caller is an admin or the owner.
pub struct OrgAdmin(pub Org);

impl FromRequestParts<AppState> for OrgAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (_, org) = org_admin(parts, state).await?;
        Ok(Self(org))
    }
}

/// The same, with what the audit log says of who asks.
pub struct OrgAdminBy(pub Org, pub Author);

impl FromRequestParts<AppState> for OrgAdminBy {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (caller, org) = org_admin(parts, state).await?;
        Ok(Self(org, author(&caller, parts, state.trusted_proxies)))
    }
}

/// The same, who may have a destination tested now. This is decided before the body is looked at.
pub struct MayTest(pub Org, pub Author);

impl FromRequestParts<AppState> for MayTest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (caller, org) = org_admin(parts, state).await?;
        state.rate_limits.tests.check(&org.id, &caller)?;
        Ok(Self(org, author(&caller, parts, state.trusted_proxies)))
    }
}

/// The same, who may ask for an export now.
pub struct MayExport(pub Org, pub Author);

impl FromRequestParts<AppState> for MayExport {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (caller, org) = org_admin(parts, state).await?;
        state.rate_limits.runs.check(&org.id, &caller)?;
        Ok(Self(org, author(&caller, parts, state.trusted_proxies)))
    }
}

async fn org_admin(parts: &mut Parts, state: &AppState) -> Result<(Caller, Org), ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    let PathParameter(org) = PathParameter::<OrgId>::from_request_parts(parts, state).await?;
    // An id that breaks the rules is an organisation that does not exist.
    let org = org.ok_or(ApiError::UnknownOrg)?;
    caller.require_org_admin(&org)?;
    admission::count_to(&org, &parts.extensions)?;
    let client = state.pool.get().await?;
    let org = db::orgs::find(&Tenant::of(&client, &org))
        .await?
        .ok_or(ApiError::UnknownOrg)?;
    Ok((caller, org))
}

/// An id that stands in a URL's path.
pub trait PathId: std::str::FromStr {
    /// Its name in the routes.
    const NAME: &'static str;
    /// Its name in the request's span.
    const FIELD: &'static str;
}

impl PathId for OrgId {
    const NAME: &'static str = "orgId";
    const FIELD: &'static str = "org";
}

impl PathId for RunId {
    const NAME: &'static str = "runId";
    const FIELD: &'static str = "run";
}

/// An id of the URL's path; `None` where it is not one, so that the handler can say what that means
/// after it has looked at who is asking.
pub struct PathParameter<T>(pub Option<T>);

impl<T: PathId, S: Send + Sync> FromRequestParts<S> for PathParameter<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Percent-encoded bytes that are not UTF-8 are no id, either.
        let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await else {
            return Ok(Self(None));
        };
        let (_, text) = parameters
            .iter()
            .find(|(name, _)| *name == T::NAME)
            .ok_or_else(|| ApiError::internal(format!("the route has no {}", T::NAME)))?;
        let id = text.parse().ok();
        if id.is_some() {
            tracing::Span::current().record(T::FIELD, text);
        }
        Ok(Self(id))
    }
}

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

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// It is larger, broke off, or took too long.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut reader = BodyReader::new(body, limit);
    reader.read_to(usize::MAX).await?;
    Ok(reader.into_bytes())
}

/// A body that is read step by step, at most `limit` bytes in all.
pub struct BodyReader {
    body: Body,
    limit: usize,
    bytes: Vec<u8>,
}

impl BodyReader {
    /// Nothing of it is read yet.
    pub fn new(body: Body, limit: usize) -> Self {
        Self {
            body,
            limit,
            bytes: Vec::new(),
        }
    }

    /// Reads on until so many bytes have arrived, or somewhat more; true when it is whole.
    ///
    /// # Errors
    /// It is too large, broke off, or came too slowly since this was called.
    pub async fn read_to(&mut self, enough: usize) -> Result<bool, ApiError> {
        // What is known to be too large is not kept in memory first.
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limit - self.bytes.len() {
            return Err(self.too_large().await);
        }
        let began = Instant::now();
        let mut arrived = 0;
        while self.bytes.len() < enough {
            let deadline = began + BODY_GRACE + Duration::from_millis(arrived / BODY_BYTES_PER_MS);
            let frame = match tokio::time::timeout_at(deadline, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|_| ApiError::IncompleteBody)?,
                Ok(None) => return Ok(true),
                Err(_) => return Err(ApiError::RequestTimeout),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > self.limit - self.bytes.len() {
                return Err(self.too_large().await);
            }
            arrived += data.len() as u64;
            self.bytes.extend_from_slice(&data);
        }
        Ok(false)
    }

    async fn too_large(&mut self) -> ApiError {
        self.bytes = Vec::new();
        discard(&mut self.body).await;
        ApiError::PayloadTooLarge(self.limit)
    }

    /// How many bytes have arrived.
    pub fn arrived(&self) -> usize {
        self.bytes.len()
    }

    /// What has arrived.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads on for a while without keeping anything: a client that is still sending when the connection
/// is closed gets a broken connection in place of the answer.
async fn discard(body: &mut Body) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    // Whether it ended or took too long: the answer goes out now.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
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
    let (found, expected) = match text.split_once(", expected ") {
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

    #[tokio::test]
    async fn a_body_is_read_step_by_step() {
        let chunk = |_| Ok::<_, std::io::Error>(Bytes::from_static(b"xxxx"));
        let chunks = Body::from_stream(futures_util::stream::iter((0..4).map(chunk)));
        let mut reader = BodyReader::new(chunks, 16);
        assert!(!reader.read_to(5).await.unwrap());
        assert_eq!(reader.arrived(), 8);
        assert!(reader.read_to(usize::MAX).await.unwrap());
        assert_eq!(reader.into_bytes().len(), 16);
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let exact = read_body(Body::from(vec![b'x'; 10]), 10).await;
        assert_eq!(exact.unwrap().len(), 10);
        let too_large = read_body(Body::from(vec![b'x'; 11]), 10).await;
        assert!(matches!(too_large, Err(ApiError::PayloadTooLarge(10))));
        // One that does not tell its size before.
        let chunk = |_| Ok::<_, std::io::Error>(Bytes::from_static(b"xxxx"));
        let chunks = |n| Body::from_stream(futures_util::stream::iter((0..n).map(chunk)));
        assert_eq!(read_body(chunks(2), 10).await.unwrap().len(), 8);
        let too_large = read_body(chunks(3), 10).await;
        assert!(matches!(too_large, Err(ApiError::PayloadTooLarge(10))));
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
        let broken = read_body(Body::from_stream(broken), 10).await;
        assert!(matches!(broken, Err(ApiError::IncompleteBody)));
    }
}
