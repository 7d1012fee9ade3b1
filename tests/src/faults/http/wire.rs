//! HTTP/1.1 messages as they are on the wire: passed on byte for byte, and cut at any byte.

use std::{borrow::Cow, io};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// The first line and the headers, with the empty line at their end.
    pub(super) head: Vec<u8>,
    /// The body as it was sent: with the sizes of its chunks, if it has any.
    pub(super) body: Vec<u8>,
    /// Whether the connection ends after it.
    pub(super) closes: bool,
}

/// What tells the end of a body.
enum Body {
    Absent,
    Bytes(usize),
    Chunked,
    UntilClose,
}

impl Message {
    pub(super) fn new(head: Vec<u8>, body: Vec<u8>) -> Self {
        let connection = header(&head, "connection");
        let closes = connection.is_some_and(|says| says.eq_ignore_ascii_case("close"));
        Self { head, body, closes }
    }

    /// A request's method.
    pub(super) fn method(&self) -> &str {
        let word = self.head.split(|byte| *byte == b' ').next();
        str::from_utf8(word.unwrap_or_default()).unwrap_or_default()
    }

    /// A request's path and query.
    pub(super) fn target(&self) -> &str {
        let word = self.head.split(|byte| *byte == b' ').nth(1);
        str::from_utf8(word.unwrap_or_default()).unwrap_or_default()
    }

    /// Head and body.
    pub(super) fn whole(&self) -> (&[u8], &[u8]) {
        (&self.head, &self.body)
    }

    /// The head and half of the body, never all of it; half of the head if there is no body.
    pub(super) fn half(&self) -> (&[u8], &[u8]) {
        if self.body.is_empty() {
            (&self.head[..self.head.len() / 2], &[])
        } else {
            (&self.head, &self.body[..self.body.len() / 2])
        }
    }
}

/// Sends a head and a body, or what is left of them.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    (head, body): (&[u8], &[u8]),
) -> io::Result<()> {
    stream.write_all(head).await?;
    stream.write_all(body).await
}

/// Reads a request; `None` when the client has closed the connection. Clients that wait for
/// `100 Continue` get it from here.
pub(super) async fn read_request(client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let Some(head) = read_head(client).await? else {
        return Ok(None);
    };
    let body = announced_body(&head)?.unwrap_or(Body::Absent);
    let expects = header(&head, "expect");
    if expects.is_some_and(|expects| expects.eq_ignore_ascii_case("100-continue")) {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = read_body(client, body).await?;
    Ok(Some(Message::new(head, body)))
}

/// Reads the final answer to a request with this method.
pub(super) async fn read_answer(
    upstream: &mut (impl AsyncBufRead + Unpin),
    method: &str,
) -> io::Result<Message> {
    loop {
        let head = read_head(upstream).await?;
        let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
        if status(&head).starts_with('1') {
            continue;
        }
        let body = answer_body(&head, method)?;
        let unbounded = matches!(body, Body::UntilClose);
        let body = read_body(upstream, body).await?;
        let mut answer = Message::new(head, body);
        answer.closes |= unbounded;
        return Ok(answer);
    }
}

/// RFC 9112, section 6.3.
fn answer_body(head: &[u8], method: &str) -> io::Result<Body> {
    match (method, &*status(head)) {
        ("HEAD", _) | (_, "204" | "304") => Ok(Body::Absent),
        _ => Ok(announced_body(head)?.unwrap_or(Body::UntilClose)),
    }
}

fn announced_body(head: &[u8]) -> io::Result<Option<Body>> {
    if header(head, "transfer-encoding").is_some() {
        return Ok(Some(Body::Chunked));
    }
    let length = header(head, "content-length");
    let length = length.map(|length| length.parse()).transpose();
    Ok(length.map_err(invalid)?.map(Body::Bytes))
}

fn status(head: &[u8]) -> Cow<'_, str> {
    let word = head.split(|byte| *byte == b' ').nth(1);
    String::from_utf8_lossy(word.unwrap_or_default())
}

fn header(head: &[u8], name: &str) -> Option<String> {
    String::from_utf8_lossy(head)
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    if stream.read_until(b'\n', &mut head).await? == 0 {
        return Ok(None);
    }
    while !head.ends_with(b"\r\n\r\n") {
        read_line(stream, &mut head).await?;
    }
    Ok(Some(head))
}

async fn read_body(stream: &mut (impl AsyncBufRead + Unpin), body: Body) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    match body {
        Body::Absent => {}
        Body::Bytes(length) => read_more(stream, &mut read, length).await?,
        Body::Chunked => read_chunks(stream, &mut read).await?,
        Body::UntilClose => {
            stream.read_to_end(&mut read).await?;
        }
    }
    Ok(read)
}

async fn read_chunks(
    stream: &mut (impl AsyncBufRead + Unpin),
    read: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        let start = read.len();
        read_line(stream, read).await?;
        let line = String::from_utf8_lossy(&read[start..]);
        let size = line.split(';').next().unwrap_or_default().trim();
        match usize::from_str_radix(size, 16).map_err(invalid)? {
            0 => break,
            // The line break after it belongs to a chunk.
            size => read_more(stream, read, size + 2).await?,
        }
    }
    // Trailers, if any, and an empty line.
    loop {
        let start = read.len();
        read_line(stream, read).await?;
        if read[start..] == *b"\r\n" {
            return Ok(());
        }
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), read: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_until(b'\n', read).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_more(
    stream: &mut (impl AsyncBufRead + Unpin),
    read: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let start = read.len();
    read.resize(start + length, 0);
    stream.read_exact(&mut read[start..]).await?;
    Ok(())
}

fn invalid(error: std::num::ParseIntError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
