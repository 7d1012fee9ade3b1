//! STS: AssumeRole and GetCallerIdentity, as forms posted to `/`. See
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result};

use crate::App;
use crate::access::CallSlot;
use crate::condition::Context;
use crate::errors::{Fault, STS_NAMESPACE, custom, push};
use crate::identity::{BadCredentials, Caller, token};
use crate::policy::{Decision, Document, Question};
use crate::sessions::Grant;
use crate::state::{account_of, is_iam_arn, partition_of};

/// Sessions of a role assumed by another role's session last an hour at most.
const MAX_CHAINED_SECONDS: u32 = 3600;
const DEFAULT_SECONDS: u32 = 3600;

/// The route by which s3s hands over what is for STS.
pub(crate) struct Sts(pub(crate) Arc<App>);

/// Whether a request is for STS: forms are posted to the root by nobody else.
pub(crate) fn is_sts(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let form = headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    method == Method::POST && uri.path() == "/" && form
}

#[async_trait::async_trait]
impl S3Route for Sts {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        _: &mut Extensions,
    ) -> bool {
        is_sts(method, uri, headers)
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let caller = self.caller(&request)?;
        let slot = request
            .extensions
            .get::<CallSlot>()
            .cloned()
            .unwrap_or_default();
        slot.set(|info| info.principal = Some(caller.arn().to_owned()));
        let body = request.input.collect().await.map_err(|error| {
            // s3s checks the payload's hash while the body is read.
            sts_error(
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                error.to_string(),
            )
        })?;
        let form: BTreeMap<String, String> = form_urlencoded::parse(&body.to_bytes())
            .into_owned()
            .collect();
        let action = form.get("Action").map_or("", String::as_str);
        slot.set(|info| info.operation = Some(action.to_owned()));
        let version = form.get("Version").map_or("", String::as_str);
        let result = match (action, version) {
            ("AssumeRole", "2011-06-15") => self.assume_role(&caller, &form)?,
            ("GetCallerIdentity", "2011-06-15") => caller_identity(&caller),
            _ => {
                let message = format!("Could not find operation {action} for version {version}");
                return Err(sts_error(StatusCode::BAD_REQUEST, "InvalidAction", message));
            }
        };
        let id = uuid::Uuid::new_v4();
        let xml = format!(
            "<{action}Response xmlns=\"{STS_NAMESPACE}\"><{action}Result>{result}</{action}Result>\
             <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
        );
        let mut response = S3Response::new(Body::from(xml));
        response
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(response)
    }
}

