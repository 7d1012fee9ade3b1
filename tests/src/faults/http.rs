//! Faults of HTTP, between the exporter and S3 and STS. Requests and answers pass byte for byte, so
//! that signatures stay valid, unless a rule says what happens to them.

mod calls;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    convert::Infallible,
    io, mem,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{calls::Call, rules::Rules, wire::Message};
use super::port::Port;

pub use self::{
    calls::{Calls, Operation},
    rules::{Answer, Fault, Injected, Seen},
};

/// A proxy before one server. Dropping it ends it and its connections at once.
#[derive(Debug)]
pub struct HttpProxy {
    port: Port,
    shared: Arc<Shared>,
    /// `None` while connections are refused.
    acceptor: tokio::sync::Mutex<Option<Acceptor>>,
}

#[derive(Debug)]
struct Acceptor {
    end: CancellationToken,
    /// Owns the connections.
    task: AbortOnDropHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    rules: Rules,
    /// Resets the connections that are open now.
    cut: Mutex<CancellationToken>,
}

impl HttpProxy {
    /// Starts one, on a free port of 127.0.0.1.
    pub async fn start(upstream: SocketAddr) -> Self {
        let proxy = Self {
            port: Port::reserve(),
            shared: Arc::new(Shared {
                upstream,
                rules: Rules::default(),
                cut: Mutex::default(),
            }),
            acceptor: tokio::sync::Mutex::default(),
        };
        proxy.refuse(false).await;
        proxy
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Does this to these calls from now on. Rules are tried in the order of injection; the first
    /// that matches and still has hits left decides.
    pub fn inject(&self, calls: Calls, fault: Fault) -> Injected {
        self.shared.rules.add(calls, fault)
    }

    /// Every request since the start that arrived whole, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.rules.seen()
    }

    /// Resets every open connection now.
    pub fn cut_all(&self) {
        self.shared.cut_all();
    }

    /// `true`: connections are refused, and those that are open are reset when this returns.
    /// `false`: listens on the same port again.
    pub async fn refuse(&self, refuse: bool) {
        let mut acceptor = self.acceptor.lock().await;
        if !refuse {
            acceptor.get_or_insert_with(|| {
                let end = CancellationToken::new();
                let work = accept(self.port.listen(), self.shared.clone(), end.clone());
                let task = AbortOnDropHandle::new(tokio::spawn(work));
                Acceptor { end, task }
            });
        } else if let Some(Acceptor { end, task }) = acceptor.take() {
            end.cancel();
            task.await.unwrap();
        }
    }
}

/// Takes connections until the end, then resets those that are open.
async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection can be accepted");
                connections.spawn(serve(stream, shared.clone(), shared.cut_token()));
            }
        }
    }
    drop(listener);
    shared.cut_all();
    while connections.join_next().await.is_some() {}
}

/// How a connection ends.
enum End {
    Close,
    Reset,
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    let mut client = BufReader::new(stream);
    let end = tokio::select! {
        () = cut.cancelled() => Ok(End::Reset),
        end = answer_all(&mut client, &shared) => end,
    };
    // Errors too: those of the upstream are a reset for the client.
    if !matches!(end, Ok(End::Close)) {
        reset(client.into_inner());
    }
}

/// Closes a connection so that the peer sees an error instead of an end.
fn reset(stream: TcpStream) {
    // A connection that the peer has reset already cannot be reset.
    let _ = stream.set_zero_linger();
}

async fn answer_all(client: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<End> {
    client.get_ref().set_nodelay(true)?;
    while let Some(request) = wire::read_request(client).await? {
        let answer = match shared.rules.decide(Call::read(&request)) {
            None => shared.forward(&request).await?,
            Some(Fault::Answer(answer)) => answer.message(request.method()),
            Some(Fault::ResetBefore) => return Ok(End::Reset),
            Some(Fault::LoseAnswer) => {
                shared.forward(&request).await?;
                return Ok(End::Reset);
            }
            Some(Fault::CutRequest) => {
                shared.forward_half(&request).await?;
                return Ok(End::Reset);
            }
            Some(Fault::CutAnswer) => {
                let answer = shared.forward(&request).await?;
                wire::write(client, answer.half()).await?;
                return Ok(End::Reset);
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                shared.forward(&request).await?
            }
            Some(Fault::Hang) => return Ok(until_gone(client).await),
            Some(Fault::HangAfter) => {
                shared.forward(&request).await?;
                return Ok(until_gone(client).await);
            }
        };
        wire::write(client, answer.whole()).await?;
        if request.closes || answer.closes {
            break;
        }
    }
    Ok(End::Close)
}

/// Waits until the client gives up.
async fn until_gone(client: &mut BufReader<TcpStream>) -> End {
    let mut ignored = [0; 1024];
    while client.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    End::Close
}

impl Shared {
    fn cut_token(&self) -> CancellationToken {
        self.cut.lock().unwrap().clone()
    }

    fn cut_all(&self) {
        mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// A connection for each request: what happens to one does nothing to others.
    async fn connect(&self) -> io::Result<TcpStream> {
        let upstream = TcpStream::connect(self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }

    /// Hands a request on, and returns when it is answered completely.
    async fn forward(&self, request: &Message) -> io::Result<Message> {
        let mut upstream = self.connect().await?;
        let (receiving, mut sending) = upstream.split();
        let mut receiving = BufReader::new(receiving);
        let send = async {
            // The upstream may answer early and read no further; its answer counts.
            let _ = wire::write(&mut sending, request.whole()).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            answer = wire::read_answer(&mut receiving, request.method()) => answer,
            never = send => match never {},
        }
    }

    /// Hands on half of a request, and resets the upstream.
    async fn forward_half(&self, request: &Message) -> io::Result<()> {
        let mut upstream = self.connect().await?;
        wire::write(&mut upstream, request.half()).await?;
        reset(upstream);
        Ok(())
    }
}
