//! `If-Match` and `If-None-Match` on writes: whoever read a version may ask that nobody has saved
//! another one since. See <https://www.rfc-editor.org/rfc/rfc9110#name-preconditions>.

use axum::extract::FromRequestParts;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_NONE_MATCH},
    request::Parts,
};

use crate::error::ApiError;

/// What identifies a saved version of something: the inside of a strong ETag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Of an id that is never used twice, and a number that rises with every save.
    pub fn new(id: uuid::Uuid, revision: i64) -> Self {
        Self(format!("{id}.{revision}"))
    }

    /// The header `ETag`.
    pub fn etag(&self) -> HeaderValue {
        HeaderValue::try_from(format!("\"{}\"", self.0))
            .expect("hexadecimal digits, hyphens and a dot")
    }
}

/// What a client asks of the version that is there when its request is carried out.
#[derive(Debug, Default)]
pub struct Preconditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

/// `*`, or a list of entity tags.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: String,
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}

impl Preconditions {
    /// Reads them.
    ///
    /// # Errors
    /// A header that is neither `*` nor a list of tags.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            matches: tags(headers, &IF_MATCH, "If-Match")?,
            none_matches: tags(headers, &IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    /// Whether they hold for what is there now.
    ///
    /// # Errors
    /// [`ApiError::PreconditionFailed`].
    pub fn check(&self, current: Option<&Version>) -> Result<(), ApiError> {
        match (&self.matches, current) {
            (None, _) | (Some(Tags::Any), Some(_)) => {}
            (Some(_), None) => {
                return Err(ApiError::PreconditionFailed(
                    "there is no configuration, but If-Match asks for one; somebody may have deleted it",
                ));
            }
            // Weak tags never match here.
            (Some(Tags::These(tags)), Some(Version(now))) => {
                if !tags.iter().any(|tag| !tag.weak && tag.opaque == *now) {
                    return Err(ApiError::PreconditionFailed(
                        "somebody else has saved the configuration since you read it; GET it again, \
                         and repeat your change with the new ETag",
                    ));
                }
            }
        }
        let found = match (&self.none_matches, current) {
            (None, _) | (_, None) => false,
            (Some(Tags::Any), Some(_)) => true,
            (Some(Tags::These(tags)), Some(Version(now))) => {
                tags.iter().any(|tag| tag.opaque == *now)
            }
        };
        if found {
            return Err(ApiError::PreconditionFailed(
                "there is a configuration already, but If-None-Match asks for none; leave it out to \
                 change the configuration",
            ));
        }
        Ok(())
    }
}

/// The tags of a header, which may be there more than once.
fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<Tags>, ApiError> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str);
    let whole = lines.collect::<Result<Vec<_>, _>>().ok();
    let tags = whole.and_then(|lines| read(&lines.join(",")));
    let malformed = || {
        ApiError::field(
            shown,
            format!("{shown} must be * or ETags in double quotes"),
        )
    };
    tags.map(Some).ok_or_else(malformed)
}

/// `None` where it is neither `*` nor a list of tags. A tag may hold commas.
fn read(text: &str) -> Option<Tags> {
    let mut rest = text.trim_matches([' ', '\t']);
    if rest == "*" {
        return Some(Tags::Any);
    }
    // Lists may hold empty elements, also at either end.
    rest = rest.trim_start_matches([' ', '\t', ',']);
    let mut tags = Vec::new();
    loop {
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        let opaque = opaque.to_owned();
        tags.push(Tag { weak, opaque });
        rest = after.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Some(Tags::These(tags));
        }
        rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(Tags::These(tags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the headers mean for a version, as the code of the answer.
    async fn answer(headers: &[(HeaderName, &str)], current: Option<&str>) -> &'static str {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let current = current.map(|text| Version(text.to_owned()));
        let result = Preconditions::from_request_parts(&mut parts, &())
            .await
            .and_then(|preconditions| preconditions.check(current.as_ref()));
        result.map_or_else(|error| error.status_and_code().1, |()| "ok")
    }

    const FAILED: &str = "precondition_failed";
    const INVALID: &str = "invalid_request";

    #[tokio::test]
    async fn if_match() {
        for (value, is, there_is_none) in [
            ("\"a.1\"", "ok", FAILED),
            (" \"a.1\" ", "ok", FAILED),
            ("\"x\", \"a.1\"", "ok", FAILED),
            ("\"x,y\",\"a.1\"", "ok", FAILED),
            ("\"x\",,\"a.1\",", "ok", FAILED),
            (" ,, \"a.1\"", "ok", FAILED),
            ("*", "ok", FAILED),
            ("\"a.2\"", FAILED, FAILED),
            ("\"A.1\"", FAILED, FAILED),
            ("\"\"", FAILED, FAILED),
            ("W/\"a.1\"", FAILED, FAILED),
            ("W/\"a.1\", \"a.1\"", "ok", FAILED),
            ("a.1", INVALID, INVALID),
            ("\"a.1", INVALID, INVALID),
            ("w/\"a.1\"", INVALID, INVALID),
            ("\"a.1\" \"b\"", INVALID, INVALID),
            ("*, \"a.1\"", INVALID, INVALID),
            (",", INVALID, INVALID),
            ("", INVALID, INVALID),
        ] {
            let headers = [(IF_MATCH, value)];
            assert_eq!(answer(&headers, Some("a.1")).await, is, "{value}");
            assert_eq!(answer(&headers, None).await, there_is_none, "{value}");
        }
    }

    #[tokio::test]
    async fn if_none_match() {
        for (value, is, there_is_none) in [
            ("*", FAILED, "ok"),
            ("\"a.1\"", FAILED, "ok"),
            ("W/\"a.1\"", FAILED, "ok"),
            ("\"a.2\"", "ok", "ok"),
            ("a.1", INVALID, INVALID),
        ] {
            let headers = [(IF_NONE_MATCH, value)];
            assert_eq!(answer(&headers, Some("a.1")).await, is, "{value}");
            assert_eq!(answer(&headers, None).await, there_is_none, "{value}");
        }
    }

    #[tokio::test]
    async fn several_lines_are_one_list_and_both_headers_count() {
        let lines = [(IF_MATCH, "\"x\""), (IF_MATCH, "\"a.1\"")];
        assert_eq!(answer(&lines, Some("a.1")).await, "ok");
        let both = [(IF_MATCH, "\"a.1\""), (IF_NONE_MATCH, "*")];
        assert_eq!(answer(&both, Some("a.1")).await, FAILED);
        assert_eq!(answer(&[], Some("a.1")).await, "ok");
        assert_eq!(answer(&[], None).await, "ok");
    }

    #[test]
    fn an_etag_is_strong_and_tells_saves_apart() {
        let id = uuid::Uuid::nil();
        let etag = Version::new(id, 7).etag();
        assert_eq!(etag, format!("\"{id}.7\"").as_str());
        assert_ne!(etag, Version::new(id, 8).etag());
    }
}
