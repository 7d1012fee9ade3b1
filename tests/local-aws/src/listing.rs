//! Lists, a page at a time: objects, open uploads, and the parts of one.

use s3s::dto::{self, ETag};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::App;
use crate::checksum::{hex, to_dto};
use crate::errors::internal;
use crate::objects::dto_time;
use crate::uploads::{Part, Upload};

/// One page of keys and common prefixes, which S3 counts and sorts together.
pub(crate) fn objects(
    app: &App,
    input: dto::ListObjectsV2Input,
) -> S3Result<dto::ListObjectsV2Output> {
    let limit = usize::try_from(input.max_keys.unwrap_or(1000)).map_or(0, |limit| limit.min(1000));
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = input.delimiter.as_deref().filter(|text| !text.is_empty());
    let after = input
        .continuation_token
        .as_deref()
        .or(input.start_after.as_deref())
        .unwrap_or_default();
    let (mut contents, mut folders) = (Vec::<dto::Object>::new(), Vec::<String>::new());
    let mut last = String::new();
    let mut is_truncated = false;
    for key in app.store.keys(&input.bucket, prefix).map_err(internal)? {
        let rest = &key[prefix.len()..];
        let folder = delimiter.and_then(|delimiter| {
            rest.find(delimiter)
                .map(|at| key[..prefix.len() + at + delimiter.len()].to_owned())
        });
        let entry = folder.as_ref().unwrap_or(&key);
        if entry.as_str() <= after
            || folders
                .last()
                .is_some_and(|seen| Some(seen) == folder.as_ref())
        {
            continue;
        }
        if contents.len() + folders.len() == limit {
            is_truncated = limit > 0;
            break;
        }
        last.clone_from(entry);
        if let Some(folder) = folder {
            folders.push(folder);
            continue;
        }
        // Deleted since the keys were read: then it is not there.
        if let Some((meta, _)) = app.store.read(&input.bucket, &key).map_err(internal)? {
            contents.push(dto::Object {
                key: Some(key),
                size: i64::try_from(meta.size).ok(),
                e_tag: Some(ETag::Strong(meta.etag)),
                last_modified: Some(dto_time(meta.modified)),
                storage_class: Some(dto::ObjectStorageClass::from_static(
                    dto::ObjectStorageClass::STANDARD,
                )),
                ..Default::default()
            });
        }
    }
    Ok(dto::ListObjectsV2Output {
        key_count: i32::try_from(contents.len() + folders.len()).ok(),
        max_keys: Some(input.max_keys.unwrap_or(1000)),
        is_truncated: Some(is_truncated),
        next_continuation_token: is_truncated.then_some(last),
        contents: Some(contents),
        common_prefixes: Some(
            folders
                .into_iter()
                .map(|prefix| dto::CommonPrefix {
                    prefix: Some(prefix),
                })
                .collect(),
        ),
        name: Some(input.bucket),
        prefix: input.prefix,
        delimiter: input.delimiter,
        start_after: input.start_after,
        continuation_token: input.continuation_token,
        ..Default::default()
    })
}

/// One page of the open uploads.
pub(crate) fn uploads(
    app: &App,
    input: dto::ListMultipartUploadsInput,
) -> S3Result<dto::ListMultipartUploadsOutput> {
    if input.delimiter.is_some() {
        let message = "This server lists uploads without a delimiter only.";
        return Err(S3Error::with_message(S3ErrorCode::NotImplemented, message));
    }
    let limit = input.max_uploads.unwrap_or(1000).clamp(1, 1000);
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let mut found = app.uploads.list(&input.bucket);
    found.retain(|upload| upload.key.starts_with(prefix));
    if let Some(marker) = &input.key_marker {
        // Among the uploads of the marked key, those behind the marked id are still to come.
        let id = input.upload_id_marker.as_deref();
        let behind = found
            .iter()
            .position(|one| one.key == *marker && Some(one.id.as_str()) == id);
        let start = behind.map_or_else(
            || found.partition_point(|one| one.key <= *marker),
            |at| at + 1,
        );
        found.drain(..start);
    }
    let limit = usize::try_from(limit).unwrap_or(1000);
    let is_truncated = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| is_truncated);
    Ok(dto::ListMultipartUploadsOutput {
        is_truncated: Some(is_truncated),
        next_key_marker: last.map(|upload| upload.key.clone()),
        next_upload_id_marker: last.map(|upload| upload.id.clone()),
        uploads: Some(found.into_iter().map(describe).collect()),
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: input.max_uploads,
        ..Default::default()
    })
}

/// One page of the parts of an upload.
pub(crate) fn parts(app: &App, input: dto::ListPartsInput) -> S3Result<dto::ListPartsOutput> {
    let upload = app
        .uploads
        .get(&input.bucket, &input.key, &input.upload_id)?;
    let after = input.part_number_marker.unwrap_or(0);
    let limit = usize::try_from(input.max_parts.unwrap_or(1000).clamp(1, 1000)).unwrap_or(1000);
    let rest: Vec<&Part> = upload
        .parts
        .range(after + 1..)
        .map(|(_, part)| part)
        .collect();
    let is_truncated = rest.len() > limit;
    let page = &rest[..rest.len().min(limit)];
    Ok(dto::ListPartsOutput {
        is_truncated: Some(is_truncated),
        next_part_number_marker: page.last().filter(|_| is_truncated).map(|part| part.number),
        parts: Some(page.iter().map(|part| describe_part(part)).collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: input.max_parts,
        ..Default::default()
    })
}

fn describe(upload: Upload) -> dto::MultipartUpload {
    dto::MultipartUpload {
        key: Some(upload.key),
        upload_id: Some(upload.id),
        initiated: Some(dto_time(upload.initiated)),
        storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        checksum_algorithm: upload
            .algorithm
            .map(|one| dto::ChecksumAlgorithm::from_static(one.name())),
        ..Default::default()
    }
}

fn describe_part(part: &Part) -> dto::Part {
    let sums = to_dto(part.checksum.as_ref());
    dto::Part {
        part_number: Some(part.number),
        e_tag: Some(ETag::Strong(hex(&part.md5))),
        size: i64::try_from(part.size).ok(),
        last_modified: Some(dto_time(part.modified)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
    }
}