impl Sts {
    fn caller(&self, request: &S3Request<Body>) -> S3Result<Caller> {
        let state = self.0.state.current();
        let refuse =
            |message: String| sts_error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message);
        if request.service.as_deref() != Some("sts") {
            return Err(refuse(
                "Credential should be scoped to correct service: 'sts'.".into(),
            ));
        }
        let region = request.region.as_ref().map_or("", |region| region.as_str());
        if region != state.region && state.buckets.iter().all(|bucket| bucket.region != region) {
            return Err(refuse(format!(
                "Credential should be scoped to a valid region, not '{region}'."
            )));
        }
        let key = request
            .credentials
            .as_ref()
            .map_or("", |one| one.access_key.as_str());
        let token = token(&request.headers, &request.uri);
        let now = self.0.clock.now();
        Caller::identify(&state, &self.0.sessions, key, token.as_deref(), now).map_err(|bad| {
            match bad {
                BadCredentials::UnknownKey | BadCredentials::BadToken => {
                    sts_error(StatusCode::FORBIDDEN, "InvalidClientTokenId", INVALID_TOKEN)
                }
                BadCredentials::Expired => sts_error(
                    StatusCode::FORBIDDEN,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ),
            }
        })
    }

    /// Answers with the content of `AssumeRoleResult`.
    fn assume_role(&self, caller: &Caller, form: &BTreeMap<String, String>) -> S3Result<String> {
        let wish = Wish::read(form)?;
        let state = self.0.state.current();
        let mut context = Context::default();
        context.set("sts:ExternalId", wish.external_id);
        context.set("sts:RoleSessionName", Some(wish.session_name));
        context.set("aws:PrincipalArn", Some(caller.arn()));
        context.set("aws:PrincipalAccount", Some(caller.account()));
        context.set("aws:SecureTransport", Some("true"));
        let principals = caller.principals();
        let question = Question {
            action: "sts:AssumeRole",
            resource: None,
            principals: &principals,
            context: &context,
        };
        // A role that does not exist is refused like one that does not trust the caller: otherwise
        // anybody could find out which roles there are.
        let trusting = state
            .role(wish.role_arn)
            .filter(|role| role.trust_policy.decide(&question) == Decision::Allowed);
        let Some(role) = trusting else {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.arn(),
                wish.role_arn
            );
            return Err(sts_error(StatusCode::FORBIDDEN, "AccessDenied", message));
        };
        if wish.seconds > role.max_session_seconds {
            return Err(invalid(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        if matches!(caller, Caller::Session(_)) && wish.seconds > MAX_CHAINED_SECONDS {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        let (partition, account) = (partition_of(&role.arn), account_of(&role.arn));
        let arn = format!(
            "arn:{partition}:sts::{account}:assumed-role/{}/{}",
            role.name(),
            wish.session_name
        );
        let grant = Grant {
            role_arn: role.arn.clone(),
            arn,
            policy: wish.policy,
            seconds: state.session_seconds.unwrap_or(wish.seconds),
        };
        let session = self
            .0
            .sessions
            .issue(grant, self.0.clock.now())
            .map_err(crate::errors::internal)?;
        let mut xml = String::from("<Credentials>");
        push(&mut xml, "AccessKeyId", &session.access_key_id);
        push(&mut xml, "SecretAccessKey", &session.secret_access_key);
        push(&mut xml, "SessionToken", &session.token);
        // Whole seconds, as AWS has it; rounded down, so that nobody counts on more than there is.
        push(
            &mut xml,
            "Expiration",
            &session.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        xml.push_str("</Credentials><AssumedRoleUser>");
        push(
            &mut xml,
            "AssumedRoleId",
            &format!("{}:{}", role_id(&role.arn), wish.session_name),
        );
        push(&mut xml, "Arn", &session.arn);
        xml.push_str("</AssumedRoleUser>");
        Ok(xml)
    }
}

/// The parameters of AssumeRole, checked.
struct Wish<'a> {
    role_arn: &'a str,
    session_name: &'a str,
    external_id: Option<&'a str>,
    seconds: u32,
    policy: Option<Document>,
}

impl<'a> Wish<'a> {
    fn read(form: &'a BTreeMap<String, String>) -> S3Result<Self> {
        let known = [
            "Action",
            "Version",
            "RoleArn",
            "RoleSessionName",
            "ExternalId",
            "DurationSeconds",
            "Policy",
        ];
        if let Some(other) = form.keys().find(|name| !known.contains(&name.as_str())) {
            let message = format!("this server does not know the parameter {other}");
            return Err(sts_error(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                message,
            ));
        }
        let required = |name: &str, member: &str| {
            form.get(name)
                .map(String::as_str)
                .ok_or_else(|| constraint("null", member, "Member must not be null"))
        };
        let role_arn = required("RoleArn", "roleArn")?;
        let session_name = required("RoleSessionName", "roleSessionName")?;
        check_text(session_name, "roleSessionName", (2, 64), "=,.@-+")?;
        let external_id = form.get("ExternalId").map(String::as_str);
        if let Some(external_id) = external_id {
            check_text(external_id, "externalId", (2, 1224), "=,.@:/-+")?;
        }
        if role_arn.len() < 20 {
            let rule = "Member must have length greater than or equal to 20";
            return Err(constraint(&format!("'{role_arn}'"), "roleArn", rule));
        }
        if !is_iam_arn(role_arn, "role") {
            return Err(invalid(&format!("{role_arn} is invalid")));
        }
        let seconds = match form.get("DurationSeconds") {
            None => DEFAULT_SECONDS,
            Some(text) => match text.parse::<u32>() {
                Ok(seconds) if (900..=43_200).contains(&seconds) => seconds,
                _ => {
                    let rule = "Member must have value between 900 and 43200";
                    return Err(constraint(&format!("'{text}'"), "durationSeconds", rule));
                }
            },
        };
        let policy = form
            .get("Policy")
            .map(|text| session_policy(text))
            .transpose()?;
        Ok(Self {
            role_arn,
            session_name,
            external_id,
            seconds,
            policy,
        })
    }
}

fn session_policy(text: &str) -> S3Result<Document> {
    let parsed = serde_json::from_str::<Document>(text).map_err(|error| error.to_string());
    parsed
        .and_then(|policy| policy.check_permissions().map(|()| policy))
        .map_err(|reason| sts_error(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", reason))
}

/// Checks length and characters; `\w` of AWS's patterns is ASCII.
fn check_text(text: &str, member: &str, (min, max): (usize, usize), also: &str) -> S3Result<()> {
    let value = format!("'{text}'");
    let allowed = |one: char| one.is_ascii_alphanumeric() || one == '_' || also.contains(one);
    if text.len() < min {
        let rule = format!("Member must have length greater than or equal to {min}");
        return Err(constraint(&value, member, &rule));
    }
    if text.len() > max {
        let rule = format!("Member must have length less than or equal to {max}");
        return Err(constraint(&value, member, &rule));
    }
    if !text.chars().all(allowed) {
        let rule = format!("Member must satisfy regular expression pattern: [\\w{also}]*");
        return Err(constraint(&value, member, &rule));
    }
    Ok(())
}

fn constraint(value: &str, member: &str, rule: &str) -> S3Error {
    invalid(&format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {rule}"
    ))
}

fn invalid(message: &str) -> S3Error {
    sts_error(StatusCode::BAD_REQUEST, "ValidationError", message)
}

fn sts_error(status: StatusCode, code: &str, message: impl Into<String>) -> S3Error {
    custom(status, code, message)
}

fn caller_identity(caller: &Caller) -> String {
    let mut xml = String::new();
    push(&mut xml, "Arn", caller.arn());
    push(&mut xml, "UserId", &role_id(caller.arn()));
    push(&mut xml, "Account", caller.account());
    xml
}

/// An id in the form of IAM's, always the same for the same ARN.
fn role_id(arn: &str) -> String {
    use s3s::crypto::Checksum;
    let digest = s3s::crypto::Sha256::checksum(arn.as_bytes());
    let id: String = digest
        .iter()
        .take(17)
        .map(|byte| char::from(b'A' + byte % 26))
        .collect();
    format!("AROA{id}")
}

const INVALID_TOKEN: &str = "The security token included in the request is invalid.";

/// Turns a refusal that s3s made by itself, in S3's words, into STS's.
pub(crate) fn translate(status: StatusCode, fault: Fault) -> (StatusCode, Fault) {
    let (code, message) = match fault.code.as_str() {
        "InvalidAccessKeyId" => ("InvalidClientTokenId", INVALID_TOKEN),
        "AccessDenied" if fault.message == "Signature is required" => (
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ),
        _ => return (status, fault),
    };
    (
        StatusCode::FORBIDDEN,
        Fault {
            code: code.into(),
            message: message.into(),
        },
    )
}
