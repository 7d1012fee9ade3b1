//! Whether a caller may do something to a bucket or a key: its role's policy, the policy of its
//! session, and the policy of the bucket or key. See
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.

use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::App;
use crate::access::Authorized;
use crate::condition::Context;
use crate::errors::access_denied;
use crate::identity::Caller;
use crate::policy::{Decision, Document, Question};
use crate::state::State;

/// What a request is about.
pub(crate) struct Resource<'a> {
    pub(crate) arn: &'a str,
    /// The account that owns it.
    pub(crate) account: &'a str,
    /// The policy of the resource itself.
    pub(crate) policy: Option<&'a Document>,
}

/// Why something is refused.
pub(crate) enum Refusal {
    /// It is another account's, which does not allow it.
    OtherAccount,
    /// What follows the question in AWS's message.
    Because(String),
}

/// Decides by the policies of now.
pub(crate) fn decide(
    state: &State,
    caller: &Caller,
    context: &Context,
    action: &str,
    resource: &Resource<'_>,
) -> Result<(), Refusal> {
    let names = caller.principals();
    let question = |principals| Question {
        action,
        resource: Some(resource.arn),
        principals,
        context,
    };
    let by_resource = match resource.policy {
        Some(policy) => policy.decide(&question(&names)),
        None => Decision::NotAllowed,
    };
    let own = resource.account == caller.account();
    let because = |why: &str| Err(Refusal::Because(why.to_owned()));
    match by_resource {
        Decision::Denied if own => {
            return because("with an explicit deny in a resource-based policy");
        }
        Decision::Denied => return Err(Refusal::OtherAccount),
        Decision::NotAllowed if !own => return Err(Refusal::OtherAccount),
        Decision::NotAllowed | Decision::Allowed => {}
    }
    let session = match caller {
        Caller::User { .. } => return Ok(()),
        Caller::Session(session) => session,
    };
    let role = state
        .role(&session.role_arn)
        .map(|role| role.policy.decide(&question(&[])));
    let narrowed = session
        .policy
        .as_ref()
        .map(|policy| policy.decide(&question(&[])));
    match (role, narrowed) {
        (Some(Decision::Denied), _) => because("with an explicit deny in an identity-based policy"),
        (_, Some(Decision::Denied)) => because("with an explicit deny in a session policy"),
        (Some(Decision::Allowed), None | Some(Decision::Allowed)) => Ok(()),
        (Some(Decision::Allowed), Some(Decision::NotAllowed)) => because(&format!(
            "because no session policy allows the {action} action"
        )),
        (None | Some(Decision::NotAllowed), _) => because(&format!(
            "because no identity-based policy allows the {action} action"
        )),
    }
}

impl Authorized {
    /// Whether the caller may do this to the key, or to the bucket where there is none.
    pub(crate) fn may(&self, app: &App, action: &str, key: Option<&str>) -> S3Result<()> {
        let partition = self.caller.partition();
        let bucket = self.bucket.as_ref();
        let name = bucket.map_or("*", |bucket| bucket.name.as_str());
        let arn = match key {
            Some(key) => format!("arn:{partition}:s3:::{name}/{key}"),
            None => format!("arn:{partition}:s3:::{name}"),
        };
        let resource = Resource {
            arn: &arn,
            account: bucket.map_or(self.caller.account(), |bucket| &bucket.account),
            policy: bucket.and_then(|bucket| bucket.policy.as_ref()),
        };
        let state = app.state.current();
        match decide(&state, &self.caller, &self.context, action, &resource) {
            Ok(()) => Ok(()),
            // AWS explains refusals only within an account.
            Err(Refusal::OtherAccount) => {
                tracing::info!(
                    principal = self.caller.arn(),
                    action,
                    "refused: the bucket is of another account, which does not allow it"
                );
                Err(access_denied())
            }
            Err(Refusal::Because(why)) => Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                format!(
                    "User: {} is not authorized to perform: {action} on resource: \"{arn}\" {why}",
                    self.caller.arn()
                ),
            )),
        }
    }
}
