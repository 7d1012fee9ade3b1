//! Taking audit events in.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    },
};
use common::{
    db::{
        Tenant,
        audit_events::{self, AppendError, PreparedEvents},
    },
    ids::OrgId,
};
use serde::Serialize;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::EVENTS;
use crate::{
    AppState,
    auth::{Caller, Scope},
    error::{ApiError, ErrorBody},
    extract::{BodyReader, PathParameter},
    ingest::{self, EncodedEvent, Format, MAX_BODY_BYTES},
};

/// Bodies that may be in memory at once, in KiB; with their encoded events about twice as much.
const BUDGET_KIB: usize = 128 * 1024;
/// How long a request waits for its share of the budget.
const BUDGET_WAIT: Duration = Duration::from_secs(5);
/// How much of a body has to have arrived, in bytes, before its share is taken: one that is only
/// announced holds nothing back from others.
const BEGINNING_BYTES: usize = 64 * 1024;
/// Bodies at once of which no more has arrived.
const BEGINNINGS: usize = 256;

/// Bounds the memory of all ingest requests together, whatever their number.
#[derive(Debug, Clone)]
pub(crate) struct IngestBudget {
    kib: Arc<Semaphore>,
    beginnings: Arc<Semaphore>,
}

impl IngestBudget {
    pub(crate) fn new() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(BUDGET_KIB)),
            beginnings: Arc::new(Semaphore::new(BEGINNINGS)),
        }
    }

    /// Reads a body, and takes its share when its size is known or has shown that it is meant.
    async fn read(
        &self,
        body: Body,
        declared_bytes: Option<usize>,
    ) -> Result<(Bytes, OwnedSemaphorePermit), ApiError> {
        let beginning = within_wait(Arc::clone(&self.beginnings).acquire_owned()).await?;
        let mut reader = BodyReader::new(body, MAX_BODY_BYTES);
        let is_whole = reader.read_to(BEGINNING_BYTES).await?;
        let bytes = if is_whole {
            Some(reader.arrived())
        } else {
            declared_bytes
        };
        let share = self.take(bytes).await?;
        drop(beginning);
        if !is_whole {
            reader.read_to(usize::MAX).await?;
        }
        Ok((reader.into_bytes(), share))
    }

    /// Takes a body's share. One that does not tell its size takes that of the largest.
    async fn take(&self, declared_bytes: Option<usize>) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = declared_bytes.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
        let kib = u32::try_from(bytes.div_ceil(1024).max(1)).map_err(ApiError::internal)?;
        within_wait(Arc::clone(&self.kib).acquire_many_owned(kib)).await
    }
}

async fn within_wait(
    taking: impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>>,
) -> Result<OwnedSemaphorePermit, ApiError> {
    let taken = tokio::time::timeout(BUDGET_WAIT, taking)
        .await
        .map_err(|_| ApiError::Overloaded)?;
    taken.map_err(ApiError::internal)
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppendResult {
    /// Events that are stored now and were not before.
    accepted: i64,
    /// Events whose id was seen before, in this batch or an earlier one; the first stays.
    duplicates: i64,
    /// The organisation's last sequence number.
    last_seq: i64,
}

/// Who did something, or what it was done to.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "for the document only: events are never taken apart"
)]
struct Party {
    r#type: String,
    id: String,
    name: Option<String>,
}

/// From where.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "for the document only")]
struct EventContext {
    location: Option<String>,
    user_agent: Option<String>,
}

