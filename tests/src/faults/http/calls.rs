//! Which call a request is, and which calls a rule is for. Buckets are named in the path.

use std::iter;

use super::wire::Message;

/// The operations that the exporter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// STS: takes a role.
    AssumeRole,
    /// Writes an object at once.
    PutObject,
    /// Begins an upload in parts.
    CreateMultipartUpload,
    /// Writes a part.
    UploadPart,
    /// Makes an object of the parts.
    CompleteMultipartUpload,
    /// Drops the parts.
    AbortMultipartUpload,
    /// Lists the uploads of a bucket that are under way.
    ListMultipartUploads,
    /// Deletes an object.
    DeleteObject,
    /// Anything else.
    Other,
}

/// Which calls a rule is for. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// Only this operation.
    pub operation: Option<Operation>,
    /// Only to this bucket.
    pub bucket: Option<String>,
    /// Only `AssumeRole` of this role. Calls of S3 do not tell the role by which they are made.
    pub role_arn: Option<String>,
    /// Only objects whose key contains this.
    pub key_contains: Option<String>,
    /// So many matching calls pass first. They count even where an earlier rule decides them.
    pub skip: usize,
    /// Then at most so many are hit; all until the rule is lifted, if this is `None`.
    pub limit: Option<usize>,
}

impl Calls {
    /// All calls of an operation.
    pub fn of(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::default()
        }
    }

    /// Only those to a bucket.
    pub fn to_bucket(self, name: &str) -> Self {
        Self {
            bucket: Some(name.to_owned()),
            ..self
        }
    }

    /// Only those that assume a role.
    pub fn of_role(self, arn: &str) -> Self {
        Self {
            role_arn: Some(arn.to_owned()),
            ..self
        }
    }

    /// Only the first `n`, or the first `n` after those that pass.
    pub fn first(self, n: usize) -> Self {
        Self {
            limit: Some(n),
            ..self
        }
    }

    /// Lets `n` pass first.
    pub fn after(self, n: usize) -> Self {
        Self { skip: n, ..self }
    }

    /// Only those whose key contains this.
    pub fn with_key(self, part: &str) -> Self {
        Self {
            key_contains: Some(part.to_owned()),
            ..self
        }
    }

    pub(super) fn match_call(&self, call: &Call) -> bool {
        fn is(wanted: Option<&String>, found: Option<&String>) -> bool {
            wanted.is_none() || wanted == found
        }
        let key = call.key.as_deref();
        self.operation.is_none_or(|wanted| wanted == call.operation)
            && is(self.bucket.as_ref(), call.bucket.as_ref())
            && is(self.role_arn.as_ref(), call.role_arn.as_ref())
            && self
                .key_contains
                .as_ref()
                .is_none_or(|part| key.is_some_and(|key| key.contains(part)))
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
    pub(super) role_arn: Option<String>,
}

impl Call {
    pub(super) fn read(request: &Message) -> Self {
        Self::of(request.method(), request.target(), &request.body)
    }

    fn of(method: &str, target: &str, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        if method == "POST" && path.is_empty() {
            return Self::of_form(body);
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let named = |name: &str| (!name.is_empty()).then(|| decode(name));
        let (bucket, key) = (named(bucket), named(key));
        Self {
            operation: operation(method, key.is_some(), query),
            bucket,
            key,
            role_arn: None,
        }
    }

    fn of_form(body: &[u8]) -> Self {
        let field = |name: &str| {
            let mut fields = form_urlencoded::parse(body);
            let field = fields.find(|(other, _)| other == name);
            field.map(|(_, value)| value.into_owned())
        };
        let operation = match field("Action").as_deref() {
            Some("AssumeRole") => Operation::AssumeRole,
            _ => Operation::Other,
        };
        Self {
            operation,
            bucket: None,
            key: None,
            role_arn: field("RoleArn"),
        }
    }
}

fn operation(method: &str, has_key: bool, query: &str) -> Operation {
    let names: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, _)| name)
        .collect();
    let has = |name: &str| names.iter().any(|other| other == name);
    // Other names ask for something else than the object: its tags, its retention.
    let of_object = names
        .iter()
        .all(|name| ["x-id", "versionId"].contains(&&**name));
    match (method, has_key) {
        ("GET", false) if has("uploads") => Operation::ListMultipartUploads,
        ("PUT", true) if has("uploadId") && has("partNumber") => Operation::UploadPart,
        ("PUT", true) if of_object => Operation::PutObject,
        ("POST", true) if has("uploads") => Operation::CreateMultipartUpload,
        ("POST", true) if has("uploadId") => Operation::CompleteMultipartUpload,
        ("DELETE", true) if has("uploadId") => Operation::AbortMultipartUpload,
        ("DELETE", true) if of_object => Operation::DeleteObject,
        _ => Operation::Other,
    }
}

