//! A proxy before a server that speaks over TCP, Postgres or RabbitMQ, which disturbs what goes
//! through it. Where it cuts connections they are reset, as by a machine that was switched off and on.

mod frames;
mod relay;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::port::Port;
use turns::Turns;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They are held back, in both directions; nothing is closed.
    Stall,
    /// They pass, each after so long.
    Delay(Duration),
    /// Of AMQP, all passes but `basic.ack` from the server to the client: confirms never arrive.
    DropConfirms,
}

/// The proxy. Dropping it ends it at once, and resets its connections.
pub struct TcpProxy {
    shared: Arc<Shared>,
    /// Who takes connections, if anybody does.
    accepting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    port: Port,
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Ends everything.
    end: CancellationToken,
    open: Mutex<Open>,
    connections: AtomicUsize,
    turns: Turns,
}

/// What happens to all connections that are open now, and not to later ones.
struct Open {
    cut: CancellationToken,
    frozen: CancellationToken,
}

impl fmt::Debug for TcpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpProxy")
            .field("address", &self.address())
            .field("upstream", &self.shared.upstream)
            .field("mode", &*self.shared.mode.borrow())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl TcpProxy {
    /// Starts a proxy on a port of its own.
    pub async fn start(upstream: SocketAddr) -> Self {
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            port: Port::reserve(),
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            open: Mutex::new(Open {
                cut: end.child_token(),
                frozen: CancellationToken::new(),
            }),
            end,
            connections: AtomicUsize::new(0),
            turns: Turns::default(),
        });
        let proxy = Self {
            shared,
            accepting: tokio::sync::Mutex::default(),
        };
        proxy.refuse(false).await;
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.port.address()
    }

    /// This URL with the proxy's host and port.
    pub fn url(&self, original: &str) -> String {
        let mut url: reqwest::Url = original.parse().expect("a URL");
        url.set_host(Some(&self.address().ip().to_string()))
            .unwrap();
        url.set_port(Some(self.address().port())).unwrap();
        url.into()
    }

    /// Changes what becomes of the bytes of connections that are open and of those to come.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Resets all open connections.
    pub fn cut_all(&self) {
        let mut open = self.shared.open();
        let cut = std::mem::replace(&mut open.cut, self.shared.end.child_token());
        drop(open);
        cut.cancel();
    }

    /// From now on the bytes of the connections that are open are lost, in both directions, and
    /// neither side is told when the other closes. New connections pass.
    pub fn freeze_open(&self) {
        let mut open = self.shared.open();
        let frozen = std::mem::take(&mut open.frozen);
        drop(open);
        frozen.cancel();
    }

    /// Refuses connections, and resets those that are open; or takes them again.
    pub async fn refuse(&self, refuse: bool) {
        let mut accepting = self.accepting.lock().await;
        if refuse {
            if let Some(task) = accepting.take() {
                task.abort();
                let _ = task.await;
            }
            self.cut_all();
        } else if accepting.is_none() {
            let listener = self.shared.port.listen();
            *accepting = Some(tokio::spawn(accept(listener, self.shared.clone())));
        }
    }

    /// Round trips so far: how often a client began to speak, or did so after the server. What is
    /// sent together counts once.
    pub fn turns(&self) -> u64 {
        self.shared.turns.count()
    }

    /// How long clients have waited so far, all together: from the first byte of what they asked to
    /// the last one of the answer.
    pub fn waited(&self) -> Duration {
        self.shared.turns.waited()
    }

    /// How many connections are open, frozen ones included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.shared.end.cancel();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.end.cancelled() => return,
        };
        // One that was reset before it was taken.
        let Ok((client, _)) = accepted else { continue };
        let (cut, frozen) = {
            let open = shared.open();
            (open.cut.clone(), open.frozen.clone())
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        tokio::spawn(async move {
            serve(client, &shared, &cut, &frozen).await;
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    mut client: TcpStream,
    shared: &Shared,
    cut: &CancellationToken,
    frozen: &CancellationToken,
) {
    let connected = tokio::select! {
        connected = TcpStream::connect(shared.upstream) => connected.ok(),
        () = cut.cancelled() => None,
    };
    let Some(mut server) = connected else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let well = tokio::select! {
        ended = relay::both_ways(&mut client, &mut server, shared, frozen) => ended.is_ok(),
        () = cut.cancelled() => false,
    };
    if !well {
        reset(&client);
        reset(&server);
    }
}

/// Closing this one tells the other side that it is broken.
fn reset(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.set_zero_linger();
}
