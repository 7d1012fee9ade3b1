//! Export runs: what was delivered, and when.

mod page;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{LINK, LOCATION},
    },
    response::IntoResponse,
};
use common::{
    db::{
        self, Tenant,
        connection_tests::ReplyTo,
        export_configs::{self, DeliveryState},
        export_objects::{self, ExportObject},
        export_runs::{self, ExportRun, Requested},
        system_events::{self, Action},
    },
    ids::RunId,
};
use jiff::Timestamp;
pub(crate) use page::RunsQuery;
pub(super) use page::STATUSES;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{RUN, RUNS};
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::{MayExport, OrgAdmin, OrgReader, PathParameter, must_exist},
    publish,
};

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    id: Uuid,
    org_id: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    status: String,
    /// `schedule`, `manual`, `continuation` (the run before hit its bound) or `submitted` (by
    /// another program).
    trigger: String,
    /// How often a worker has taken it.
    attempts: i32,
    /// The first delivered sequence number.
    #[schema(required)]
    first_seq: Option<i64>,
    /// The last delivered sequence number.
    #[schema(required)]
    last_seq: Option<i64>,
    /// Delivered events.
    events: i64,
    /// Size of the delivered objects, in bytes.
    bytes: i64,
    /// Delivered objects.
    object_count: i32,
    /// Why it failed, or why it waits to be tried again.
    #[schema(required)]
    error: Option<String>,
    /// `transient`, `permanent`, `internal` or `not_active`.
    #[schema(required)]
    error_class: Option<String>,
    /// A stable name, such as AWS's error code.
    #[schema(required)]
    error_code: Option<String>,
    /// What else an admin should know.
    #[schema(required)]
    warning: Option<String>,
    created_at: Timestamp,
    /// No worker takes it before this time.
    not_before: Timestamp,
    #[schema(required)]
    started_at: Option<Timestamp>,
    #[schema(required)]
    finished_at: Option<Timestamp>,
}

