//! Becoming the customer's role, and the clients that act as it.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_s3::config::{Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sts::error::SdkError;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::result::DispatchFailure;
use common::{destination::Destination, ids::OrgId};
use jiff::{SignedDuration, Timestamp};
use moka::future::Cache;

use super::{
    clock::SigningClock,
    failure::{CallError, Operation, Verdict},
};
use crate::{config::Config, retry::Budget};

/// How long a session is asked for: the longest that role chaining allows, in seconds.
const SESSION_SECONDS: i32 = 3600;
/// A session is replaced this long before it expires, or after three quarters of a shorter life.
const REFRESH_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// A session that seems to have ended long before it was granted is used for this long: it is the
/// clocks that disagree, and a session that has ended says so when it is used.
const LIFE_BY_WRONG_CLOCK: SignedDuration = SignedDuration::from_mins(15);
/// By so much clocks may differ without any request being refused.
const TOLERATED_SKEW: SignedDuration = SignedDuration::from_mins(15);
/// Sessions kept at most.
const MAX_SESSIONS: u64 = 1_000;
/// How long a connection to AWS may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long STS may take.
const STS_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose session it is. Never the role alone: another organisation that names the same role must not
/// get this one's session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The organisation.
    pub org: OrgId,
    /// The version of its destination.
    pub version: i64,
    /// Its external id.
    pub external_id: String,
}

/// A client that acts as the customer's role.
#[derive(Clone)]
pub struct Session {
    client: aws_sdk_s3::Client,
    /// By the clock that nobody sets.
    refresh_at: Instant,
}

impl Session {
    /// The client.
    pub fn client(&self) -> &aws_sdk_s3::Client {
        &self.client
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("refresh_at", &self.refresh_at)
            .finish_non_exhaustive()
    }
}

/// Assumes roles, and keeps the sessions that exports use. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    base: SdkConfig,
    sts: aws_sdk_sts::Client,
    clock: SigningClock,
    path_style: bool,
    request_timeout: Duration,
    cache: Cache<SessionKey, Session>,
}

impl Sessions {
    /// Builds on an SDK config that tells our identity, our region, and endpoints. All clients share
    /// one pool of connections: left to itself, each would open its own and read the roots anew.
    pub fn new(base: SdkConfig, config: &Config) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        // The SDK would have each client correct its clock for itself, on top of what all share here.
        let base = base
            .into_builder()
            .http_client(http)
            .disable_clock_skew_correction(true)
            .build();
        let clock = SigningClock::default();
        let sts = aws_sdk_sts::config::Builder::from(&base)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(STS_TIMEOUT))
            .time_source(clock.clone())
            .build();
        Self {
            base,
            sts: aws_sdk_sts::Client::from_conf(sts),
            clock,
            path_style: config.s3_path_style,
            request_timeout: config.s3_timeout,
            cache: Cache::new(MAX_SESSIONS),
        }
    }

    /// The organisation's session for exports: the one at hand, or a new one.
    ///
    /// # Errors
    /// The last attempt's to assume the role.
    pub async fn get(
        &self,
        key: &SessionKey,
        destination: &Destination,
        budget: &mut Budget,
    ) -> Result<Session, CallError> {
        if let Some(session) = self.cache.get(key).await
            && Instant::now() < session.refresh_at
        {
            return Ok(session);
        }
        let session = self
            .assume(&key.org, destination, Some(&key.external_id), budget)
            .await?;
        self.cache.insert(key.clone(), session.clone()).await;
        Ok(session)
    }

    /// Drops a session that a service does not accept any more.
    pub async fn forget(&self, key: &SessionKey) {
        self.cache.invalidate(key).await;
    }

    /// Takes over the service's time where it found ours too far off; true when that may help.
    pub fn correct_clock(&self, error: &CallError) -> bool {
        match (error.verdict, error.server_time) {
            (Verdict::ClockSkew, Some(server_time)) => {
                self.clock.correct(server_time);
                true
            }
            _ => false,
        }
    }

    /// Assumes the role anew, with the external id or without any, and retries what is transient.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn assume(
        &self,
        org: &OrgId,
        destination: &Destination,
        external_id: Option<&str>,
        budget: &mut Budget,
    ) -> Result<Session, CallError> {
        let once = || self.assume_once(org, destination, external_id);
        match budget.retry(once).await {
            Err(error) if self.correct_clock(&error) => budget.retry(once).await,
            result => result,
        }
    }

    async fn assume_once(
        &self,
        org: &OrgId,
        destination: &Destination,
        external_id: Option<&str>,
    ) -> Result<Session, CallError> {
        let asked_at = Instant::now();
        let output = self
            .sts
            .assume_role()
            .role_arn(destination.role_arn.expose())
            .role_session_name(session_name(org))
            .duration_seconds(SESSION_SECONDS)
            .set_external_id(external_id.map(str::to_owned))
            .send()
            .await
            .map_err(|e| sts_error(&e))?;
        let Some(granted) = output.credentials else {
            return Err(CallError::not_of_aws(Operation::AssumeRole));
        };
        let now = Timestamp::try_from(self.clock.now()).unwrap_or_else(|_| Timestamp::now());
        let expires_at = Timestamp::from_second(granted.expiration.secs()).unwrap_or(now);
        let credentials = Credentials::new(
            granted.access_key_id,
            granted.secret_access_key,
            Some(granted.session_token),
            None,
            "assumed-role",
        );
        Ok(Session {
            client: self.client(destination, credentials),
            refresh_at: asked_at + refresh_after(expires_at.duration_since(now)),
        })
    }

    fn client(&self, destination: &Destination, credentials: Credentials) -> aws_sdk_s3::Client {
        let config = addressing(&self.base, destination, self.path_style)
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(self.request_timeout))
            .time_source(self.clock.clone())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// Where requests for a destination go: to the operator's endpoint, or AWS's for the region. A name
