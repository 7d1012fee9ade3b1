use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{eventually, wait::PATIENCE};

/// When nothing has come for so long, it is held back.
const SILENCE: Duration = Duration::from_millis(300);

/// A server that sends everything back, and then ends where its client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn start() -> TcpProxy {
    TcpProxy::start(echo().await).await
}

async fn connect(proxy: &TcpProxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    must_echo(&mut stream, b"hello").await;
    stream
}

async fn must_echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    must_read(stream, bytes).await;
}

async fn must_read(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    let reading = tokio::time::timeout(PATIENCE, stream.read_exact(&mut read));
    reading.await.expect("it comes back").unwrap();
    assert_eq!(read, bytes);
}

/// What reading ends with.
async fn end_of(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    let mut read = [0; 1];
    let reading = tokio::time::timeout(PATIENCE, stream.read(&mut read));
    reading.await.expect("it ends").map_err(|e| e.kind())
}

async fn must_be_silent(stream: &mut TcpStream) {
    let mut read = [0; 1];
    let read = tokio::time::timeout(SILENCE, stream.read(&mut read)).await;
    assert!(read.is_err(), "{read:?}");
}

async fn wait_for_connections(proxy: &TcpProxy, count: usize) {
    let look = || async { (proxy.connections() == count).then_some(()) };
    eventually("so many connections are open", look).await;
}

#[tokio::test]
async fn round_trips_and_the_waits_for_answers_are_counted() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    let waited = proxy.waited();
    must_be_silent(&mut stream).await;
    assert_eq!(proxy.waited(), waited, "nobody was asked");
    proxy.set(Mode::Delay(SILENCE));
    must_echo(&mut stream, b"again").await;
    assert_eq!(proxy.turns(), 2);
    assert!(proxy.waited() - waited >= SILENCE);
}

#[tokio::test]
async fn bytes_pass_and_so_do_ends() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    let large: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; large.len()];
    let (sent, got) = tokio::join!(write.write_all(&large), read.read_exact(&mut back));
    assert!(sent.is_ok() && got.is_ok());
    assert_eq!(back, large);
    assert_eq!(proxy.connections(), 1);

    stream.shutdown().await.unwrap();
    assert_eq!(end_of(&mut stream).await, Ok(0));
    wait_for_connections(&proxy, 0).await;
}

#[tokio::test]
async fn what_is_cut_is_reset() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    proxy.cut_all();
    assert_eq!(end_of(&mut stream).await, Err(ErrorKind::ConnectionReset));
    wait_for_connections(&proxy, 0).await;

    let mut stream = connect(&proxy).await;
    drop(proxy);
    assert_eq!(end_of(&mut stream).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_server_that_is_away_resets() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let proxy = TcpProxy::start(address).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end_of(&mut stream).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn what_stalls_comes_later() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Mode::Stall);
    stream.write_all(b"later").await.unwrap();
    must_be_silent(&mut stream).await;
    proxy.set(Mode::Pass);
    must_read(&mut stream, b"later").await;
}

#[tokio::test]
async fn what_is_delayed_comes() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(50);
    proxy.set(Mode::Delay(delay));
    let began = std::time::Instant::now();
    must_echo(&mut stream, b"slowly").await;
    assert!(began.elapsed() >= 2 * delay, "there and back");
}

#[tokio::test]
async fn what_is_frozen_stays_open_and_loses_everything() {
    let proxy = start().await;
    let mut frozen = connect(&proxy).await;
    proxy.freeze_open();
    frozen.write_all(b"lost").await.unwrap();
    must_be_silent(&mut frozen).await;

    let mut new = connect(&proxy).await;
    must_echo(&mut new, b"as ever").await;
    assert_eq!(proxy.connections(), 2);
    // The server is not told that the client has gone.
    drop(frozen);
    must_be_silent(&mut new).await;
    assert_eq!(proxy.connections(), 2);
    proxy.cut_all();
    wait_for_connections(&proxy, 0).await;
}

#[tokio::test]
async fn refused_and_taken_again_on_the_same_port() {
    let proxy = start().await;
    for _ in 0..3 {
        let mut stream = connect(&proxy).await;
        proxy.refuse(true).await;
        assert_eq!(end_of(&mut stream).await, Err(ErrorKind::ConnectionReset));
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.refuse(false).await;
        connect(&proxy).await;
    }
}

#[tokio::test]
async fn urls_lead_to_the_proxy() {
    let proxy = start().await;
    let address = proxy.address();
    for (original, expected) in [
        (
            "amqp://guest:guest@localhost:5672/e2e-1?heartbeat=2",
            format!("amqp://guest:guest@{address}/e2e-1?heartbeat=2"),
        ),
        (
            "postgres://tests@[::1]:5432/e2e",
            format!("postgres://tests@{address}/e2e"),
        ),
    ] {
        assert_eq!(proxy.url(original), expected);
    }
}
