//! A wire tap: a relay before a server that counts how often its clients wait for an answer, and
//! for how long. It shares the machine with what is measured, so no rate is measured through it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Bytes in hand at once, of one direction.
const CHUNK_BYTES: usize = 64 * 1024;

/// The relay. Dropping it ends it, and its connections.
pub struct Tap {
    address: SocketAddr,
    counts: Arc<Counts>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Counts {
    turns: AtomicU64,
    waited_nanoseconds: AtomicU64,
}

/// Whose turn it is on a connection, and up to when the wait for the server is counted.
#[derive(Default)]
enum Turn {
    #[default]
    Nobodys,
    Servers(Instant),
    /// It has answered, as far as is known.
    Clients(Instant),
}

impl Tap {
    /// Starts one before a server, on a free port of 127.0.0.1.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let accepting = tokio::spawn(accept(listener, upstream, counts.clone()));
        Self {
            address,
            counts,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// This URL with the tap's host and port.
    pub fn url(&self, original: &str) -> String {
        let mut url: reqwest::Url = original.parse().expect("a URL");
        url.set_host(Some(&self.address.ip().to_string())).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// Round trips so far: how often a client began to speak, or did so after the server. What is
    /// sent together counts once.
    pub fn turns(&self) -> u64 {
        self.counts.turns.load(Ordering::SeqCst)
    }

    /// How long clients have waited so far, all together: from the first byte of what they asked to
    /// the last one of the answer.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.counts.waited_nanoseconds.load(Ordering::SeqCst))
    }
}

impl Counts {
    fn asked(&self, turn: &mut Turn) {
        if !matches!(turn, Turn::Servers(_)) {
            self.turns.fetch_add(1, Ordering::SeqCst);
            *turn = Turn::Servers(Instant::now());
        }
    }

    fn answered(&self, turn: &mut Turn) {
        let now = Instant::now();
        if let Turn::Servers(since) | Turn::Clients(since) = turn {
            let nanoseconds = u64::try_from((now - *since).as_nanos()).unwrap();
            self.waited_nanoseconds
                .fetch_add(nanoseconds, Ordering::SeqCst);
            *turn = Turn::Clients(now);
        }
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("a connection can be accepted");
                connections.spawn(relay(client, upstream, counts.clone()));
            }
        }
    }
}

/// Carries bytes until both sides have ended, or one breaks.
async fn relay(client: TcpStream, upstream: SocketAddr, counts: Arc<Counts>) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let turn = Mutex::new(Turn::default());
    let asked = || counts.asked(&mut turn.lock().unwrap());
    let answered = || counts.answered(&mut turn.lock().unwrap());
    tokio::try_join!(
        pass(from_client, to_server, asked),
        pass(from_server, to_client, answered),
    )?;
    Ok(())
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: impl Fn()) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        count();
        to.write_all(&chunk[..bytes]).await?;
    }
}
