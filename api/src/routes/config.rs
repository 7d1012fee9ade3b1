//! An organisation's export configuration.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header::ETAG},
};
use common::db::{
    self, Tenant,
    export_configs::{self, Change, DeliveryState, ExportConfig},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CONFIG, destination::ConfigRequest};
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::{JsonBody, MayTest, OrgAdminBy, OrgReader, must_exist},
    preconditions::{Preconditions, Version},
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
    /// The account that must own the bucket; null means the role's account.
    #[schema(required)]
    bucket_owner: Option<String>,
    /// The KMS key that objects are encrypted with; null leaves it to the bucket's own setting.
    #[schema(required)]
    kms_key_arn: Option<String>,
    /// How objects are compressed: `gzip` or `zstd`.
    compression: &'static str,
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
            bucket_owner: destination.bucket_owner.map(|owner| owner.to_string()),
            kms_key_arn: destination.kms_key_arn.map(|key| key.to_string()),
            compression: destination.compression.as_str(),
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

/// A config with its `ETag`.
type Shown = ([(HeaderName, HeaderValue); 1], Json<AuditExportConfig>);

fn shown(config: ExportConfig) -> Shown {
    let etag = version(&config).etag();
    ([(ETAG, etag)], Json(config.into()))
}

/// Changes with every save, not with tests and deliveries: an admin who has read a config is not to be
/// refused because an export has run meanwhile. So it does not stand for the whole answer, and a GET
/// does not look at `If-None-Match`.
fn version(config: &ExportConfig) -> Version {
    Version::new(config.id.0, config.revision)
}

/// Show the configuration.
///
/// Its `ETag` names what was saved, for `If-Match`; it does not change with tests and deliveries.
#[utoipa::path(
    get,
    path = CONFIG,
    tag = "configuration",
    operation_id = "getConfig",
    params(("orgId" = String, Path, description = "The organisation")),
    responses(
        (status = 200, body = AuditExportConfig, headers(
            ("ETag" = String, description = "Of what is saved; changes with every save and with nothing else"),
        )),
        (status = 404, body = ErrorBody, description = "`not_configured`, or `not_found`: no such organisation"),
    ),
)]
pub(super) async fn show(
    OrgReader(org): OrgReader,
    State(state): State<AppState>,
) -> Result<Shown, ApiError> {
    let client = state.pool.get().await?;
    let tenant = Tenant::of(&client, &org);
    let Some(config) = export_configs::find(&tenant).await? else {
        must_exist(&tenant).await?;
        return Err(ApiError::NotConfigured);
    };
    Ok(shown(config))
}

/// Save the configuration.
///
/// An enabled configuration is tested by itself; delivery begins once the saved destination has
/// passed a test. With `If-Match` it is saved only if nobody else has saved since the ETag was read;
/// `If-None-Match: *` only creates.
#[utoipa::path(
    post,
    path = CONFIG,
    tag = "configuration",
    operation_id = "saveConfig",
    params(
        ("orgId" = String, Path, description = "The organisation"),
        ("If-Match" = Option<String>, Header, description = "ETags of what may be replaced, or `*`: whatever there is"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only where there is no configuration yet"),
    ),
    request_body = ConfigRequest,
    responses(
        (status = 201, body = AuditExportConfig, headers(
            ("ETag" = String, description = "Of what is saved; changes with every save and with nothing else"),
        )),
        (status = 404, body = ErrorBody),
        (status = 412, body = ErrorBody, description = "`precondition_failed`: somebody else has saved since"),
        (status = 409, body = ErrorBody, description = "`start_from_not_first`: the organisation had a configuration before"),
        (status = 422, body = ErrorBody),
        (status = 429, body = ErrorBody, description = "`rate_limited`: the organisation, or the caller, asked too often"),
    ),
)]
pub(super) async fn save(
    MayTest(org, author): MayTest,
    State(state): State<AppState>,
    preconditions: Preconditions,
    JsonBody(request): JsonBody<ConfigRequest>,
) -> Result<(StatusCode, Shown), ApiError> {
    let mut client = state.pool.get().await?;
    let decide = |stored: Option<&ExportConfig>| {
        preconditions.check(stored.map(version).as_ref())?;
        let stored = stored.map(|config| &config.destination);
        Ok::<_, ApiError>(Change {
            destination: request.destination(stored)?,
            enabled: request.enabled,
            start_from: request.start_from,
        })
    };
    let saved = export_configs::save(&mut client, &org.id, &author, decide).await?;
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
    Ok((StatusCode::CREATED, shown(saved.config)))
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
    params(
        ("orgId" = String, Path, description = "The organisation"),
        ("If-Match" = Option<String>, Header, description = "ETags of what may be deleted, or `*`: whatever there is"),
    ),
    responses(
        (status = 204),
        (status = 404, body = ErrorBody),
        (status = 412, body = ErrorBody, description = "`precondition_failed`: somebody else has saved since"),
        (status = 422, body = ErrorBody, description = "`invalid_request`: `If-Match` is no list of ETags"),
    ),
)]
pub(super) async fn delete(
    OrgAdminBy(org, author): OrgAdminBy,
    State(state): State<AppState>,
    preconditions: Preconditions,
) -> Result<StatusCode, ApiError> {
    let mut client = state.pool.get().await?;
    let decide = |stored: &ExportConfig| preconditions.check(Some(&version(stored)));
    if !export_configs::delete(&mut client, &org.id, &author, decide).await? {
        return Err(ApiError::NotConfigured);
    }
    tracing::info!("configuration deleted");
    Ok(StatusCode::NO_CONTENT)
}
