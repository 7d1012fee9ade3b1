//! Accepting connections, with the limits that keep a slow or greedy client from hurting others.

use std::{pin::pin, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::util::ServiceExt;

use crate::{author::Peer, head, places::Places, write_timeout::WriteTimeout};

/// How long a request's head may take to arrive, and how long a connection is kept on which nothing
/// is asked: also one that never says in which version of HTTP it speaks, or only answers pings.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what is written to it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request that is read at all, in bytes, and the most headers. What is larger
/// than it may be, and no larger than this, is refused by [`crate::head`] in the form of all refusals;
/// beyond it the answer is hyper's, a bare 431 or a reset.
const MAX_HEAD_BYTES: usize = 2 * head::MAX_BYTES;
const MAX_HEADERS: usize = 2 * head::MAX_HEADERS;
/// Requests at once on one HTTP/2 connection. Streams that are reset before they are looked at, and
/// CONTINUATION frames without end, are limited by h2's own defaults (20, and what the largest head
/// needs).
const MAX_STREAMS: u32 = 64;
/// How often a silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// The pause after the system refused a new connection, as it does when it is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets the requests at hand end, for at most `drain`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    places: Places,
    drain: Duration,
) {
    let builder = connection_builder();
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown.cancelled());
    loop {
        let accepted = async {
            let place = places.take().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                drop(place);
                places.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and should not wait for more.
        let _ = stream.set_nodelay(true);
        place.restart();
        let asker = place.asker();
        let router = router.clone();
        let service = tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            let asking = asker.ask();
            let answering = router.clone().oneshot(request.map(Body::new));
            async move {
                let answer = answering.await;
                drop(asking);
                answer
            }
        });
        let connection = builder
            .serve_connection(
                TokioIo::new(WriteTimeout::new(stream, TAKE_TIMEOUT)),
                TowerToHyperService::new(service),
            )
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                }
                () = place.lost(HEAD_TIMEOUT) => tracing::debug!("a silent connection was closed"),
            }
        });
    }
    // New connections are refused from here on, so that a load balancer goes elsewhere.
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = drain.as_secs(),
            "requests were cut off: they did not end in time"
        );
    }
}

fn connection_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE_INTERVAL);
    builder
}
