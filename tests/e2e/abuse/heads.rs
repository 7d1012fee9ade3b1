//! Heads of requests that are too large, too many or no HTTP at all.

use harness::{World, attacks};
use serde_json::Value;

use super::raw;

const KIB: usize = 1024;

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n{headers}\r\n")
}

fn headers(count: usize) -> String {
    (0..count).map(|n| format!("x-{n}: y\r\n")).collect()
}

fn header(bytes: usize) -> String {
    format!("x: {}\r\n", "y".repeat(bytes))
}

/// What is not too far beyond the limits is answered as everything is.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_in_words() {
    let world = World::start().await;
    for (what, request, status, code) in [
        (
            "101 headers",
            get("/openapi.json", &headers(99)),
            431,
            "headers_too_large",
        ),
        (
            "a header of 65 KiB",
            get("/openapi.json", &header(65 * KIB)),
            431,
            "headers_too_large",
        ),
        (
            "a URL of 9 KiB",
            get(&format!("/{}", "a".repeat(9 * KIB)), ""),
            414,
            "uri_too_long",
        ),
    ] {
        let answer = raw::exchange(&world, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {head}"
        );
        assert!(head.contains("x-request-id: "), "{what}: {head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], code, "{what}");
        attacks::record("abuse", what, &format!("{status} {code}"));
    }
    for (what, request) in [
        ("100 headers", get("/openapi.json", &headers(98))),
        (
            "a header of 63 KiB",
            get("/openapi.json", &header(63 * KIB)),
        ),
        (
            "a URL of 8 KiB",
            get(&format!("/openapi.json?{}", "a".repeat(8 * KIB - 14)), ""),
        ),
    ] {
        let answer = raw::exchange(&world, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
    }
}

/// What is far beyond them, or not to be understood, ends the connection, before it is read whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_head_ends_the_connection() {
    let world = World::start().await;
    let body = "POST /orgs/acme/audit-events HTTP/1.1\r\nhost: api\r\n";
    for (what, request, statuses) in [
        (
            "250 headers",
            get("/openapi.json", &headers(250)),
            &["431"][..],
        ),
        (
            "a header of 2 MiB",
            get("/openapi.json", &header(2 * KIB * KIB)),
            &["431", ""],
        ),
        (
            "a URL of 70 KiB",
            get(&format!("/{}", "a".repeat(70 * KIB)), ""),
            &["414"],
        ),
        (
            "a header without a colon",
            get("/openapi.json", "nonsense\r\n"),
            &["400"],
        ),
        (
            "a header with a NUL",
            get("/openapi.json", "x: a\0b\r\n"),
            &["400"],
        ),
        (
            "a folded header",
            get("/openapi.json", "x: a\r\n b\r\n"),
            &["400"],
        ),
        (
            "a space before a colon",
            get("/openapi.json", "x : a\r\n"),
            &["400"],
        ),
        (
            "another version of HTTP",
            "GET / HTTP/9.9\r\n\r\n".into(),
            &["400"],
        ),
        (
            "TLS to a port without it",
            "\x16\x03\x01\x02\0\x01\0\x01\x03\x03".into(),
            &["400"],
        ),
        (
            "two lengths of one body",
            format!("{body}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
            &["400"],
        ),
        (
            "an unknown transfer coding",
            format!("{body}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
            &["400"],
        ),
    ] {
        let answer = raw::exchange(&world, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{what}: {answer}");
        assert!(!answer.contains("\"openapi\""), "{what}: {answer}");
        attacks::record(
            "abuse",
            what,
            &format!("{}, and the connection ends", statuses[0]),
        );
    }

    // A length and chunks: the chunks count, and nothing that follows is a request.
    let smuggled = format!(
        "{body}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{}",
        get("/openapi.json", "")
    );
    let answer = raw::exchange(&world, smuggled.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    attacks::record(
        "abuse",
        "a request smuggled behind a body of two lengths",
        "one answer, and the connection ends",
    );
}