/// An audit event. Values are exported byte for byte as sent; anything else than these fields is
/// refused. At most 256 KiB, nested at most 32 deep.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "for the document only")]
struct AuditEvent {
    /// The sender's id, 1 to 256 bytes: an event that is sent again with it is counted, not stored.
    id: String,
    occurred_at: jiff::Timestamp,
    /// 1 to 256 bytes; those that begin with `audit_export.` are the system's own.
    action: String,
    actor: Party,
    targets: Option<Vec<Party>>,
    context: Option<EventContext>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// The largest body, in bytes, that is read in less time than it takes to hand it to another thread.
const SMALL_BODY_BYTES: usize = 16 * 1024;

/// Append audit events.
#[utoipa::path(
    post,
    path = EVENTS,
    tag = "platform",
    operation_id = "appendEvents",
    description = "Needs the scope `audit-events:write`. A JSON array, or one event a line (NDJSON): at most \
        10,000 events and 16 MiB. Either the whole batch is stored or nothing of it.",
    params(("orgId" = String, Path, description = "The organisation")),
    request_body(content(
        (Vec<AuditEvent> = "application/json"),
        (AuditEvent = "application/x-ndjson"),
    )),
    responses(
        (status = 200, body = AppendResult),
        (status = 400, body = ErrorBody, description = "`invalid_json`"),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 408, body = ErrorBody, description = "`request_timeout`: it arrived more slowly than 64 kB a second"),
        (status = 413, body = ErrorBody, description = "`payload_too_large` or `too_many_events`"),
        (status = 415, body = ErrorBody),
        (status = 422, body = ErrorBody, description = "`invalid_event`, with `index` and `field`, or `empty_batch`"),
        (status = 503, body = ErrorBody, description = "`org_busy`, `overloaded`, `storage_full`, `database_unavailable`, `auth_unavailable` or `shutting_down`: try again after `Retry-After`"),
    ),
)]
pub(super) async fn append(
    caller: Caller,
    PathParameter(org): PathParameter<OrgId>,
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<AppendResult>, ApiError> {
    caller.require_scope(Scope::WriteAuditEvents)?;
    let org = org.ok_or(ApiError::UnknownOrg)?;
    let (parts, body) = request.into_parts();
    let format = format_of(&parts.headers)?;
    let declared = declared_bytes(&parts.headers);
    let (body, _share) = state.ingest_budget.read(body, declared).await?;

    let events = if body.len() <= SMALL_BODY_BYTES {
        ingest::parse(&body, format, &org)?
    } else {
        // Milliseconds of pure computation: not on a thread that serves others.
        let org = org.clone();
        let parsing = tokio::task::spawn_blocking(move || ingest::parse(&body, format, &org));
        parsing.await.map_err(ApiError::internal)??
    };
    let _turn = state.ingest_turns.take(&org).await?;
    let client = state.pool.get().await?;
    let appended = audit_events::append(&Tenant::of(&client, &org), &columns(&events))
        .await
        .map_err(|error| match error {
            AppendError::UnknownOrg => ApiError::UnknownOrg,
            AppendError::Database(error) => error.into(),
        })?;
    Ok(Json(AppendResult {
        accepted: appended.accepted,
        duplicates: appended.duplicates,
        last_seq: appended.last_seq,
    }))
}

fn columns(events: &[EncodedEvent]) -> PreparedEvents<'_> {
    PreparedEvents {
        ids: events.iter().map(|event| event.event_id.as_str()).collect(),
        occurred_at: events.iter().map(|event| event.occurred_at).collect(),
        heads: events.iter().map(|event| event.head.as_str()).collect(),
        tails: events.iter().map(|event| event.tail.as_str()).collect(),
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, ApiError> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(ApiError::UnsupportedMediaType(
            "send the events without Content-Encoding",
        ));
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Format::from_content_type(content_type).ok_or(ApiError::UnsupportedMediaType(
        "send a JSON array with Content-Type: application/json, or one event a line with \
         Content-Type: application/x-ndjson",
    ))
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn the_budget_is_shared_and_finite() {
        let budget = IngestBudget::new();
        let largest = BUDGET_KIB * 1024 / MAX_BODY_BYTES;
        let mut taken = Vec::new();
        for _ in 0..largest {
            taken.push(budget.take(None).await.unwrap());
        }
        assert!(matches!(
            budget.take(Some(10)).await,
            Err(ApiError::Overloaded)
        ));
        taken.pop();
        assert!(budget.take(Some(10)).await.is_ok());
    }

    #[test]
    fn the_format_is_told_by_the_headers() {
        let headers = |pairs: &[(axum::http::HeaderName, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect()
        };
        assert_eq!(
            format_of(&headers(&[(CONTENT_TYPE, "application/json")])).unwrap(),
            Format::Array
        );
        assert_eq!(
            format_of(&headers(&[(CONTENT_TYPE, "application/x-ndjson")])).unwrap(),
            Format::Ndjson
        );
        assert!(format_of(&headers(&[])).is_err());
        assert!(format_of(&headers(&[(CONTENT_TYPE, "text/csv")])).is_err());
        let zipped = headers(&[
            (CONTENT_TYPE, "application/json"),
            (CONTENT_ENCODING, "gzip"),
        ]);
        assert!(format_of(&zipped).is_err());
    }
}
