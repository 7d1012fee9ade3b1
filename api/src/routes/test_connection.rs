//! Testing a destination, stored or proposed, by way of a worker.

use axum::{Json, extract::State};
use common::{
    db::{
        Tenant,
        connection_tests::{self, Finished},
        export_configs,
        system_events::{self, Action, Author},
    },
    ids::{OrgId, TestId},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{TEST_CONNECTION, destination::ConfigRequest};
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::{MayTest, OptionalJsonBody},
    publish,
};

/// How a test went.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditExportTestResult {
    success: bool,
    /// Why it failed and what to change; only where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    test_id: Uuid,
    /// What was tried, in order, each with its time.
    #[schema(value_type = Vec<TestStage>)]
    stages: Value,
    /// What is not perfect, though it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// A part of a test.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(
    dead_code,
    reason = "for the document only: stages are shown as the worker tells them"
)]
struct TestStage {
    name: String,
    success: bool,
    duration_ms: u64,
    #[schema(nullable = false)]
    error: Option<String>,
}

/// Test a destination.
///
/// The one that is sent, or, with an empty body, the one that is configured. A worker assumes the
/// role, writes and deletes small objects, and tells what it found.
#[utoipa::path(
    post,
    path = TEST_CONNECTION,
    tag = "configuration",
    operation_id = "testConnection",
    params(("orgId" = String, Path, description = "The organisation")),
    request_body = Option<ConfigRequest>,
    responses(
        (status = 200, body = AuditExportTestResult, description = "The test ended, well or not"),
        (status = 404, body = ErrorBody, description = "`not_configured` with an empty body, or `not_found`"),
        (status = 422, body = ErrorBody),
        (status = 429, body = ErrorBody, description = "`rate_limited`: the organisation, or the caller, asked too often"),
        (status = 503, body = ErrorBody, description = "`broker_unavailable`, `overloaded`, `database_unavailable`, `auth_unavailable` or `shutting_down`: try again after `Retry-After`"),
        (status = 504, body = ErrorBody, description = "`test_timed_out`: no worker answered"),
    ),
)]
pub(super) async fn run(
    MayTest(org, author): MayTest,
    State(state): State<AppState>,
    OptionalJsonBody(request): OptionalJsonBody<ConfigRequest>,
) -> Result<Json<AuditExportTestResult>, ApiError> {
    let id = TestId::new();
    // A test takes a while; the connection is for others meanwhile.
    queue(&state, &org.id, id, request, &author).await?;

    if let Err(error) = publish::test(&state.publisher, &org.id, id).await {
        tracing::warn!(%error, test = %id, "the test could not be published");
        withdraw(&state, &org.id, id).await?;
        return Err(ApiError::BrokerUnavailable);
    }
    let finished = tokio::select! {
        finished = state.tests.wait(&org.id, id, state.test_timeout) => finished?,
        () = state.draining.cancelled() => return Err(ApiError::ShuttingDown),
    };
    match finished {
        Some(finished) => Ok(Json(result(id, finished))),
        None => {
            withdraw(&state, &org.id, id).await?;
            Err(ApiError::TestTimedOut)
        }
    }
}

async fn queue(
    state: &AppState,
    org: &OrgId,
    id: TestId,
    request: Option<ConfigRequest>,
    author: &Author,
) -> Result<(), ApiError> {
    let mut client = state.pool.get().await?;
    let tx = Tenant::begin(&mut client, org).await?;
    let stored = export_configs::find(&tx).await?;
    let (of, destination) = match (request, stored) {
        (None, None) => return Err(ApiError::NotConfigured),
        (None, Some(stored)) => {
            connection_tests::queue_of_stored(&tx, id, "manual", None).await?;
            ("the configuration", stored.destination)
        }
        (Some(request), stored) => {
            let stored = stored.map(|config| config.destination);
            let destination = request.destination(stored.as_ref())?;
            connection_tests::queue_of_provided(&tx, id, &destination).await?;
            ("other settings", destination)
        }
    };
    let what = json!({"of": of, "settings": system_events::shown(&destination)});
    let test = id.to_string();
    let target = ("connection_test", test.as_str());
    system_events::record(&tx, Action::TestRequested, author, target, &what).await?;
    Ok(tx.commit().await?)
}

async fn withdraw(state: &AppState, org: &OrgId, id: TestId) -> Result<(), ApiError> {
    let client = state.pool.get().await?;
    Ok(connection_tests::withdraw(&Tenant::of(&client, org), id).await?)
}

fn result(id: TestId, finished: Finished) -> AuditExportTestResult {
    AuditExportTestResult {
        success: finished.error.is_none(),
        error: finished.error,
        test_id: id.0,
        stages: finished.stages,
        warning: finished.warning,
    }
}
