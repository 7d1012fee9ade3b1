//! Clients that send slowly, or do not take what they asked for.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{World, attacks, tokens, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{AT_ONCE, configured, meanwhile};

/// Bodies of the largest size that fit into the memory that there is for them, several times over.
const SLOW_CLIENTS: usize = 40;

/// Begins a request whose body never ends, and returns the whole answer.
async fn never_ending_body(address: &str, token: &str, length: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begin = format!(
        "POST /orgs/acme/audit-events HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n\
         {length}\r\n\r\n"
    );
    stream.write_all(begin.as_bytes()).await.unwrap();
    stream.write_all(b"2\r\n{\"\r\n").await.unwrap();
    let mut answer = String::new();
    // A reset after the answer is as good as an end.
    let reading = stream.read_to_string(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(30), reading).await;
    ended.expect("the API gives up").ok();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_end_are_given_up_and_hold_nothing_back() {
    let world = World::start().await;
    world.org("acme").await;
    let beta = configured(&world, "beta").await;
    let token = tokens::platform("audit-events:write");
    let lengths = ["content-length: 16777216", "transfer-encoding: chunked"];
    let clients = (0..SLOW_CLIENTS)
        .map(|n| never_ending_body(world.api.address(), &token, lengths[n % lengths.len()]));

    let (answers, longest) = meanwhile(&beta, join_all(clients)).await;

    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    }
    attacks::record(
        "abuse",
        "forty bodies at once that never end",
        "408 each; another organisation did not notice",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let world = World::start().await;
    let beta = configured(&world, "beta").await;
    let address = world.api.address();
    let (answers, mut requests) = TcpStream::connect(address).await.unwrap().into_split();
    // More than the system keeps for a client that does not read.
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {address}\r\n\r\n");
    requests
        .write_all(request.repeat(2_000).as_bytes())
        .await
        .unwrap();

    let cut_off = async {
        let look = || {
            let request = request.as_bytes();
            let written = requests.try_write(request);
            let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            std::future::ready(written.is_err_and(|error| !full(&error)).then_some(()))
        };
        within(Duration::from_secs(60), look).await
    };
    let (cut_off, longest) = meanwhile(&beta, cut_off).await;

    assert!(cut_off.is_some(), "the connection is still there");
    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    drop(answers);
    attacks::record(
        "abuse",
        "2,000 answers asked for and none taken",
        "the connection is cut; another organisation did not notice",
    );
}
