//! Headers that every answer has, so that no browser or cache makes more of it than it is. That pages
//! of other origins read nothing needs no header: there is no CORS.

use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::Response,
};

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    // Whatever is shown is one organisation's.
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Adds them.
pub(crate) async fn add(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}
