//! What is looked at before any operation: secrets for s3s's signature check, then token, bucket,
//! region, owner and policies, in the order in which AWS looks at them.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, StatusCode, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::App;
use crate::condition::Context;
use crate::errors::{access_denied, custom};
use crate::identity::{BadCredentials, Caller, Scope, query, token};
use crate::state::Bucket;

/// The header by which a request names the account that must own the bucket.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";

/// What becomes known of a request on its way, for the log and for error answers.
#[derive(Debug, Default, Clone)]
pub(crate) struct CallInfo {
    pub(crate) operation: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) principal: Option<String>,
    /// What the request says of the bucket's owner.
    pub(crate) expected_owner: Option<String>,
    /// Set when the request was signed for another region than this one.
    pub(crate) right_region: Option<String>,
}

/// The [`CallInfo`] of a request, handed along in its extensions.
#[derive(Clone, Default)]
pub(crate) struct CallSlot(Arc<Mutex<CallInfo>>);

impl CallSlot {
    pub(crate) fn set(&self, change: impl FnOnce(&mut CallInfo)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn get(&self) -> CallInfo {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A request that passed [`S3Access::check`]: who sent it and what else it wants to be allowed.
#[derive(Clone)]
pub(crate) struct Authorized {
    pub(crate) caller: Caller,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) context: Context,
}

/// The hooks by which s3s asks for secrets and permission.
pub(crate) struct Gate(pub(crate) Arc<App>);

#[async_trait::async_trait]
impl S3Auth for Gate {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let state = self.0.state.current();
        if let Some(user) = state.user_by_key(access_key) {
            return Ok(user.secret_access_key.as_str().into());
        }
        match self.0.sessions.find(access_key) {
            Some(session) => Ok(session.secret_access_key.as_str().into()),
            None => Err(S3ErrorCode::InvalidAccessKeyId.into()),
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let slot = cx
            .extensions_mut()
            .get::<CallSlot>()
            .cloned()
            .unwrap_or_default();
        let operation = cx.s3_op().name();
        let (bucket_name, key) = match cx.s3_path() {
            S3Path::Root => (None, None),
            S3Path::Bucket { bucket } => (Some(bucket.to_string()), None),
            S3Path::Object { bucket, key } => (Some(bucket.to_string()), Some(key.to_string())),
        };
        slot.set(|info| {
            info.operation = Some(operation.to_owned());
            info.bucket = bucket_name.clone();
            info.key = key.clone();
            let owner = cx.headers().get(EXPECTED_OWNER);
            info.expected_owner = owner
                .and_then(|owner| owner.to_str().ok())
                .map(str::to_owned);
        });

        let Some(credentials) = cx.credentials() else {
            return Err(access_denied());
        };
        let scope = Scope::of(cx.headers(), cx.uri()).ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            )
        })?;
        let state = self.0.state.current();
        let token = token(cx.headers(), cx.uri());
        let caller = Caller::identify(
            &state,
            &self.0.sessions,
            &credentials.access_key,
            token.as_deref(),
            self.0.clock.now(),
        )
        .map_err(bad_credentials)?;
        slot.set(|info| info.principal = Some(caller.arn().to_owned()));
        if scope.service != "s3" {
            return Err(malformed(format!(
                "incorrect service \"{}\". This endpoint belongs to \"s3\".",
                scope.service
            )));
        }

        let bucket = match &bucket_name {
            None => None,
            Some(name) => Some(state.bucket(name).ok_or(S3ErrorCode::NoSuchBucket)?.clone()),
        };
        if let Some(bucket) = &bucket {
            if scope.region != bucket.region {
                slot.set(|info| info.right_region = Some(bucket.region.clone()));
                return Err(malformed(format!(
                    "the region '{}' is wrong; expecting '{}'",
                    scope.region, bucket.region
                )));
            }
            let expected = cx.headers().get(EXPECTED_OWNER);
            if expected.is_some_and(|owner| owner.as_bytes() != bucket.account.as_bytes()) {
                return Err(access_denied());
            }
        }