/// with dots would make several labels of the host's name, for which AWS's certificates are not
/// good: it always stands in the path.
fn addressing(
    base: &SdkConfig,
    destination: &Destination,
    path_style: bool,
) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::from(base)
        .region(Region::new(destination.region.as_str().to_owned()))
        .force_path_style(path_style || destination.bucket.as_str().contains('.'))
}

/// After how long a session is replaced, by what seems to be left of its life. The clocks may differ,
/// and STS never grants more than was asked for.
fn refresh_after(life: SignedDuration) -> Duration {
    let life = match life.min(SignedDuration::from_secs(SESSION_SECONDS.into())) {
        life if life < -TOLERATED_SKEW => LIFE_BY_WRONG_CLOCK,
        life => life,
    };
    let after = (life * 3 / 4).max(life - REFRESH_BEFORE);
    after.try_into().unwrap_or_default()
}

fn timeouts(of_request: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(of_request)
        .build()
}

fn sts_error(error: &SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError>) -> CallError {
    // Our own credentials could not be had: nothing was sent, and the customer is not to blame.
    match error {
        SdkError::ConstructionFailure(_) => {
            CallError::ours(Operation::AssumeRole, "our own AWS identity cannot be had")
        }
        SdkError::DispatchFailure(failure) if is_about_us(failure) => {
            let mut ours = CallError::new(Operation::AssumeRole, error);
            ours.verdict = Verdict::Ours;
            ours
        }
        _ => CallError::new(Operation::AssumeRole, error),
    }
}

/// What is neither the network's nor the service's doing; a connection that ends early is the network's.
fn is_about_us(failure: &DispatchFailure) -> bool {
    failure.is_user() || (failure.is_other() && failure.as_other().is_none())
}

/// A session name that tells the organisation: at most 64 of `[\w+=,.@-]`. A long id is cut and told
/// apart by a hash. See `RoleSessionName` in
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
fn session_name(org: &OrgId) -> String {
    let hash = digest(&SHA256, org.as_str().as_bytes());
    let hash: String = hash.as_ref()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let shown: String = org.as_str().chars().take(40).collect();
    format!("audit-export-{shown}-{hash}")
}

#[cfg(test)]
mod hosts;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names_tell_the_organisation_and_fit() {
        assert!(session_name(&"acme".parse().unwrap()).starts_with("audit-export-acme-"));
        let a = session_name(&("x".repeat(63) + "a").parse().unwrap());
        let b = session_name(&("x".repeat(63) + "b").parse().unwrap());
        assert!(a.len() <= 64 && a != b, "{a}");
    }

    #[test]
    fn sessions_are_replaced_before_they_end_and_not_at_once() {
        let after = |minutes| refresh_after(SignedDuration::from_mins(minutes)).as_secs() / 60;
        assert_eq!(after(60), 50);
        assert_eq!(after(20), 15);
        // STS's clock is ahead of ours.
        assert_eq!(after(74), 50);
        assert_eq!(after(180), 50);
        // It is behind.
        assert_eq!(after(46), 36);
        assert_eq!(after(-60), 11);
        // It really granted as good as nothing.
        assert_eq!(after(0), 0);
        assert_eq!(refresh_after(SignedDuration::from_secs(-1)), Duration::ZERO);
    }
}
