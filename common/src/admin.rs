//! The admin listener of both services: `/healthz` (the process runs) and `/readyz` (it can work:
//! Postgres answers, the broker is connected, it is not draining).

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{db, queue::Publisher};

/// How long a dependency may take to answer before it counts as away.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What readiness depends on.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Postgres.
    pub pool: db::Pool,
    /// RabbitMQ.
    pub publisher: Publisher,
    /// Cancelled when the service drains.
    pub draining: CancellationToken,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    postgres: bool,
    broker: bool,
    draining: bool,
}

/// Serves until `shutdown`.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    dependencies: Dependencies,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(dependencies));
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn readyz(State(on): State<Arc<Dependencies>>) -> (StatusCode, Json<Readiness>) {
    let postgres = tokio::time::timeout(CHECK_TIMEOUT, postgres_answers(&on.pool)).await;
    let postgres = postgres.unwrap_or(false);
    let broker = on.publisher.is_connected();
    let draining = on.draining.is_cancelled();
    let ready = postgres && broker && !draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(Readiness {
            ready,
            postgres,
            broker,
            draining,
        }),
    )
}

async fn postgres_answers(pool: &db::Pool) -> bool {
    match pool.get().await {
        Ok(client) => client.simple_query("").await.is_ok(),
        Err(_) => false,
    }
}
