//! A proxy that speaks TLS to its clients, and plainly to the server behind it. It knows whether a
//! client has ever said anything.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// With which a Postgres client asks for TLS: its length, and a number that is no version.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// With the first byte.
    Tls,
    /// After Postgres's question whether there is any.
    Postgres,
}

/// The proxy. Dropping it ends it.
#[derive(Debug)]
pub struct TlsProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    protocol: Protocol,
    config: Option<Arc<ServerConfig>>,
    asked: AtomicUsize,
    secured: AtomicUsize,
    heard: Mutex<Vec<u8>>,
}

impl TlsProxy {
    /// A proxy before this server.
    pub async fn start(
        upstream: SocketAddr,
        protocol: Protocol,
        config: Arc<ServerConfig>,
    ) -> Self {
        Self::serve(upstream, protocol, Some(config)).await
    }

    /// A server that knows no TLS, and listens to what clients say all the same.
    pub async fn without_tls(protocol: Protocol) -> Self {
        Self::serve(([127, 0, 0, 1], 0).into(), protocol, None).await
    }

    async fn serve(
        upstream: SocketAddr,
        protocol: Protocol,
        config: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            protocol,
            config,
            asked: AtomicUsize::new(0),
            secured: AtomicUsize::new(0),
            heard: Mutex::default(),
        });
        let of_all = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = of_all.clone();
                tokio::spawn(async move { shared.relay(client).await });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// This URL with the proxy's port, under this name and with this query.
    pub fn url(&self, original: &str, host: &str, query: &str) -> String {
        let mut url: reqwest::Url = original.parse().expect("a URL");
        url.set_host(Some(host)).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.set_query((!query.is_empty()).then_some(query));
        url.into()
    }

    /// How many connections there have been.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many clients have trusted it.
    pub fn secured(&self) -> usize {
        self.shared.secured.load(Ordering::SeqCst)
    }

    /// What clients have said to a server without TLS, but for asking for it.
    pub fn heard(&self) -> Vec<u8> {
        self.shared.heard.lock().unwrap().clone()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Ends with the connection, or where it is refused.
    async fn relay(&self, mut client: TcpStream) -> io::Result<()> {
        if self.protocol == Protocol::Postgres {
            let mut question = [0; SSL_REQUEST.len()];
            client.read_exact(&mut question).await?;
            if question != SSL_REQUEST {
                self.listen(&question);
                return Ok(());
            }
            let answer = if self.config.is_some() { b"S" } else { b"N" };
            client.write_all(answer).await?;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let Some(config) = &self.config else {
            let mut said = [0; 4096];
            loop {
                match client.read(&mut said).await? {
                    0 => return Ok(()),
                    length => self.listen(&said[..length]),
                }
            }
        };
        let mut client = TlsAcceptor::from(config.clone()).accept(client).await?;
        self.secured.fetch_add(1, Ordering::SeqCst);
        let mut server = TcpStream::connect(self.upstream).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    fn listen(&self, said: &[u8]) {
        self.heard.lock().unwrap().extend_from_slice(said);
    }
}
