//! Bytes to the API and back, for clients that do not speak HTTP as they should.

use std::time::Duration;

use harness::World;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long an answer, or the end of a connection, may take.
const PATIENCE: Duration = Duration::from_secs(45);

/// Connects to the API and sends these bytes, as far as they are taken.
pub(super) async fn connect(world: &World, bytes: &[u8]) -> TcpStream {
    connect_to(world.api.address(), bytes).await
}

/// The same with another API.
pub(super) async fn connect_to(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may have refused before it has read all.
    let _ = stream.write_all(bytes).await;
    stream
}

/// All that comes back until the API ends the connection. A reset is an end, too.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let ended = tokio::time::timeout(PATIENCE, reading).await;
    let _ = ended.expect("the API ends the connection");
    bytes
}

/// The same as text, for HTTP/1.
pub(super) async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = connect(world, bytes).await;
    String::from_utf8_lossy(&rest(&mut stream).await).into_owned()
}

/// The head of a request that announces a body, which does not come.
pub(super) fn bodiless(path: &str, token: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Waits until the API ends the connection, whatever comes before.
pub(super) async fn until_end(reading: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut rest)).await;
    let _ = ended.expect("the API ends the connection");
}
