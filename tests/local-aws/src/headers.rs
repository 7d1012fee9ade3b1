//! What the headers of a request say of the object that it makes.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::access::Authorized;
use crate::errors::custom;
use crate::kms::Encryption;
use crate::store::Headers;

/// All user metadata of an object together.
const MAX_METADATA_BYTES: usize = 2048;

/// What is stored of a request's headers; refuses those that ask for what is not here.
pub(crate) fn headers_of(headers: &HeaderMap, authorized: &Authorized) -> S3Result<Headers> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    if text("x-amz-acl").is_some_and(|acl| acl != "bucket-owner-full-control")
        || headers
            .keys()
            .any(|name| name.as_str().starts_with("x-amz-grant-"))
    {
        return Err(S3Error::with_message(
            S3ErrorCode::AccessControlListNotSupported,
            "The bucket does not allow ACLs",
        ));
    }
    if headers
        .keys()
        .any(|name| name.as_str().starts_with("x-amz-object-lock-"))
    {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "Bucket is missing Object Lock Configuration",
        ));
    }
    let metadata: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect();
    if metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        > MAX_METADATA_BYTES
    {
        return Err(custom(
            StatusCode::BAD_REQUEST,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    // `aws-chunked` says how the body was sent, and is no part of the object.
    let content_encoding = text("content-encoding").map(|encoding| {
        let kept = encoding
            .split(',')
            .map(str::trim)
            .filter(|one| *one != "aws-chunked" && !one.is_empty());
        kept.collect::<Vec<_>>().join(",")
    });
    Ok(Headers {
        content_type: text("content-type"),
        content_encoding: content_encoding.filter(|encoding| !encoding.is_empty()),
        content_disposition: text("content-disposition"),
        content_language: text("content-language"),
        cache_control: text("cache-control"),
        metadata,
        encryption: Encryption::read(headers, authorized.bucket.as_ref())?,
    })
}
