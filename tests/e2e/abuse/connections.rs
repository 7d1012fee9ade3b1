//! Connections on which nothing is asked, or too slowly.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::{World, attacks};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{http2, raw};
use crate::limits::{AT_ONCE, configured, meanwhile};

/// How long a connection may ask nothing, and some time for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(30);
const LATEST: Duration = Duration::from_secs(40);

/// What a client sends at first and then, again and again, until the connection ends.
type Client = (&'static str, Vec<u8>, Vec<u8>);

fn slow_clients() -> Vec<Client> {
    let request = "GET /openapi.json HTTP/1.1\r\nhost: api\r\n";
    let mut begun = http2::hello(&[]);
    begun.extend(http2::frame(
        http2::HEADERS,
        0,
        1,
        &http2::header(":method", "GET"),
    ));
    vec![
        ("a connection that says nothing", vec![], vec![]),
        ("half a preface of HTTP/2", b"PRI * HTTP/2".to_vec(), vec![]),
        ("a head that stops in the middle", request.into(), vec![]),
        (
            "a head of a byte a second",
            b"GET /openapi.json HTTP/1.1\r\nx: ".to_vec(),
            b"y".to_vec(),
        ),
        (
            "a connection that is kept and not used",
            format!("{request}\r\n").into(),
            vec![],
        ),
        ("HTTP/2 without a request", http2::hello(&[]), vec![]),
        (
            "HTTP/2 with pings alone",
            http2::hello(&[]),
            http2::frame(http2::PING, 0, 0, &[0; 8]),
        ),
        ("HTTP/2 with a head that stops in the middle", begun, vec![]),
    ]
}

/// How long the API keeps the connection.
async fn kept(world: &World, (_, first, then): &Client) -> Duration {
    let began = Instant::now();
    let stream = raw::connect(world, first).await;
    let (mut reading, mut writing) = stream.into_split();
    let again = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if writing.write_all(then).await.is_err() {
                // What has arrived before the reset is still to be read.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        () = again => {}
        () = raw::until_end(&mut reading) => {}
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_is_not_kept() {
    let world = World::start().await;
    let beta = configured(&world, "beta").await;
    let clients = slow_clients();
    let all = join_all(clients.iter().map(|client| kept(&world, client)));
    let (times, longest) = meanwhile(&beta, all).await;
    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    for ((what, ..), kept) in clients.iter().zip(times) {
        assert!(kept > LIMIT / 2 && kept < LATEST, "{what}: {kept:?}");
        attacks::record("abuse", what, "the connection ends after 30 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_many_connections_keeps_nobody_out() {
    const PLACES: u32 = 16;
    let world = World::start_with(|config| config.limits.max_connections = PLACES).await;
    let beta = configured(&world, "beta").await;
    let others = async {
        let mut held = Vec::new();
        for _ in 0..3 * PLACES {
            held.push(TcpStream::connect(world.api.address()).await.unwrap());
        }
        // One that comes last, as any other client would.
        let request = "GET /openapi.json HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n";
        let began = Instant::now();
        let answer = raw::exchange(&world, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let took = began.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        (took, held)
    };
    let ((took, _held), longest) = meanwhile(&beta, others).await;
    // A second for each time that all places are taken by those who have come before; a client that
    // was there may have to connect anew.
    let longest = longest.max(took);
    assert!(longest < LIMIT / 2, "somebody waited for {longest:?}");
    attacks::record(
        "abuse",
        "three times as many idle connections as there are places",
        "the silent ones make room; the next client is served",
    );
}
