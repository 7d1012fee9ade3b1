//! What the head of a request may hold at most.

use axum::{
    extract::Request,
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::error::ApiError;

/// All names and values of headers together, in bytes. A token that names a thousand organisations
/// fits.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Headers.
pub(crate) const MAX_HEADERS: usize = 100;
/// The path with the query, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;

/// Refuses a request whose head is too large.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > MAX_URI_BYTES) {
        return ApiError::UriTooLong(MAX_URI_BYTES).into_response();
    }
    if !fit(request.headers()) {
        return ApiError::HeadersTooLarge(MAX_HEADERS, MAX_BYTES).into_response();
    }
    next.run(request).await
}

fn fit(headers: &HeaderMap) -> bool {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    headers.len() <= MAX_HEADERS && bytes <= MAX_BYTES
}