/// Decodes a path, in which, other than in a form, `+` stands for itself.
fn decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let decoded: Vec<u8> = iter::from_fn(|| {
        let (byte, after) = rest.split_first()?;
        rest = after;
        let hex = (*byte == b'%').then(|| after.split_at_checked(2)).flatten();
        let Some((hex, after)) = hex else {
            return Some(*byte);
        };
        let Some(decoded) = str::from_utf8(hex)
            .ok()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        else {
            return Some(*byte);
        };
        rest = after;
        Some(decoded)
    })
    .collect();
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let calls = [
            ("PUT", "/b/k?x-id=PutObject", Operation::PutObject),
            ("PUT", "/b/k", Operation::PutObject),
            ("PUT", "/b/k?tagging", Operation::Other),
            ("PUT", "/b", Operation::Other),
            ("GET", "/b/k", Operation::Other),
            ("POST", "/b/k?uploads", Operation::CreateMultipartUpload),
            (
                "PUT",
                "/b/k?x-id=UploadPart&partNumber=2&uploadId=u",
                Operation::UploadPart,
            ),
            (
                "POST",
                "/b/k?uploadId=u",
                Operation::CompleteMultipartUpload,
            ),
            (
                "DELETE",
                "/b/k?x-id=AbortMultipartUpload&uploadId=u",
                Operation::AbortMultipartUpload,
            ),
            ("DELETE", "/b/k?versionId=v", Operation::DeleteObject),
            ("DELETE", "/b", Operation::Other),
            ("GET", "/b?uploads", Operation::ListMultipartUploads),
            (
                "GET",
                "/b/?uploads=&prefix=p",
                Operation::ListMultipartUploads,
            ),
            ("GET", "/b?list-type=2", Operation::Other),
        ];
        for (method, target, operation) in calls {
            let call = Call::of(method, target, b"");
            assert_eq!(call.operation, operation, "{method} {target}");
            assert_eq!(call.bucket.as_deref(), Some("b"), "{method} {target}");
            let key = target.starts_with("/b/k").then_some("k");
            assert_eq!(call.key.as_deref(), key, "{method} {target}");
        }
    }

    #[test]
    fn a_key_is_read_as_it_will_be_named() {
        let call = Call::of("PUT", "/b/org%20a/2026/%C3%A9+%25/100%", b"");
        assert_eq!(call.key.as_deref(), Some("org a/2026/é+%/100%"));
    }

    #[test]
    fn a_role_is_read_from_the_form() {
        let form =
            b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa";
        let call = Call::of("POST", "/", form);
        assert_eq!(call.operation, Operation::AssumeRole);
        assert_eq!(call.role_arn.as_deref(), Some("arn:aws:iam::1:role/a"));
        assert!(call.bucket.is_none() && call.key.is_none());
        let call = Call::of("POST", "/", b"Action=GetCallerIdentity");
        assert_eq!(call.operation, Operation::Other);
    }

    #[test]
    fn a_rule_is_for_the_calls_that_fit_everything_it_names() {
        let put = Call::of("PUT", "/b/test/1", b"");
        let assume = Call::of("POST", "/", b"Action=AssumeRole&RoleArn=a");
        let matches = [
            (Calls::default(), true, true),
            (Calls::of(Operation::PutObject), true, false),
            (Calls::of(Operation::AssumeRole).of_role("a"), false, true),
            (Calls::of(Operation::AssumeRole).of_role("b"), false, false),
            (Calls::default().to_bucket("b"), true, false),
            (Calls::default().to_bucket("c"), false, false),
            (Calls::default().with_key("test/"), true, false),
            (Calls::default().to_bucket("b").with_key("x"), false, false),
        ];
        for (calls, matches_put, matches_assume) in matches {
            assert_eq!(calls.match_call(&put), matches_put, "{calls:?}");
            assert_eq!(calls.match_call(&assume), matches_assume, "{calls:?}");
        }
    }
}