        let mut context = request_context(cx.headers(), cx.uri(), &scope, &caller, bucket.as_ref());
        // Parts and the end of an upload are judged by what was asked for when it began.
        if let (Some(bucket), Some(key)) = (&bucket_name, &key)
            && let Some(id) = query(cx.uri(), "uploadId")
            && let Ok(upload) = self.0.uploads.get(bucket, key, &id)
            && let Some(encryption) = &upload.headers.encryption
        {
            for (name, value) in encryption.conditions() {
                context.set(&name, value);
            }
        }
        let authorized = Authorized {
            caller,
            bucket,
            context,
        };
        // Its keys are in the body: the handler asks for each.
        if operation != "DeleteObjects" {
            for action in actions(operation, cx.headers()) {
                authorized.may(&self.0, &action, key.as_deref())?;
            }
        }
        cx.extensions_mut().insert(authorized);
        Ok(())
    }
}

/// The permissions that an operation needs. See
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>.
fn actions(operation: &str, headers: &HeaderMap) -> Vec<String> {
    let main = match operation {
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            "PutObject"
        }
        "GetObject" | "HeadObject" => "GetObject",
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => "ListBucket",
        "ListMultipartUploads" => "ListBucketMultipartUploads",
        "ListParts" => "ListMultipartUploadParts",
        "ListBuckets" => "ListAllMyBuckets",
        other => other,
    };
    let mut all = vec![format!("s3:{main}")];
    if main == "PutObject" {
        if headers.contains_key("x-amz-tagging") {
            all.push("s3:PutObjectTagging".into());
        }
        if headers
            .keys()
            .any(|name| name == "x-amz-acl" || name.as_str().starts_with("x-amz-grant-"))
        {
            all.push("s3:PutObjectAcl".into());
        }
    }
    all
}

/// The condition keys of a request. The real S3 is reached by TLS, so this one says it is.
fn request_context(
    headers: &HeaderMap,
    uri: &Uri,
    scope: &Scope,
    caller: &Caller,
    bucket: Option<&Bucket>,
) -> Context {
    let mut context = Context::default();
    context.set("aws:SecureTransport", Some("true"));
    context.set("aws:RequestedRegion", Some(&scope.region));
    context.set("aws:PrincipalAccount", Some(caller.account()));
    context.set(
        "aws:PrincipalArn",
        Some(match caller {
            Caller::User { arn } => arn,
            Caller::Session(session) => &session.role_arn,
        }),
    );
    context.set(
        "aws:ResourceAccount",
        bucket.map(|bucket| bucket.account.as_str()),
    );
    context.set(
        "s3:ResourceAccount",
        bucket.map(|bucket| bucket.account.as_str()),
    );
    for name in ["prefix", "delimiter", "max-keys"] {
        context.set(&format!("s3:{name}"), query(uri, name).as_deref());
    }
    for (name, value) in headers {
        let name = name.as_str();
        if name.starts_with("x-amz-") || name == "if-match" || name == "if-none-match" {
            context.set(&format!("s3:{name}"), value.to_str().ok());
        }
    }
    context
}

fn malformed(detail: String) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {detail}"),
    )
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> has the statuses.
fn bad_credentials(bad: BadCredentials) -> S3Error {
    match bad {
        BadCredentials::UnknownKey => S3ErrorCode::InvalidAccessKeyId.into(),
        BadCredentials::BadToken => custom(
            StatusCode::BAD_REQUEST,
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
        ),
        BadCredentials::Expired => custom(
            StatusCode::BAD_REQUEST,
            "ExpiredToken",
            "The provided token has expired.",
        ),
    }
}

impl Authorized {
    /// What [`S3Access::check`] left for the handler.
    pub(crate) fn of(extensions: &http::Extensions) -> S3Result<Self> {
        extensions.get::<Self>().cloned().ok_or_else(access_denied)
    }
}
