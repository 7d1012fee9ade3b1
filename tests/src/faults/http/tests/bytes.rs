//! What passes, and what arrives of messages that are cut, byte by byte.

use std::io::{self, ErrorKind};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use crate::faults::http::{Calls, Fault, HttpProxy};

/// Sends these bytes through the proxy to a server that gives this answer; returns what the server
/// and what the client received, and how the client's connection ended.
async fn exchange(
    request: &[u8],
    answer: &'static [u8],
    fault: Option<Fault>,
) -> (Vec<u8>, Vec<u8>, io::Result<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = HttpProxy::start(listener.local_addr().unwrap()).await;
    if let Some(fault) = fault {
        proxy.inject(Calls::default(), fault);
    }
    let length = request.len();
    let server = AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        // Half of a request ends with a reset, a whole one does not end at all.
        while received.len() < length && stream.read_buf(&mut received).await.is_ok_and(|n| n > 0) {
        }
        let _ = stream.write_all(answer).await;
        received
    }));
    let address = proxy.endpoint().replace("http://", "");
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request).await.unwrap();
    let received_by_server = server.await.unwrap();
    let mut received = Vec::new();
    let end = loop {
        // With an answer that has arrived, the connection stays open.
        if received == answer {
            break Ok(0);
        }
        match client.read_buf(&mut received).await {
            Ok(read) if read > 0 => {}
            end => break end,
        }
    };
    (received_by_server, received, end)
}

const REQUEST: &[u8] = b"PUT /b/a%2Bb HTTP/1.1\r\nhost: Example:1\r\nX-Odd:  two  spaces \r\n\
    Content-Length: 8\r\n\r\n12345678";
const CHUNKED_REQUEST: &[u8] =
    b"PUT /b/a HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    4;x=y\r\n1234\r\n1\r\n5\r\n0\r\nx-trailer: t\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 Fine\r\nx-One: 1\r\ncontent-length: 4\r\n\r\ndone";
const CHUNKED_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n";
const EMPTY_ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n";

#[tokio::test]
async fn what_is_not_hit_passes_byte_for_byte() {
    for request in [REQUEST, CHUNKED_REQUEST] {
        for answer in [ANSWER, CHUNKED_ANSWER, EMPTY_ANSWER] {
            let (sent, answered, end) = exchange(request, answer, None).await;
            assert_eq!(sent, request);
            assert_eq!(answered, answer);
            assert!(end.is_ok(), "{end:?}");
        }
    }
}

#[tokio::test]
async fn of_a_cut_request_half_arrives() {
    let delete = b"DELETE /b/k HTTP/1.1\r\nhost: a\r\n\r\n";
    let requests = [
        (REQUEST, REQUEST.len() - 4),
        (delete.as_slice(), delete.len() / 2),
    ];
    for (request, half) in requests {
        let (sent, answered, end) = exchange(request, ANSWER, Some(Fault::CutRequest)).await;
        assert_eq!(sent, request[..half]);
        assert!(answered.is_empty(), "{answered:?}");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn of_a_cut_answer_half_arrives() {
    let answers = [
        (ANSWER, ANSWER.len() - 2),
        (EMPTY_ANSWER, EMPTY_ANSWER.len() / 2),
    ];
    for (answer, half) in answers {
        let (sent, answered, end) = exchange(REQUEST, answer, Some(Fault::CutAnswer)).await;
        assert_eq!(sent, REQUEST);
        assert_eq!(answered, answer[..half]);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_client_that_asks_whether_to_go_on_is_told_so_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = HttpProxy::start(listener.local_addr().unwrap()).await;
    let head = b"PUT /b/k HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; head.len() + 5];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request, [head.as_slice(), b"event"].concat());
        stream.write_all(&[go_on, ANSWER].concat()).await.unwrap();
    };
    let client = async {
        let address = proxy.endpoint().replace("http://", "");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head).await.unwrap();
        let mut answer = vec![0; go_on.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, go_on);
        stream.write_all(b"event").await.unwrap();
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
    };
    tokio::join!(server, client);
}
