//! An organisation's export configuration.

use axum::{Json, extract::State, http::StatusCode};
use common::db::{
    self, Tenant,
    export_configs::{self, Change, DeliveryState, ExportConfig, SaveError},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CONFIG, destination::ConfigRequest};
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::{JsonBody, MayTest, OrgAdmin, OrgAdminBy},
    publish,
};

/// Whether events are being delivered.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ConfigState {
    Disabled,
    AwaitingTest,
    Active,
    Paused,
}

/// An organisation's export configuration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditExportConfig {
    id: Uuid,
    org_id: String,
    bucket: String,
    region: String,
    /// Enough of the role's ARN to recognise it.
    role_arn_masked: String,
    /// What all keys begin with.
    #[schema(required)]
    prefix: Option<String>,
    enabled: bool,
    /// What the role's trust policy has to ask for (`sts:ExternalId`).
    external_id: String,
    state: ConfigState,
    /// Why delivery is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state_reason: Option<String>,
    /// When a paused destination is next tried.
    #[schema(required)]
    next_probe_at: Option<Timestamp>,
    /// When this destination was last tested.
    #[schema(required)]
    last_tested_at: Option<Timestamp>,
    /// How that went.
    #[schema(required)]
    last_test_ok: Option<bool>,
    /// The last failure of a test or a delivery, until one succeeds.
    #[schema(required)]
    last_error: Option<String>,
    /// When an object was last delivered.
    #[schema(required)]
    last_exported_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<ExportConfig> for AuditExportConfig {
    fn from(config: ExportConfig) -> Self {
        let destination = config.destination;
        Self {
            id: config.id.0,
            org_id: config.org_id.into(),
            bucket: destination.bucket.to_string(),
            region: destination.region.to_string(),
            role_arn_masked: destination.role_arn.masked(),
            prefix: (!destination.prefix.is_empty()).then(|| destination.prefix.to_string()),
            enabled: config.enabled,
            external_id: config.external_id,
            state_reason: config
                .pause_error
                .filter(|_| config.state == DeliveryState::Paused),
            state: match config.state {
                DeliveryState::Disabled => ConfigState::Disabled,
                DeliveryState::AwaitingTest => ConfigState::AwaitingTest,
                DeliveryState::Active => ConfigState::Active,
                DeliveryState::Paused => ConfigState::Paused,
            },
            next_probe_at: config.next_probe_at,
            last_tested_at: config.last_tested_at,
            last_test_ok: config.last_test_ok,
            last_error: config.last_error,
            last_exported_at: config.last_exported_at,
            created_at: config.created_at,
            updated_at: config.updated_at,
        }
    }
}

/// Show the configuration.
#[utoipa::path(
    get,
    path = CONFIG,
    tag = "configuration",
    operation_id = "getConfig",
    params(("orgId" = String, Path, description = "The organisation")),
    responses(
        (status = 200, body = AuditExportConfig),
        (status = 404, body = ErrorBody, description = "`not_configured`, or `not_found`: no such organisation"),
    ),
)]
pub(super) async fn show(
    OrgAdmin(org): OrgAdmin,
    State(state): State<AppState>,
) -> Result<Json<AuditExportConfig>, ApiError> {
    let client = state.pool.get().await?;
    let config = export_configs::find(&Tenant::of(&client, &org.id))
        .await?
        .ok_or(ApiError::NotConfigured)?;
    Ok(Json(config.into()))
}

/// Save the configuration.
///
/// An enabled configuration is tested by itself; delivery begins once the saved destination has
/// passed a test.
#[utoipa::path(
    post,
    path = CONFIG,
    tag = "configuration",
    operation_id = "saveConfig",
    params(("orgId" = String, Path, description = "The organisation")),
    request_body = ConfigRequest,
    responses(
        (status = 201, body = AuditExportConfig),
        (status = 404, body = ErrorBody),
        (status = 422, body = ErrorBody, description = "`invalid_request` or `start_from_not_first`"),
        (
            status = 429,
            body = ErrorBody,
            description = "`rate_limited`: the organisation, or the caller, asked too often",
            headers(("Retry-After" = u64, description = "Seconds until it is let through")),
        ),
    ),
)]
pub(super) async fn save(
    MayTest(org, author): MayTest,
    State(state): State<AppState>,
    JsonBody(request): JsonBody<ConfigRequest>,
) -> Result<(StatusCode, Json<AuditExportConfig>), ApiError> {
    let mut client = state.pool.get().await?;
    let stored = export_configs::find(&Tenant::of(&client, &org.id)).await?;
    let wanted = request.check(stored.as_ref())?;
    let change = Change {
        bucket: wanted.bucket,
        region: wanted.region,
        role_arn: wanted.role_arn,
        prefix: wanted.prefix,
        enabled: request.enabled,
        start_from: request.start_from,
    };
    let saved = export_configs::save(&mut client, &org.id, change, &author)
        .await
        .map_err(|error| match error {
            SaveError::UnknownOrg => ApiError::UnknownOrg,
            SaveError::RoleRequired => ApiError::field("roleArn", "roleArn is missing"),
            SaveError::StartFromNotFirst => ApiError::StartFromNotFirst,
            SaveError::Partition(error) => ApiError::field("region", error.to_string()),
            SaveError::Database(error) => error.into(),
        })?;
    tracing::info!(
        version = saved.config.version,
        enabled = saved.config.enabled,
        "configuration saved"
    );

    if let Some(test) = saved.test
        && let Err(error) = publish::test(&state.publisher, &org.id, test).await
    {
        // Saved is saved: the scheduler publishes the row as soon as the broker is back.
        tracing::warn!(%error, %test, "the test is queued, but not published yet");
        db::connection_tests::mark_unpublished(&Tenant::of(&client, &org.id), test).await?;
    }
    Ok((StatusCode::CREATED, Json(saved.config.into())))
}

/// Delete the configuration.
///
/// Events are kept, and so is the place up to which they were delivered: a configuration that is
/// saved later goes on from there.
#[utoipa::path(
    delete,
    path = CONFIG,
    tag = "configuration",
    operation_id = "deleteConfig",
    params(("orgId" = String, Path, description = "The organisation")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(super) async fn delete(
    OrgAdminBy(org, author): OrgAdminBy,
    State(state): State<AppState>,
) -> Result<StatusCode, ApiError> {
    let mut client = state.pool.get().await?;
    if !export_configs::delete(&mut client, &org.id, &author).await? {
        return Err(ApiError::NotConfigured);
    }
    tracing::info!("configuration deleted");
    Ok(StatusCode::NO_CONTENT)
}
