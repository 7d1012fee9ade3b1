//! A small driver of HTTP load. It shares the machine with what it measures, so it does next to
//! nothing: requests are made beforehand, as they go over the wire, and of an answer only status
//! and length are looked at.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use harness::tokens::{self, Key};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::samples::percentile;

/// How long tokens are good: longer than any benchmark takes.
const TOKEN_SECONDS: i64 = 6 * 3600;
/// Room for most answers.
const ANSWER_BYTES: usize = 64 * 1024;

/// A token with these claims that is good to the end of the benchmark.
pub fn token(mut claims: Value) -> String {
    claims["exp"] = json!(tokens::seconds_from_now(TOKEN_SECONDS));
    Key::shared().token(&tokens::claims(claims))
}

/// A token of an admin of this organisation.
pub fn admin_of(org: &str) -> String {
    token(json!({"orgs": {org: "admin"}}))
}

/// A request for what stands at a path.
pub fn get(path: &str, token: &str) -> Bytes {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    head.into()
}

/// A request that appends events, which stand one a line.
pub fn post_events(org: &str, token: &str, lines: &str) -> Bytes {
    let request = format!(
        "POST /orgs/{org}/audit-events HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {}\r\n\r\n{lines}",
        lines.len()
    );
    request.into()
}

/// What a load came to.
#[derive(Debug)]
pub struct Load {
    time: Duration,
    /// How long each request took.
    milliseconds: Vec<f64>,
}

impl Load {
    /// Requests in a second.
    pub fn per_second(&self) -> f64 {
        self.milliseconds.len() as f64 / self.time.as_secs_f64()
    }

    /// The time below which so many percent of the requests stayed, in milliseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        percentile(self.milliseconds.iter().copied(), percent)
    }
}

/// Has clients send their requests, each one after another on a connection that it keeps. Panics
/// unless all of them are answered with 200.
pub async fn send<R>(address: &str, clients: Vec<R>) -> Load
where
    R: Iterator<Item = Bytes> + Send + 'static,
{
    let mut connected = Vec::new();
    for requests in clients {
        connected.push((Connection::open(address).await, requests));
    }
    let began = Instant::now();
    let tasks: Vec<_> = connected
        .into_iter()
        .map(|(connection, requests)| tokio::spawn(connection.send(requests)))
        .collect();
    let mut milliseconds = Vec::new();
    for task in tasks {
        milliseconds.extend(task.await.expect("every request is answered with 200"));
    }
    let time = began.elapsed();
    Load { time, milliseconds }
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the API listens");
        stream.set_nodelay(true).unwrap();
        let received = Vec::with_capacity(ANSWER_BYTES);
        Self { stream, received }
    }

    /// Returns how long each took, in milliseconds.
    async fn send(mut self, requests: impl Iterator<Item = Bytes>) -> Vec<f64> {
        let mut milliseconds = Vec::new();
        for request in requests {
            let began = Instant::now();
            self.ask(&request).await;
            milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        }
        milliseconds
    }

    async fn ask(&mut self, request: &[u8]) {
        let sent = self.stream.write_all(request).await;
        sent.expect("the API takes a request");
        self.received.clear();
        while !is_whole(&self.received) {
            let read = self.stream.read_buf(&mut self.received).await;
            assert!(read.expect("the API answers") > 0, "{}", self.text());
        }
        let is_ok = self.received.starts_with(b"HTTP/1.1 200 ");
        assert!(is_ok, "{}", self.text());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

/// Whether an answer has arrived to its end.
fn is_whole(received: &[u8]) -> bool {
    const BLANK_LINE: &[u8] = b"\r\n\r\n";
    let mut windows = received.windows(BLANK_LINE.len());
    let Some(head_bytes) = windows.position(|window| window == BLANK_LINE) else {
        return false;
    };
    let head = String::from_utf8_lossy(&received[..head_bytes]);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse::<usize>().unwrap())
    });
    let length = length.unwrap_or_else(|| panic!("no length: {head}"));
    received.len() >= head_bytes + BLANK_LINE.len() + length
}
