//! One id and one span a request, and one line when it is answered. Neither holds the token, the
//! query or the body.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from the client, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Wraps a request.
pub async fn log(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_plain(id))
        .cloned()
        .unwrap_or_else(new_id);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("-", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        route,
        org = tracing::field::Empty,
        run = tracing::field::Empty,
    );
    let began = Instant::now();
    let answer = async move {
        let mut response = next.run(request).await;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            status = response.status().as_u16(),
            milliseconds,
            "answered"
        );
        response.headers_mut().insert(REQUEST_ID, id);
        response
    };
    answer.instrument(span).await
}

/// An id from outside goes into the log, so it must not be able to look like anything else.
fn is_plain(id: &HeaderValue) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_outside_are_plain_and_short() {
        let plain = |id: &str| is_plain(&HeaderValue::from_str(id).unwrap());
        assert!(plain("abc-1_2.3:4") && plain(&"x".repeat(128)));
        assert!(!plain("") && !plain("a b") && !plain("a\"b") && !plain(&"x".repeat(129)));
        assert!(is_plain(&new_id()));
    }
}
