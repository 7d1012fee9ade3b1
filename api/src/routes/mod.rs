//! The table of contents: every URL stands here, once.

mod config;
mod destination;
mod document;
mod events;
mod orgs;
mod runs;
mod setup;
mod status;
mod test_connection;

use axum::{Router, body::Bytes, http::header::CONTENT_TYPE, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{OpenApi as _, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use destination::ConfigRequest;
pub(crate) use events::IngestBudget;
pub(crate) use runs::RunsQuery;

use crate::{
    AppState, access_log, admission,
    error::{self, ApiError},
    head, security_headers,
};

const CONFIG: &str = "/orgs/{orgId}/audit-export/config";
pub(crate) const TEST_CONNECTION: &str = "/orgs/{orgId}/audit-export/test-connection";
const RUNS: &str = "/orgs/{orgId}/audit-export/runs";
pub(crate) const RUN: &str = "/orgs/{orgId}/audit-export/runs/{runId}";
const SETUP: &str = "/orgs/{orgId}/audit-export/setup";
const STATUS: &str = "/orgs/{orgId}/audit-export/status";
pub(crate) const EVENTS: &str = "/orgs/{orgId}/audit-events";
const ORG: &str = "/orgs/{orgId}";
const OPENAPI: &str = "/openapi.json";

fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(document::Document::openapi())
        .routes(routes!(config::show, config::save, config::delete))
        .routes(routes!(setup::show))
        .routes(routes!(test_connection::run))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::show))
        .routes(routes!(status::show))
        .routes(routes!(events::append))
        .routes(routes!(orgs::put))
}

/// The whole API.
pub fn router(state: AppState) -> Router {
    let (router, document) = documented().split_for_parts();
    // One text for all who ask, however slowly they take it.
    let json = document::completed(document)
        .to_json()
        .map(Bytes::from)
        .map_err(|error| error.to_string());
    let router = router.route(
        OPENAPI,
        axum::routing::get(async move || {
            let json = json.map_err(ApiError::internal)?;
            Ok::<_, ApiError>(([(CONTENT_TYPE, "application/json")], json))
        }),
    );
    around(router, state)
}

/// What happens to every request before it comes to its route, and to every answer.
fn around(router: Router<AppState>, state: AppState) -> Router {
    router
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn_with_state(
            state.admission.clone(),
            admission::admit,
        ))
        .layer(middleware::from_fn(head::check))
        .layer(middleware::from_fn(access_log::log))
        .layer(middleware::map_response(security_headers::add))
        .with_state(state)
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    document::completed(documented().into_openapi())
}

#[cfg(test)]
mod tests;
