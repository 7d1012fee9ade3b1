//! Single objects: put, get, head, delete.

use http::StatusCode;
use jiff::Timestamp;
use s3s::dto::{self, ETag, ETagCondition, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use crate::App;
use crate::access::Authorized;
use crate::checksum::{hex, to_dto};
use crate::errors::{custom, internal, precondition_failed};
use crate::headers::headers_of;
use crate::kms::{self, Encryption};
use crate::log::WriteRecord;
use crate::spool;
use crate::store::{Commit, Meta};

const READ_BYTES: usize = 1 << 18;

/// The condition of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match`, with the ETag.
    Unchanged(String),
}

impl Condition {
    pub(crate) fn read(
        none_match: Option<&ETagCondition>,
        matching: Option<&ETagCondition>,
    ) -> S3Result<Self> {
        match (none_match, matching) {
            (None, None) => Ok(Self::None),
            (Some(ETagCondition::Any), None) => Ok(Self::Absent),
            (None, Some(ETagCondition::ETag(tag))) => Ok(Self::Unchanged(tag.value().to_owned())),
            _ => Err(S3ErrorCode::NotImplemented.into()),
        }
    }

    pub(crate) fn check(&self, commit: &Commit<'_>, bucket: &str, key: &str) -> S3Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Absent if commit.exists(bucket, key) => Err(precondition_failed()),
            Self::Absent => Ok(()),
            Self::Unchanged(tag) => match commit.etag(bucket, key) {
                None => Err(S3ErrorCode::NoSuchKey.into()),
                Some(now) if now == *tag => Ok(()),
                Some(_) => Err(precondition_failed()),
            },
        }
    }
}

pub(crate) async fn put(
    app: &App,
    request: S3Request<dto::PutObjectInput>,
) -> S3Result<S3Response<dto::PutObjectOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let headers = headers_of(&request.headers, &authorized)?;
    kms::may_use(app, &authorized, headers.encryption.as_ref(), kms::TO_WRITE)?;
    let input = request.input;
    let condition = Condition::read(input.if_none_match.as_ref(), input.if_match.as_ref())?;
    let got = spool::receive(
        &app.store,
        input.body,
        &request.headers,
        request.trailing_headers,
    )
    .await?;
    let meta = Meta {
        key: input.key,
        size: got.size,
        etag: hex(&got.md5),
        modified: app.clock.now(),
        headers,
        checksum: got.checksum,
    };
    {
        let commit = app.store.commit();
        condition.check(&commit, &input.bucket, &meta.key)?;
        let replaced = commit.publish(&input.bucket, &meta, got.temp)?;
        record(
            app,
            &authorized,
            &input.bucket,
            "PutObject",
            &meta,
            replaced,
        );
    }
    let sums = to_dto(meta.checksum.as_ref());
    let (server_side_encryption, ssekms_key_id) =
        Encryption::told(meta.headers.encryption.as_ref());
    Ok(S3Response::new(dto::PutObjectOutput {
        e_tag: Some(ETag::Strong(meta.etag)),
        server_side_encryption,
        ssekms_key_id,
        checksum_type: meta.checksum.as_ref().map(|_| full_object()),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..Default::default()
    }))
}

pub(crate) async fn get(
    app: &App,
    request: S3Request<dto::GetObjectInput>,
) -> S3Result<S3Response<dto::GetObjectOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    refuse_versions(input.version_id.as_deref(), input.part_number)?;
    let Some((meta, file)) = app
        .store
        .read(&input.bucket, &input.key)
        .map_err(internal)?
    else {
        return Err(missing(app, &authorized));
    };
    kms::may_use(
        app,
        &authorized,
        meta.headers.encryption.as_ref(),
        kms::TO_READ,
    )?;
    read_condition(&meta, input.if_none_match.as_ref(), input.if_match.as_ref())?;
    let range = match input.range {
        Some(range) => range
            .check(meta.size)
            .map_err(|_| S3ErrorCode::InvalidRange)?,
        None => 0..meta.size,
    };
    let length = range.end - range.start;
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(range.start))
        .await
        .map_err(internal)?;
    let body = StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), READ_BYTES));
    let whole = length == meta.size;
    let sums = to_dto(
        meta.checksum
            .as_ref()
            .filter(|_| whole && input.checksum_mode.is_some()),
    );
    let headers = meta.headers;
    let (server_side_encryption, ssekms_key_id) = Encryption::told(headers.encryption.as_ref());
    let output = dto::GetObjectOutput {
        body: Some(body),
        accept_ranges: Some("bytes".into()),
        content_length: i64::try_from(length).ok(),
        content_range: input.range.map(|_| {
            format!(
                "bytes {}-{}/{}",
                range.start,
                range.end.max(1) - 1,
                meta.size
            )
        }),
        e_tag: Some(ETag::Strong(meta.etag)),
        last_modified: Some(dto_time(meta.modified)),
        content_type: headers
            .content_type
            .or_else(|| Some("binary/octet-stream".into())),
        content_encoding: headers.content_encoding,
        content_disposition: headers.content_disposition,
        content_language: headers.content_language,
        cache_control: headers.cache_control,
        metadata: Some(headers.metadata.into_iter().collect()),
        server_side_encryption,
        ssekms_key_id,
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

pub(crate) fn head(
    app: &App,
    request: S3Request<dto::HeadObjectInput>,
) -> S3Result<S3Response<dto::HeadObjectOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    refuse_versions(input.version_id.as_deref(), input.part_number)?;
    let Some((meta, _)) = app
        .store
        .read(&input.bucket, &input.key)
        .map_err(internal)?
    else {
        return Err(missing(app, &authorized));
    };
    read_condition(&meta, input.if_none_match.as_ref(), input.if_match.as_ref())?;
    let sums = to_dto(
        meta.checksum
            .as_ref()
            .filter(|_| input.checksum_mode.is_some()),
    );
    let headers = meta.headers;
    let (server_side_encryption, ssekms_key_id) = Encryption::told(headers.encryption.as_ref());
    let output = dto::HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        content_length: i64::try_from(meta.size).ok(),
        e_tag: Some(ETag::Strong(meta.etag)),
        last_modified: Some(dto_time(meta.modified)),
        content_type: headers
            .content_type
            .or_else(|| Some("binary/octet-stream".into())),
        content_encoding: headers.content_encoding,
        content_disposition: headers.content_disposition,
        content_language: headers.content_language,
        cache_control: headers.cache_control,
        metadata: Some(headers.metadata.into_iter().collect()),
        server_side_encryption,
        ssekms_key_id,
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

pub(crate) fn delete(
    app: &App,
    request: S3Request<dto::DeleteObjectInput>,
) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    refuse_versions(input.version_id.as_deref(), None)?;
    remove(app, &authorized, &input.bucket, &input.key)?;
    Ok(S3Response::new(dto::DeleteObjectOutput::default()))
}