impl From<ExportRun> for Run {
    fn from(run: ExportRun) -> Self {
        Self {
            id: run.id.0,
            org_id: run.org_id.into(),
            status: run.state,
            trigger: run.trigger,
            attempts: run.attempts,
            first_seq: run.first_seq,
            last_seq: run.last_seq,
            events: run.events,
            bytes: run.bytes,
            object_count: run.objects,
            error: run.error,
            error_class: run.error_class,
            error_code: run.error_code,
            warning: run.warning,
            created_at: run.created_at,
            not_before: run.not_before,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// A run with its objects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunWithObjects {
    #[serde(flatten)]
    run: Run,
    objects: Vec<RunObject>,
}

/// An object of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunObject {
    bucket: String,
    key: String,
    /// `planned`, `stored` or `abandoned` (planned again elsewhere after the destination changed).
    status: String,
    first_seq: i64,
    last_seq: i64,
    #[schema(required)]
    events: Option<i64>,
    #[schema(required)]
    bytes: Option<i64>,
    /// Of the object's bytes, in hexadecimal; null where it is not known without doubt.
    #[schema(required)]
    sha256: Option<String>,
    #[schema(required)]
    etag: Option<String>,
    #[schema(required)]
    version_id: Option<String>,
    #[schema(required)]
    stored_at: Option<Timestamp>,
}

impl From<ExportObject> for RunObject {
    fn from(object: ExportObject) -> Self {
        Self {
            bucket: object.bucket,
            key: object.key,
            status: object.state,
            first_seq: object.first_seq,
            last_seq: object.last_seq,
            events: object.events,
            bytes: object.bytes,
            sha256: object.sha256.as_deref().map(hex),
            etag: object.etag,
            version_id: object.version_id,
            stored_at: object.stored_at,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// List the runs, newest first.
///
/// Where there are more, the `Link` header with `rel="next"` has the URL of the next page.
#[utoipa::path(
    get,
    path = RUNS,
    tag = "runs",
    operation_id = "listRuns",
    params(("orgId" = String, Path, description = "The organisation"), RunsQuery),
    responses(
        (status = 200, body = Vec<Run>, headers(("Link" = Option<String>, description = "The next page"))),
        (status = 404, body = ErrorBody, description = "`not_found`: no such organisation, or `run_not_found`: no run `before`"),
        (status = 422, body = ErrorBody),
    ),
)]
pub(super) async fn list(
    OrgReader(org): OrgReader,
    State(state): State<AppState>,
    uri: Uri,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> Result<(HeaderMap, Json<Vec<Run>>), ApiError> {
    let page = RunsQuery::page(query)?;
    let client = state.pool.get().await?;
    let tenant = Tenant::of(&client, &org);
    // One more than asked for tells whether there is a next page.
    let mut runs = export_runs::list(&tenant, page.limit + 1, page.before, page.status).await?;
    if runs.is_empty() {
        must_exist(&tenant).await?;
        if let Some(before) = page.before
            && export_runs::find(&tenant, before).await?.is_none()
        {
            return Err(ApiError::UnknownRun);
        }
    }
    let mut headers = HeaderMap::new();
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    if runs.len() > limit {
        runs.truncate(limit);
        if let Some(last) = runs.last() {
            let link = HeaderValue::from_str(&page.next_link(uri.path(), last.id))
                .map_err(ApiError::internal)?;
            headers.insert(LINK, link);
        }
    }
    Ok((headers, Json(runs.into_iter().map(Run::from).collect())))
}

/// Export now.
#[utoipa::path(
    post,
    path = RUNS,
    tag = "runs",
    operation_id = "startRun",
    params(("orgId" = String, Path, description = "The organisation")),
    responses(
        (status = 202, body = Run, headers(("Location" = String, description = "The run"))),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "`run_in_progress` or `not_active`"),
        (status = 429, body = ErrorBody, description = "`rate_limited`: the organisation, or the caller, asked too often"),
    ),
)]
pub(super) async fn start(
    MayExport(org, author): MayExport,
    State(state): State<AppState>,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    let mut client = state.pool.get().await?;
    let id = RunId::new();
    let tx = Tenant::begin(&mut client, &org.id).await?;
    match export_runs::request(&tx, id, "manual", &ReplyTo::default()).await? {
        Requested::Queued => {}
        Requested::RunInProgress => return Err(ApiError::RunInProgress),
        Requested::NotActive => {
            let config = export_configs::find(&tx).await?;
            return Err(not_active(
                config.map(|config| (config.state, config.pause_error)),
            ));
        }
    }
    let (run, nothing_more) = (id.to_string(), json!({}));
    let target = ("export_run", run.as_str());
    let action = Action::ExportRequested;
    system_events::record(&tx, action, &author, target, &nothing_more).await?;
    tx.commit().await?;
    let tenant = Tenant::of(&client, &org.id);
    if let Err(error) = publish::run(&state.publisher, &org.id, id).await {
        // Queued is queued: the scheduler publishes the row as soon as the broker is back.
        tracing::warn!(%error, run = %id, "the run is queued, but not published yet");
        export_runs::mark_unpublished(&tenant, id).await?;
    }
    let run = export_runs::find(&tenant, id)
        .await?
        .ok_or(ApiError::UnknownRun)?;
    let location = format!("{}/{id}", uri.path().trim_end_matches('/'));
    Ok((
        StatusCode::ACCEPTED,
        [(LOCATION, location)],
        Json(Run::from(run)),
    ))
}

fn not_active(config: Option<(DeliveryState, Option<String>)>) -> ApiError {
    ApiError::NotActive(match config {
        None => "nothing can be exported: the organisation has no configuration".to_owned(),
        Some((DeliveryState::Disabled, _)) => {
            "nothing can be exported: the configuration is disabled".to_owned()
        }
        Some((DeliveryState::AwaitingTest, _)) => {
            "nothing can be exported yet: the saved destination has not passed a test".to_owned()
        }
        Some((DeliveryState::Paused, reason)) => {
            let reason = reason
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!("delivery is paused until the destination works again{reason}")
        }
        Some((DeliveryState::Active, _)) => "delivery became active just now; try again".to_owned(),
    })
}

/// Show one run with its objects.
#[utoipa::path(
    get,
    path = RUN,
    tag = "runs",
    operation_id = "getRun",
    params(
        ("orgId" = String, Path, description = "The organisation"),
        ("runId" = Uuid, Path, description = "The run"),
    ),
    responses(
        (status = 200, body = RunWithObjects),
        (status = 404, body = ErrorBody, description = "`run_not_found`, or `not_found`: no such organisation"),
    ),
)]
pub(super) async fn show(
    OrgAdmin(org): OrgAdmin,
    PathParameter(run): PathParameter<RunId>,
    State(state): State<AppState>,
) -> Result<Json<RunWithObjects>, ApiError> {
    let client = state.pool.get().await?;
    let tenant = Tenant::of(&client, &org.id);
    let run = run.ok_or(ApiError::UnknownRun)?;
    let found = db::export_runs::find(&tenant, run)
        .await?
        .ok_or(ApiError::UnknownRun)?;
    let objects = export_objects::of_run(&tenant, run).await?;
    Ok(Json(RunWithObjects {
        run: found.into(),
        objects: objects.into_iter().map(RunObject::from).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0, 0xab, 0x10]), "00ab10");
    }
}
