//! Every failure that a client can see: one status, one stable code, one sentence to act on.
//!
//! What went wrong inside goes to the log, once, here, and never into an answer.

use std::{any::Any, error::Error as StdError};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use common::db::{self, export_configs::SaveError};
use http::{
    HeaderValue, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ingest::IngestError;

type Cause = Box<dyn StdError + Send + Sync>;

/// How soon to try again after trouble that may last, in seconds.
const RETRY_SOON_SECONDS: u64 = 5;
/// How soon to try again where another request was in the way, in seconds.
const RETRY_NEXT_SECONDS: u64 = 1;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token, or not just one.
    #[error("send a token: Authorization: Bearer <JWT>")]
    MissingToken,
    /// A token that is not good.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// A token that was good once.
    #[error("the token has expired; get a new one")]
    TokenExpired,
    /// The identity provider's keys cannot be had.
    #[error(
        "tokens cannot be checked at the moment, since the signing keys cannot be fetched; try again soon"
    )]
    AuthUnavailable,
    /// The caller may see the organisation, or holds a platform token, but may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The organisation does not exist, or is none of the caller's: one cannot tell which.
    #[error("there is no organisation with this id that you have access to")]
    UnknownOrg,
    /// The URL means nothing.
    #[error("there is nothing at this path; /openapi.json lists what there is")]
    UnknownPath,
    /// The URL has other methods.
    #[error("this path does not know this method; the Allow header lists those it knows")]
    MethodNotAllowed,
    /// The organisation has no export config.
    #[error(
        "the organisation has no audit export configuration; POST one to /orgs/{{orgId}}/audit-export/config"
    )]
    NotConfigured,
    /// The organisation has no such run.
    #[error("the organisation has no run with this id")]
    UnknownRun,
    /// The body is not JSON.
    #[error("{0}")]
    InvalidJson(String),
    /// The body did not arrive whole.
    #[error("the request's body broke off")]
    IncompleteBody,
    /// The request did not arrive, or was not answered, in time.
    #[error(
        "the request took too long to arrive or to be answered; try again, with smaller bodies over a slow line"
    )]
    RequestTimeout,
    /// A field breaks a rule.
    #[error("{message}")]
    InvalidRequest {
        /// The field, where it is one field's fault.
        field: Option<String>,
        /// The field and the rule.
        message: String,
    },
    /// `startFrom` with a config that is not the organisation's first.
    #[error(
        "startFrom can only be given with the first configuration; delivery goes on where it stands"
    )]
    StartFromNotFirst,
    /// What the request asks of the stored version does not hold.
    #[error("{0}")]
    PreconditionFailed(&'static str),
    /// A batch of events was refused.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The URL is too long.
    #[error("the path and the query are longer than {0} bytes")]
    UriTooLong(usize),
    /// The headers are too many or too large.
    #[error("there are more than {0} headers, or they are larger than {1} bytes together")]
    HeadersTooLarge(usize, usize),
    /// The body is too large.
    #[error("the request's body is larger than {0} bytes")]
    PayloadTooLarge(usize),
    /// The body is in a form that is not known here.
    #[error("{0}")]
    UnsupportedMediaType(&'static str),
    /// A run is queued or running.
    #[error("a run is queued or running already; it will take what is pending")]
    RunInProgress,
    /// The exporter's own identity is not known here.
    #[error(
        "the operator of this service has not told it its own AWS identity, which roles have to trust: \
         AUDIT_EXPORT_PRINCIPAL_ARN has to be set for the API, to the ARN of the exporter's role or user"
    )]
    PrincipalNotConfigured,
    /// Nothing can be exported: why.
    #[error("{0}")]
    NotActive(String),
    /// The organisation or the caller asks too often.
    #[error("{message}")]
    RateLimited {
        /// Who asked too often, and for what.
        message: String,
        /// How soon to try again.
        seconds: u64,
    },
    /// RabbitMQ is away.
    #[error("the job queue cannot be reached at the moment; try again soon")]
    BrokerUnavailable,
    /// No worker answered.
    #[error(
        "no worker has answered in time; the test may still end, see lastTestedAt of the configuration"
    )]
    TestTimedOut,
    /// Postgres is away.
    #[error("the database cannot be reached at the moment; try again soon")]
    DatabaseUnavailable(#[source] Cause),
    /// Postgres's disk is full.
    #[error(
        "the database has no space left; nothing of this request was stored, try again when there is space"
    )]
    StorageFull(#[source] Cause),
    /// Another transaction holds what this one needs.
    #[error("another request for this organisation is being worked on; try again in a second")]
    OrgBusy(#[source] Cause),
    /// As many requests of this kind as fit are being worked on.
    #[error("too many requests are being worked on; try again in a second")]
    Overloaded,
    /// This process is about to end.
    #[error("the service is restarting; try again in a second")]
    ShuttingDown,
    /// A fault of ours.
    #[error("something went wrong on our side; it has been logged under this request's id")]
    Internal(#[source] Cause),
}

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A sentence a person can act on.
    error: String,
    /// A stable name for programs.
    code: &'static str,
    /// The field that breaks a rule, where it is one field's fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// The place of the bad event in its batch, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    index: Option<usize>,
}

impl ApiError {
    /// A field that breaks a rule. The message names the field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            field: Some(field.to_owned()),
            message: message.into(),
        }
    }

    /// A fault of ours, with its cause for the log.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// The status and the stable code.
    #[must_use]
    pub fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MissingToken | Self::Unauthorized(_) => {
                (StatusCode::UNAUTHORIZED, "unauthorized")
            }
            Self::TokenExpired => (StatusCode::UNAUTHORIZED, "token_expired"),
            Self::AuthUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::UnknownOrg | Self::UnknownPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NotConfigured => (StatusCode::NOT_FOUND, "not_configured"),
            Self::UnknownRun => (StatusCode::NOT_FOUND, "run_not_found"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::IncompleteBody => (StatusCode::BAD_REQUEST, "incomplete_body"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::InvalidRequest { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request"),
            Self::StartFromNotFirst => (StatusCode::CONFLICT, "start_from_not_first"),
            Self::Ingest(error) => match error {
                IngestError::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
                IngestError::NotAnArray => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request"),
                IngestError::InvalidEvent { .. } => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "invalid_event")
                }
                IngestError::Empty => (StatusCode::UNPROCESSABLE_ENTITY, "empty_batch"),
                IngestError::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_events"),
            },
            Self::UriTooLong(_) => (StatusCode::URI_TOO_LONG, "uri_too_long"),
            Self::HeadersTooLarge(..) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
            ),
            Self::PreconditionFailed(_) => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::PayloadTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::RunInProgress => (StatusCode::CONFLICT, "run_in_progress"),
            Self::NotActive(_) => (StatusCode::CONFLICT, "not_active"),
            Self::PrincipalNotConfigured => (StatusCode::CONFLICT, "principal_not_configured"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::BrokerUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "broker_unavailable"),
            Self::TestTimedOut => (StatusCode::GATEWAY_TIMEOUT, "test_timed_out"),
            Self::DatabaseUnavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
            }
            Self::StorageFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_full"),
            Self::OrgBusy(_) => (StatusCode::SERVICE_UNAVAILABLE, "org_busy"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { seconds, .. } => Some(*seconds),
            Self::OrgBusy(_) | Self::Overloaded | Self::ShuttingDown => Some(RETRY_NEXT_SECONDS),
            Self::AuthUnavailable
            | Self::BrokerUnavailable
            | Self::DatabaseUnavailable(_)
            | Self::StorageFull(_) => Some(RETRY_SOON_SECONDS),
            _ => None,
        }
    }

    /// How to authenticate (RFC 6750 §3). Only a token that was sent can be called invalid; the sentence
    /// that says why holds no character that would have to be quoted.
    fn challenge(&self) -> Option<HeaderValue> {
        let realm = "Bearer realm=\"audit-export\"";
        let challenge = match self {
            Self::MissingToken => realm.to_owned(),
            Self::Unauthorized(_) | Self::TokenExpired => {
                format!("{realm}, error=\"invalid_token\", error_description=\"{self}\"")
            }
            _ => return None,
        };
        HeaderValue::from_str(&challenge).ok()
    }

    fn log(&self) {
        match self {
            Self::Internal(cause) => {
                tracing::error!(error = %chain(cause.as_ref()), "request failed")
            }
            Self::DatabaseUnavailable(cause) => {
                tracing::warn!(error = %chain(cause.as_ref()), "database unavailable");
            }
            Self::StorageFull(cause) => {
                tracing::error!(error = %chain(cause.as_ref()), "the database's disk is full");
            }
            Self::OrgBusy(cause) => {
                tracing::info!(error = %chain(cause.as_ref()), "organisation busy")
            }
            _ => {}
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, code) = self.status_and_code();
        let (field, index) = match &self {
            Self::InvalidRequest { field, .. } => (field.clone(), None),
            Self::StartFromNotFirst => (Some("startFrom".to_owned()), None),
            Self::Ingest(IngestError::InvalidEvent { field, index, .. }) => {
                (field.clone(), Some(*index))
            }
            _ => (None, None),
        };
        let body = ErrorBody {
            error: self.to_string(),
            code,
            field,
            index,
        };
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<db::PoolError> for ApiError {
    /// No connection could be had, whatever the reason: nothing has been done yet, and it may work
    /// again without anything being changed here.
    fn from(error: db::PoolError) -> Self {
        Self::DatabaseUnavailable(error.into())
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::UnknownOrg => Self::UnknownOrg,
            SaveError::StartFromNotFirst => Self::StartFromNotFirst,
            SaveError::Database(error) => error.into(),
        }
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        match trouble(&error) {
            Trouble::Busy => Self::OrgBusy(error.into()),
            Trouble::Away => Self::DatabaseUnavailable(error.into()),
            Trouble::Full => Self::StorageFull(error.into()),
            Trouble::Ours => Self::Internal(error.into()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Busy,
    Away,
    Full,
    Ours,
}

fn trouble(error: &db::Error) -> Trouble {
    let io = error
        .source()
        .is_some_and(|cause| cause.is::<std::io::Error>());
    match error.code() {
        Some(state) => sql_trouble(state.code()),
        None if error.is_closed() || io => Trouble::Away,
        None => Trouble::Ours,
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn sql_trouble(state: &str) -> Trouble {
    match state {
        // lock_not_available, deadlock_detected, serialization_failure
        "55P03" | "40P01" | "40001" => Trouble::Busy,
        // disk_full
        "53100" => Trouble::Full,
        // read_only_sql_transaction: the server has just become, or is still, a standby;
        // query_canceled: the statement time-out, on a server that is too slow to be of use.
        "25006" | "57014" => Trouble::Away,
        // admin_shutdown, crash_shutdown, cannot_connect_now; connection exceptions; too few resources
        "57P01" | "57P02" | "57P03" => Trouble::Away,
        _ if state.starts_with("08") || state.starts_with("53") => Trouble::Away,
        _ => Trouble::Ours,
    }
}

/// An error and what caused it, on one line; of Postgres's errors only what may be logged.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let database = cause.downcast_ref::<db::Error>();
        let cause_text = database.map_or_else(|| cause.to_string(), db::describe);
        if !text.contains(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
        next = match database.and_then(db::Error::as_db_error) {
            // It is described already, without the row that its details quote.
            Some(_) => None,
            None => cause.source(),
        };
    }
    text
}

/// The answer where a handler panicked.
#[must_use]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::internal(format!("panic: {message}")).into_response()
}

/// The answer to a URL that means nothing.
pub async fn unknown_path() -> ApiError {
    ApiError::UnknownPath
}

/// The answer to a method that a URL does not know; axum adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests;
