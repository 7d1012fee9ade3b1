//! How an organisation's delivery stands.

use axum::{Json, extract::State};
use common::db::{
    Tenant,
    export_configs::DeliveryState,
    export_state::{self, Status},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::STATUS;
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::OrgAdmin,
};

/// Whether events are being delivered.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusState {
    NotConfigured,
    Disabled,
    AwaitingTest,
    Active,
    Paused,
}

impl From<Option<DeliveryState>> for StatusState {
    fn from(state: Option<DeliveryState>) -> Self {
        match state {
            None => Self::NotConfigured,
            Some(DeliveryState::Disabled) => Self::Disabled,
            Some(DeliveryState::AwaitingTest) => Self::AwaitingTest,
            Some(DeliveryState::Active) => Self::Active,
            Some(DeliveryState::Paused) => Self::Paused,
        }
    }
}

/// How an organisation's delivery stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditExportStatus {
    org_id: String,
    state: StatusState,
    /// Why delivery is paused.
    #[schema(required)]
    state_reason: Option<String>,
    /// Since when it is paused.
    #[schema(required)]
    paused_at: Option<Timestamp>,
    /// When a paused destination is next tried.
    #[schema(required)]
    next_probe_at: Option<Timestamp>,
    /// Events that are not delivered yet.
    pending_events: i64,
    /// Their size as uncompressed lines, in bytes.
    pending_bytes: i64,
    /// When the oldest of them was recorded.
    #[schema(required)]
    oldest_pending_at: Option<Timestamp>,
    /// How long ago that is, in seconds.
    #[schema(required)]
    oldest_pending_age_seconds: Option<i64>,
    /// The last sequence number that is delivered; 0 where none is.
    delivered_seq: i64,
    /// When an object was last delivered.
    #[schema(required)]
    last_exported_at: Option<Timestamp>,
    /// The last failure of a test or a delivery, until one succeeds.
    #[schema(required)]
    last_error: Option<String>,
    /// The run that is queued or at work.
    #[schema(required)]
    active_run_id: Option<Uuid>,
    /// When that run may begin, where it has not yet; without one, when it is next looked whether
    /// something is pending.
    #[schema(required)]
    next_run_at: Option<Timestamp>,
}

impl AuditExportStatus {
    fn of(org_id: String, status: Status) -> Self {
        let (oldest_pending_at, oldest_pending_age_seconds) = status.oldest_pending.unzip();
        Self {
            org_id,
            state: status.state.into(),
            state_reason: status.pause_error,
            paused_at: status.paused_at,
            next_probe_at: status.next_probe_at,
            pending_events: status.pending_events,
            pending_bytes: status.pending_bytes,
            oldest_pending_at,
            oldest_pending_age_seconds,
            delivered_seq: status.cursor_seq,
            last_exported_at: status.last_exported_at,
            last_error: status.last_error,
            active_run_id: status.active_run.map(|run| run.0),
            next_run_at: status.next_run_at,
        }
    }
}

/// Show how delivery stands.
///
/// What is pending is counted at the same cost whatever its number.
#[utoipa::path(
    get,
    path = STATUS,
    tag = "runs",
    operation_id = "getStatus",
    params(("orgId" = String, Path, description = "The organisation")),
    responses(
        (status = 200, body = AuditExportStatus),
        (status = 404, body = ErrorBody),
    ),
)]
pub(super) async fn show(
    OrgAdmin(org): OrgAdmin,
    State(state): State<AppState>,
) -> Result<Json<AuditExportStatus>, ApiError> {
    let client = state.pool.get().await?;
    let status = export_state::status(&Tenant::of(&client, &org.id))
        .await?
        .ok_or(ApiError::UnknownOrg)?;
    Ok(Json(AuditExportStatus::of(org.id.into(), status)))
}
