//! HTTP/2 frame by frame (RFC 9113), as no client sends them.

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::{World, attacks, eventually, tokens};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

use super::raw;
use crate::limits::{AT_ONCE, configured, meanwhile};

pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What a client begins with.
pub(super) fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    hello.extend(frame(SETTINGS, 0, 0, &payload));
    hello
}

/// A header as HPACK has it where nothing is compressed (RFC 7541, 6.2.2).
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0];
    for text in [name, value] {
        header.extend(integer(text.len()));
        header.extend(text.bytes());
    }
    header
}

/// An integer with a prefix of 7 bits (RFC 7541, 5.1).
fn integer(value: usize) -> Vec<u8> {
    let Some(mut rest) = value.checked_sub(127) else {
        return vec![u8::try_from(value).unwrap()];
    };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn get(stream: u32, path: &str, token: &str) -> Vec<u8> {
    let head = [
        header(":method", "GET"),
        header(":scheme", "http"),
        header(":authority", "api"),
        header(":path", path),
        header("authorization", &format!("Bearer {token}")),
    ];
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head.concat())
}

/// Whether the API has said that it ends the connection because it is too much.
fn told_to_calm_down(mut bytes: &[u8]) -> bool {
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let (kind, payload) = (bytes[3], bytes.get(9..9 + length).unwrap_or_default());
        if kind == GOAWAY && payload.get(4..8) == Some(&ENHANCE_YOUR_CALM.to_be_bytes()) {
            return true;
        }
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    false
}

/// Sends these bytes again and again until the API ends the connection, and returns how many could be
/// sent, and what came back.
async fn flood(world: &World, first: Vec<u8>, again: impl Fn(u32) -> Vec<u8>) -> (usize, Vec<u8>) {
    let (mut reading, mut writing) = raw::connect(world, &first).await.into_split();
    let mut answer = Vec::new();
    let mut sent = 0;
    let writing = async {
        for times in 0.. {
            let bytes = again(times);
            if writing.write_all(&bytes).await.is_err() {
                break;
            }
            sent += bytes.len();
        }
        // A reset takes with it what has not been read yet; there is nothing more to wait for.
        std::future::pending::<()>().await;
    };
    let reading = tokio::time::timeout(Duration::from_secs(30), reading.read_to_end(&mut answer));
    tokio::select! {
        () = writing => {}
        ended = reading => {
            let _ = ended.expect("the API ends the connection");
        }
    }
    (sent, answer)
}

/// How many bytes may lie between two programs that nobody has read, at either end and in between:
/// <https://docs.kernel.org/networking/ip-sysctl.html>.
fn most_buffered() -> usize {
    let most = |name: &str| {
        let limits = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        let most = limits.split_whitespace().nth(2).unwrap();
        most.parse::<usize>().unwrap()
    };
    most("tcp_wmem") + most("tcp_rmem")
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_the_connection_and_nobody_else_notices() {
    const PAIRS: u32 = 100;
    const TIME: Duration = Duration::from_secs(3);
    let world = World::start().await;
    let beta = configured(&world, "beta").await;
    let token = tokens::member_of("beta", "admin");
    let buffered = most_buffered();
    let begun = || {
        let mut bytes = hello(&[]);
        bytes.extend(frame(HEADERS, END_STREAM, 1, &header(":method", "GET")));
        bytes
    };
    let resets = |times: u32| {
        let pair = |n: u32| {
            let stream = 2 * (times * PAIRS + n) + 1;
            let mut pair = get(stream, "/orgs/beta/audit-export/runs", &token);
            pair.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            pair
        };
        (0..PAIRS).flat_map(pair).collect()
    };
    let empty = |_| frame(CONTINUATION, 0, 1, &[]).repeat(100);
    let large = |_| frame(CONTINUATION, 0, 1, &header("x", &"y".repeat(16_000)));

    let (reset, longest) = meanwhile(&beta, async {
        let (began, mut calmed) = (Instant::now(), 0);
        while began.elapsed() < TIME {
            let (resets, empty, large) = tokio::join!(
                flood(&world, hello(&[]), resets),
                flood(&world, begun(), empty),
                flood(&world, begun(), large),
            );
            calmed += usize::from(told_to_calm_down(&resets.1));
            for (sent, _) in [resets, empty, large] {
                assert!(sent < buffered, "{sent} bytes of {buffered}");
            }
        }
        calmed
    })
    .await;

    assert!(longest < AT_ONCE, "beta waited for {longest:?}");
    assert!(reset > 0, "it was never told that it was too much");
    attacks::record(
        "abuse",
        "HTTP/2 rapid reset",
        "GOAWAY enhance_your_calm after 20 resets at once",
    );
    attacks::record(
        "abuse",
        "HTTP/2 CONTINUATION without end, empty",
        "the connection ends",
    );
    attacks::record(
        "abuse",
        "HTTP/2 CONTINUATION without end, large",
        "the connection ends",
    );
}

/// A client that asks and takes nothing, and answers pings, so that it seems to live.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_taken_are_limited() {
    let world = World::start_with(|config| config.limits.max_requests = 64).await;
    let acme = configured(&world, "acme").await;
    let beta = configured(&world, "beta").await;
    let token = tokens::member_of("acme", "admin");
    let stream = raw::connect(&world, &hello(&[(INITIAL_WINDOW_SIZE, 0)])).await;
    let stream = Mutex::new((stream, 1));
    let ask = || acme.ask("GET", "/audit-export/config").send();
    // What this test asks counts for a moment, too, so it goes on until nothing is left.
    let refused = || async {
        let (stream, number) = &mut *stream.lock().await;
        let request = get(*number, "/orgs/acme/audit-export/config", &token);
        stream.write_all(&request).await.unwrap();
        *number += 2;
        Some(ask().await).filter(|answer| answer.status == 429)
    };
    let refused = eventually("the share is used up", refused).await;
    refused.expect_error(429, "rate_limited");
    beta.config().await;
    drop(stream);
    let served = || async { (ask().await.status == 200).then_some(()) };
    eventually("there is room again", served).await;
    attacks::record(
        "abuse",
        "HTTP/2 without a window: answers pile up",
        "429 for the organisation once its share is used up",
    );
}
