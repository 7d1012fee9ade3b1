//! A local S3 and STS that refuses where AWS refuses, for the demo and the tests.
//!
//! It speaks HTTP with real Signature Version 4, evaluates trust and permission policies, knows
//! regions and accounts, and keeps objects as plain files, `DIR/bucket/key`. What exists in its world
//! is a [`State`]; what was done to it is told by [`LocalAws::write_log`] and [`LocalAws::calls`].

mod access;
mod authorize;
mod checksum;
mod clock;
mod condition;
mod errors;
mod headers;
mod identity;
mod keys;
mod kms;
mod listing;
mod log;
mod multipart;
mod objects;
mod policy;
mod s3;
mod server;
mod sessions;
mod source;
mod spool;
mod state;
mod store;
mod sts;
mod uploads;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use crate::log::{CallRecord, WriteRecord};
pub use crate::policy::{Document, Effect, Principal, Statement, Values};
pub use crate::source::StateSource;
pub use crate::state::{BadState, Bucket, Key, Role, State, User, account_of};

use crate::source::StateCell;

/// How long requests that are under way may take after [`LocalAws::shutdown`].
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the objects lie. Made if it is missing; a later start finds them again.
    pub data_dir: PathBuf,
    /// What exists.
    pub state: StateSource,
    /// A file to which every accepted write is appended as a line of JSON.
    pub write_log: Option<PathBuf>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address, the data folder or the write log cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The state cannot be read or makes no sense.
    #[error(transparent)]
    State(#[from] BadState),
}

/// A running server. Dropping it cuts every connection at once, like a crash; what had become
/// visible stays.
#[derive(Debug)]
pub struct LocalAws {
    app: Arc<App>,
    address: SocketAddr,
    /// Ends the server gently.
    stop: CancellationToken,
    /// Ends it at once.
    cut: CancellationToken,
    task: JoinHandle<()>,
}

/// An upload that was made and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Its id.
    pub upload_id: String,
    /// The key it is for.
    pub key: String,
    /// When it was made.
    pub initiated: Timestamp,
    /// Numbers of the parts received so far.
    pub parts: Vec<i32>,
}

/// What all requests share.
struct App {
    state: StateCell,
    sessions: sessions::Sessions,
    store: store::Store,
    uploads: uploads::Uploads,
    log: log::Log,
    clock: clock::Clock,
    started: Timestamp,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl LocalAws {
    /// Starts a server on the current Tokio runtime. It listens when this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let failed = |what: String| move |source| StartError::Io { what, source };
        let data = options.data_dir.display().to_string();
        let state = StateCell::open(options.state)?;
        let store = store::Store::open(&options.data_dir).map_err(failed(data.clone()))?;
        let sessions = sessions::Sessions::open(&store.private("sessions.jsonl"))
            .map_err(failed(data.clone()))?;
        let uploads =
            uploads::Uploads::open(&store.private("uploads")).map_err(failed(data.clone()))?;
        let log =
            log::Log::open(options.write_log.as_deref()).map_err(failed("write log".into()))?;
        for bucket in &state.current().buckets {
            store
                .make_bucket(&bucket.name)
                .map_err(failed(data.clone()))?;
        }
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(failed(format!("listen on {}", options.listen)))?;
        let address = listener.local_addr().map_err(failed("listen".into()))?;

        let app = Arc::new(App {
            state,
            sessions,
            store,
            uploads,
            log,
            clock: clock::Clock::default(),
            started: Timestamp::now(),
        });
        let mut builder = S3ServiceBuilder::new(s3::Api(Arc::clone(&app)));
        builder.set_auth(access::Gate(Arc::clone(&app)));
        builder.set_access(access::Gate(Arc::clone(&app)));
        builder.set_route(sts::Sts(Arc::clone(&app)));
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(s3s_config()))));
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let ends = (stop.clone(), cut.clone());
        let task = tokio::spawn(accept(listener, Arc::clone(&app), builder.build(), ends));
        Ok(Self {
            app,
            address,
            stop,
            cut,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`, for both services.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state of now.
    pub fn state(&self) -> Arc<State> {
        self.app.state.current()
    }

    /// Changes the state; requests from now on see it. A change that makes no sense is refused and
    /// changes nothing.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<(), BadState> {
        self.app.state.update(change)
    }

    /// Ends every session now, though its holder was told a later time: the next call with it gets
    /// `ExpiredToken`.
    pub fn expire_sessions(&self) -> io::Result<()> {
        self.app.sessions.expire_all(self.app.clock.now())
    }

    /// Sets the server's clock: from now on its time is the system's plus this, to the millisecond,
    /// for the check of requests' times, the `Date` of answers, the end of sessions, and the times of
    /// objects and uploads. The logs keep the system's time, and so does the end of presigned URLs.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.app.clock.set_offset(offset);
    }

    /// The secret keys and tokens of all sessions, for whoever looks for them where they must not be.
    pub fn session_secrets(&self) -> Vec<String> {
        self.app.sessions.secrets()
    }

    /// Every write that took effect since the start, in order.
    pub fn write_log(&self) -> Vec<WriteRecord> {
        self.app.log.writes()
    }

    /// The calls since the start, refused ones too, in the order of their answers. Of very many
    /// only the last 100 000 are known.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.app.log.calls()
    }

    /// The uploads of a bucket that are still open.
    pub fn open_uploads(&self, bucket: &str) -> Vec<OpenUpload> {
        let describe = |upload: uploads::Upload| OpenUpload {
            upload_id: upload.id,
            key: upload.key,
            initiated: upload.initiated,
            parts: upload.parts.into_keys().collect(),
        };
        self.app
            .uploads
            .list(bucket)
            .into_iter()
            .map(describe)
            .collect()
    }

    /// Stops listening, lets requests that are under way end within 5 seconds, and returns when
    /// every connection is closed.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the server ended badly");
        }
    }

    /// Cuts every connection at once, like a crash, and returns when nothing is running any more, so
    /// that another server may start in the same folder.
    pub async fn kill(mut self) {
        self.cut.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

impl Drop for LocalAws {
    fn drop(&mut self) {
        // The connections belong to the task and end with it.
        self.task.abort();
    }
}

/// Requests' times are checked by this server's own clock, so s3s is to let all of them pass.
fn s3s_config() -> S3Config {
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    config
}

async fn accept(
    listener: TcpListener,
    app: Arc<App>,
    s3: S3Service,
    (stop, cut): (CancellationToken, CancellationToken),
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = cut.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&app), s3.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, for example: others may close some.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    tokio::select! {
        () = cut.cancelled() => {}
        () = tokio::time::sleep(SHUTDOWN_GRACE) => {}
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, app: Arc<App>, s3: S3Service, stop: CancellationToken) {
    // Small answers should not wait for more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| server::answer(Arc::clone(&app), s3.clone(), request));
    // No timer: idle connections stay open, lest closing one be taken for a fault.
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
    }
}
