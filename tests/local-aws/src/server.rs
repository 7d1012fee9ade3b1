//! HTTP around s3s: request ids, the call log, AWS's error documents, and bodies read to their end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse};

use crate::App;
use crate::access::CallSlot;
use crate::checksum::{PAYLOAD_MISMATCH, payload_sha256};
use crate::errors::Fault;
use crate::log::CallRecord;
use crate::sts;

/// How much of a refused body is read before the connection is given up.
const DRAIN_BYTES: u64 = 256 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// XML bodies are collected here to check their hash; s3s has a limit of its own, which is smaller.
const MAX_POST_BYTES: u64 = 32 * 1024 * 1024;

/// Answers one request.
pub(crate) async fn answer(
    app: Arc<App>,
    s3: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let request_id = uuid::Uuid::new_v4().simple().to_string()[..16].to_ascii_uppercase();
    let (mut parts, incoming) = request.into_parts();
    let is_sts = sts::is_sts(&parts.method, &parts.uri, &parts.headers);
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let slot = CallSlot::default();
    slot.set(|info| (info.bucket, info.key) = split_path(&path));
    parts.extensions.insert(slot.clone());

    let incoming = SharedBody(Arc::new(Mutex::new(incoming)));
    let mut wrong_payload = false;
    let body = if method == Method::POST
        && incoming
            .size_hint()
            .exact()
            .is_some_and(|n| n <= MAX_POST_BYTES)
    {
        let bytes = incoming
            .clone()
            .collect()
            .await
            .map_err(|error| HttpError::new(error.into()))?
            .to_bytes();
        wrong_payload = !payload_fits(&parts.headers, &bytes);
        Body::from(bytes)
    } else {
        Body::http_body(incoming.clone())
    };

    let skew = app.clock.skew(&parts.headers, &parts.uri);
    let response = match skew {
        None => s3.call(Request::from_parts(parts, body)).await?,
        Some(_) => refusal(StatusCode::FORBIDDEN),
    };
    // A client that is still sending would take a closed connection for a network fault and never
    // see the refusal.
    drain(incoming).await;

    let info = slot.get();
    let (mut response, fault) =
        if response.status().is_success() || response.status().is_informational() {
            (response, None)
        } else {
            let (head, body) = response.into_parts();
            let text = body.collect().await.map_err(HttpError::new)?.to_bytes();
            let mut details = Vec::new();
            let mut fault = match skew {
                Some(skew) if is_sts => skew.sts_fault(),
                Some(skew) => {
                    let (fault, times) = skew.s3_fault();
                    details.extend(times);
                    fault
                }
                None => Fault::read(&String::from_utf8_lossy(&text)),
            };
            let mut status = head.status;
            // s3s takes a wrong payload hash of an XML body for a failure of its own.
            if wrong_payload && fault.code == "InternalError" {
                status = StatusCode::BAD_REQUEST;
                fault = Fault {
                    code: "XAmzContentSHA256Mismatch".into(),
                    message: PAYLOAD_MISMATCH.into(),
                };
            }
            let xml = if is_sts {
                (status, fault) = sts::translate(status, fault);
                fault.sts_xml(&request_id)
            } else {
                details.extend(info.right_region.clone().map(|region| ("Region", region)));
                fault.s3_xml(&path, &request_id, &details)
            };
            (
                error_response(status, head.headers, xml, method == Method::HEAD),
                Some(fault),
            )
        };
    let headers = response.headers_mut();
    insert(headers, "x-amz-request-id", &request_id);
    let date = app.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    insert(headers, "date", &date.to_string());
    if is_sts {
        insert(headers, "x-amzn-requestid", &request_id);
    }
    if let Some(region) = &info.right_region {
        insert(headers, "x-amz-bucket-region", region);
    }

    let record = CallRecord {
        time: Timestamp::now(),
        service: if is_sts { "sts" } else { "s3" }.into(),
        operation: info.operation.unwrap_or_else(|| method.to_string()),
        bucket: info.bucket,
        key: info.key,
        principal: info.principal,
        expected_owner: info.expected_owner,
        status: response.status().as_u16(),
        error_code: fault.as_ref().map(|fault| fault.code.clone()),
        error_message: fault.map(|fault| fault.message),
        request_id,
    };
    tracing::info!(
        operation = record.operation,
        bucket = record.bucket,
        key = record.key,
        principal = record.principal,
        status = record.status,
        error = record.error_code,
        reason = record.error_message,
        "call"
    );
    app.log.called(record);
    Ok(response)
}

/// An answer without a body yet.
fn refusal(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn error_response(
    status: StatusCode,
    mut headers: HeaderMap,
    xml: String,
    head: bool,
) -> HttpResponse {
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let mut response = Response::new(if head { Body::empty() } else { Body::from(xml) });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Bucket and key of a path as it was sent, for calls that are refused before s3s has parsed it.
fn split_path(path: &str) -> (Option<String>, Option<String>) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match path.trim_start_matches('/').split_once('/') {
        Some((bucket, key)) => (some(bucket), some(key)),
        None => (some(path.trim_start_matches('/')), None),
    }
}

fn payload_fits(headers: &HeaderMap, bytes: &Bytes) -> bool {
    payload_sha256(headers).is_none_or(|claimed| {
        let mut hasher = claimed.algorithm.hasher();
        hasher.update(bytes);
        claimed.algorithm.finish(hasher) == claimed
    })
}

async fn drain(mut body: SharedBody) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    // After the time-out hyper closes the connection, which is all that is left to do.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

/// The request's body, of which this module keeps a handle while s3s reads it.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Incoming>>);

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_hint()
    }
}
