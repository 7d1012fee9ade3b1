//! The table of contents: every URL stands here, once.

mod config;
mod destination;
mod events;
mod orgs;
mod runs;
mod status;
mod test_connection;

use axum::{Json, Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{
    OpenApi as _,
    openapi::{
        OpenApi,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use events::IngestBudget;

use crate::{AppState, access_log, error};

const CONFIG: &str = "/orgs/{orgId}/audit-export/config";
const TEST_CONNECTION: &str = "/orgs/{orgId}/audit-export/test-connection";
const RUNS: &str = "/orgs/{orgId}/audit-export/runs";
const RUN: &str = "/orgs/{orgId}/audit-export/runs/{runId}";
const STATUS: &str = "/orgs/{orgId}/audit-export/status";
const EVENTS: &str = "/orgs/{orgId}/audit-events";
const ORG: &str = "/orgs/{orgId}";
const OPENAPI: &str = "/openapi.json";

fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(config::show, config::save, config::delete))
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
    router
        .route(OPENAPI, axum::routing::get(async move || Json(document)))
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn(access_log::log))
        .with_state(state)
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "audit-export",
        description = "Exports an organisation's audit events to its own S3 bucket.\n\n\
            Every failure is `{\"error\": \"<a sentence>\", \"code\": \"<stable_snake_case>\"}`. \
            Times are RFC 3339 in UTC.",
    ),
    modifiers(&BearerAuth),
    security(("bearer" = [])),
    tags(
        (name = "configuration", description = "Where an organisation's events go. For its admins and owners."),
        (name = "runs", description = "What was exported, and when. For admins and owners."),
        (name = "platform", description = "For the vendor's own services, by platform token."),
    ),
)]
struct Document;

struct BearerAuth;

impl utoipa::Modify for BearerAuth {
    fn modify(&self, document: &mut OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.bearer_format = Some("JWT".to_owned());
        bearer.description = Some(
            "Organisation access by `orgs: {\"<orgId>\": \"owner\"|\"admin\"|\"member\"}` or `org_id` and `role`; \
             platform access by `scope`."
                .to_owned(),
        );
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    }
}

#[cfg(test)]
mod tests;