pub(crate) fn delete_many(
    app: &App,
    request: S3Request<dto::DeleteObjectsInput>,
) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    let quiet = input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        let result = refuse_versions(object.version_id.as_deref(), None)
            .and_then(|()| authorized.may(app, "s3:DeleteObject", Some(&object.key)))
            .and_then(|()| remove(app, &authorized, &input.bucket, &object.key));
        match result {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(dto::DeletedObject {
                key: Some(object.key),
                ..Default::default()
            }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(object.key),
                version_id: None,
            }),
        }
    }
    Ok(S3Response::new(dto::DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        request_charged: None,
    }))
}

/// Deleting what is not there succeeds, as in S3, but is not recorded as a write.
fn remove(app: &App, authorized: &Authorized, bucket: &str, key: &str) -> S3Result<()> {
    let commit = app.store.commit();
    if commit.remove(bucket, key).map_err(internal)? {
        app.log.wrote(WriteRecord {
            time: Timestamp::now(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            op: "DeleteObject".into(),
            etag: None,
            size: None,
            kms_key_arn: None,
            replaced: false,
            principal: authorized.caller.arn().to_owned(),
        });
    }
    Ok(())
}

/// Records that an object became visible; called while the lock is held, so that the log is in order.
pub(crate) fn record(
    app: &App,
    authorized: &Authorized,
    bucket: &str,
    op: &str,
    meta: &Meta,
    replaced: bool,
) {
    app.log.wrote(WriteRecord {
        time: Timestamp::now(),
        bucket: bucket.to_owned(),
        key: meta.key.clone(),
        op: op.to_owned(),
        etag: Some(meta.etag.clone()),
        size: Some(meta.size),
        kms_key_arn: Encryption::told(meta.headers.encryption.as_ref()).1,
        replaced,
        principal: authorized.caller.arn().to_owned(),
    });
}

/// Without the permission to list, S3 does not say whether an object is missing or forbidden.
fn missing(app: &App, authorized: &Authorized) -> S3Error {
    match authorized.may(app, "s3:ListBucket", None) {
        Ok(()) => S3ErrorCode::NoSuchKey.into(),
        Err(denied) => denied,
    }
}

fn read_condition(
    meta: &Meta,
    none_match: Option<&ETagCondition>,
    matching: Option<&ETagCondition>,
) -> S3Result<()> {
    let fits = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.value() == meta.etag,
    };
    if matching.is_some_and(|condition| !fits(condition)) {
        return Err(precondition_failed());
    }
    if none_match.is_some_and(fits) {
        return Err(custom(
            StatusCode::NOT_MODIFIED,
            "NotModified",
            "Not Modified",
        ));
    }
    Ok(())
}

fn refuse_versions(version: Option<&str>, part: Option<i32>) -> S3Result<()> {
    match (version, part) {
        (None | Some("null"), None) => Ok(()),
        _ => Err(S3ErrorCode::NotImplemented.into()),
    }
}

fn full_object() -> dto::ChecksumType {
    dto::ChecksumType::from_static(dto::ChecksumType::FULL_OBJECT)
}

/// The time as s3s wants it.
pub(crate) fn dto_time(time: Timestamp) -> dto::Timestamp {
    dto::Timestamp::from(std::time::SystemTime::from(time))
}
