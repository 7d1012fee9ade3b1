//! Multipart uploads: CreateMultipartUpload to CompleteMultipartUpload, with the refusals of
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{self, ETag};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::App;
use crate::access::Authorized;
use crate::checksum::{Algorithm, Sum, hex, to_dto};
use crate::errors::{internal, no_such_upload};
use crate::headers::headers_of;
use crate::kms::{self, Encryption};
use crate::objects::{Condition, record};
use crate::spool;
use crate::store::{Meta, Temp};
use crate::uploads::{Part, Upload};

/// Every part but the last must have this many bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

pub(crate) fn create(
    app: &App,
    request: S3Request<dto::CreateMultipartUploadInput>,
) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let headers = headers_of(&request.headers, &authorized)?;
    kms::may_use(app, &authorized, headers.encryption.as_ref(), kms::TO_WRITE)?;
    let input = request.input;
    let algorithm = input
        .checksum_algorithm
        .as_ref()
        .map(|name| Algorithm::parse(name.as_str()))
        .transpose()?;
    let full_object = match input.checksum_type.as_ref().map(|kind| kind.as_str()) {
        None => algorithm == Some(Algorithm::Crc64Nvme),
        Some(kind) => kind == dto::ChecksumType::FULL_OBJECT,
    };
    let impossible = match algorithm {
        None => input.checksum_type.is_some(),
        Some(Algorithm::Sha1 | Algorithm::Sha256) => full_object,
        Some(Algorithm::Crc64Nvme) => !full_object,
        Some(Algorithm::Crc32 | Algorithm::Crc32c) => false,
    };
    if impossible {
        return Err(invalid(
            "The checksum type cannot be used with the checksum algorithm.".into(),
        ));
    }
    let upload = Upload {
        id: uuid::Uuid::new_v4().simple().to_string(),
        bucket: input.bucket,
        key: input.key,
        initiated: app.clock.now(),
        headers,
        algorithm,
        full_object,
        parts: Default::default(),
    };
    let (server_side_encryption, ssekms_key_id) =
        Encryption::told(upload.headers.encryption.as_ref());
    let output = dto::CreateMultipartUploadOutput {
        server_side_encryption,
        ssekms_key_id,
        bucket: Some(upload.bucket.clone()),
        key: Some(upload.key.clone()),
        upload_id: Some(upload.id.clone()),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: algorithm.map(|_| checksum_type(full_object)),
        ..Default::default()
    };
    app.uploads.create(&app.store, upload).map_err(internal)?;
    Ok(S3Response::new(output))
}

pub(crate) async fn upload_part(
    app: &App,
    request: S3Request<dto::UploadPartInput>,
) -> S3Result<S3Response<dto::UploadPartOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    let number = input.part_number;
    if !(1..=10_000).contains(&number) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive",
        ));
    }
    let upload = app
        .uploads
        .get(&input.bucket, &input.key, &input.upload_id)?;
    kms::may_use(
        app,
        &authorized,
        upload.headers.encryption.as_ref(),
        kms::TO_READ,
    )?;
    let got = spool::receive(
        &app.store,
        input.body,
        &request.headers,
        request.trailing_headers,
    )
    .await?;
    let sent = got.checksum.as_ref().map(|sum| sum.algorithm);
    if let Some(wanted) = upload.algorithm
        && sent != Some(wanted)
    {
        let name = |algorithm: Option<Algorithm>| {
            algorithm.map_or("null".into(), |one| one.name().to_lowercase())
        };
        return Err(invalid(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            name(Some(wanted)),
            name(sent)
        )));
    }
    let part = Part {
        number,
        file: uuid::Uuid::new_v4().simple().to_string(),
        size: got.size,
        md5: got.md5,
        checksum: got.checksum,
        modified: app.clock.now(),
    };
    let sums = to_dto(part.checksum.as_ref());
    let (server_side_encryption, ssekms_key_id) =
        Encryption::told(upload.headers.encryption.as_ref());
    let output = dto::UploadPartOutput {
        server_side_encryption,
        ssekms_key_id,
        e_tag: Some(ETag::Strong(hex(&part.md5))),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..Default::default()
    };
    app.uploads.add(&app.store, &upload.id, part, got.temp)?;
    Ok(S3Response::new(output))
}

pub(crate) async fn complete(
    app: &Arc<App>,
    request: S3Request<dto::CompleteMultipartUploadInput>,
) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
    let authorized = Authorized::of(&request.extensions)?;
    let input = request.input;
    let condition = Condition::read(input.if_none_match.as_ref(), input.if_match.as_ref())?;
    let upload = app
        .uploads
        .get(&input.bucket, &input.key, &input.upload_id)?;
    kms::may_use(
        app,
        &authorized,
        upload.headers.encryption.as_ref(),
        kms::TO_READ,
    )?;
    let listed = input
        .multipart_upload
        .and_then(|list| list.parts)
        .unwrap_or_default();
    let parts = choose(&upload, &listed)?;
    let size = parts.iter().map(|part| part.size).sum();
    if input
        .mpu_object_size
        .is_some_and(|claimed| u64::try_from(claimed) != Ok(size))
    {
        return Err(invalid(
            "The x-amz-mp-object-size header does not match the size of the uploaded object."
                .into(),
        ));
    }
    // Looked at before the copy, which is long, and again when it counts.
    condition.check(&app.store.commit(), &upload.bucket, &upload.key)?;

    let paths: Vec<PathBuf> = parts
        .iter()
        .map(|part| app.uploads.part_path(&upload.id, part))
        .collect();
    let (temp, full) = join(
        app.store.temp(),
        paths,
        upload.algorithm.filter(|_| upload.full_object),
    )
    .await?;
    let checksum = match (upload.algorithm, full) {
        (Some(_), Some(full)) => Some(full),
        (Some(algorithm), None) => {
            let values: Vec<String> = parts
                .iter()
                .filter_map(|part| part.checksum.as_ref())
                .map(|sum| sum.value.clone())
                .collect();
            let mut sum = algorithm.composite(&values);
            sum.value = format!("{}-{}", sum.value, parts.len());
            Some(sum)
        }
        (None, _) => None,
    };
    let claimed = [
        (Algorithm::Crc32, &input.checksum_crc32),
        (Algorithm::Crc32c, &input.checksum_crc32c),
        (Algorithm::Crc64Nvme, &input.checksum_crc64nvme),
        (Algorithm::Sha1, &input.checksum_sha1),
        (Algorithm::Sha256, &input.checksum_sha256),
    ];
    check_object_claims(&claimed, checksum.as_ref())?;

    let meta = Meta {
        key: upload.key.clone(),
        size,
        etag: multipart_etag(&parts),
        modified: app.clock.now(),
        headers: upload.headers.clone(),
        checksum,
    };
    {
        let commit = app.store.commit();
        // Another Complete or an Abort may have been quicker.
        app.uploads.get(&upload.bucket, &upload.key, &upload.id)?;
        condition.check(&commit, &upload.bucket, &upload.key)?;
        let replaced = commit.publish(&upload.bucket, &meta, temp)?;
        app.uploads.remove(&upload.id);
        record(
            app,
            &authorized,
            &upload.bucket,
            "CompleteMultipartUpload",
            &meta,
            replaced,
        );
    }
    let sums = to_dto(meta.checksum.as_ref());
    let (server_side_encryption, ssekms_key_id) =
        Encryption::told(meta.headers.encryption.as_ref());
    Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
        server_side_encryption,
        ssekms_key_id,
        location: Some(format!("/{}/{}", upload.bucket, upload.key)),
        bucket: Some(upload.bucket),
        key: Some(upload.key),
        e_tag: Some(ETag::Strong(meta.etag)),
        checksum_type: meta
            .checksum
            .as_ref()
            .map(|_| checksum_type(upload.full_object)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..Default::default()
    }))
}

pub(crate) fn abort(
    app: &App,
    request: S3Request<dto::AbortMultipartUploadInput>,
) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
    let input = request.input;
    // With the lock of publishing: an upload is either completed or aborted.
    let _commit = app.store.commit();
    let upload = app
        .uploads
        .get(&input.bucket, &input.key, &input.upload_id)?;
    if !app.uploads.remove(&upload.id) {
        return Err(no_such_upload());
    }
    Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
}

/// The uploaded parts that a Complete lists, if it lists them rightly.
fn choose(upload: &Upload, listed: &[dto::CompletedPart]) -> S3Result<Vec<Part>> {
    if listed.is_empty() {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    if !listed.is_sorted_by(|a, b| a.part_number < b.part_number) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidPartOrder,
            "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
        ));
    }
    let unknown = || {
        S3Error::with_message(
            S3ErrorCode::InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been uploaded, or \
             the specified entity tag may not match the part's entity tag.",
        )
    };
    let mut chosen = Vec::with_capacity(listed.len());
    for wish in listed {
        let number = wish.part_number.ok_or(S3ErrorCode::MalformedXML)?;
        let part = upload.parts.get(&number).ok_or_else(unknown)?;
        if wish
            .e_tag
            .as_ref()
            .is_none_or(|tag| tag.value() != hex(&part.md5))
        {
            return Err(unknown());
        }
        let claims = [
            (Algorithm::Crc32, &wish.checksum_crc32),
            (Algorithm::Crc32c, &wish.checksum_crc32c),
            (Algorithm::Crc64Nvme, &wish.checksum_crc64nvme),
            (Algorithm::Sha1, &wish.checksum_sha1),
            (Algorithm::Sha256, &wish.checksum_sha256),
        ];
        for (algorithm, value) in &claims {
            let uploaded = part
                .checksum
                .as_ref()
                .filter(|sum| sum.algorithm == *algorithm)
                .map(|sum| &sum.value);
            if value.is_some() && value.as_ref() != uploaded {
                return Err(unknown());
            }
        }
        // S3 makes a composite checksum only of checksums that the client confirms.
        if let Some(wanted) = upload.algorithm.filter(|_| !upload.full_object)
            && !claims
                .iter()
                .any(|(algorithm, value)| *algorithm == wanted && value.is_some())
        {
            return Err(invalid(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for \
                 each part. It was missing for part {number} in the request.",
                wanted.name().to_lowercase()
            )));
        }
        chosen.push(part.clone());
    }
    let all_but_last = &chosen[..chosen.len() - 1];
    if all_but_last.iter().any(|part| part.size < MIN_PART_BYTES) {
        return Err(S3Error::with_message(
            S3ErrorCode::EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size",
        ));
    }
    Ok(chosen)
}

/// Copies the parts, one behind the other, and computes the checksum of the whole if asked for.
async fn join(
    temp: Temp,
    paths: Vec<PathBuf>,
    whole: Option<Algorithm>,
) -> S3Result<(Temp, Option<Sum>)> {
    let work = move || -> io::Result<(Temp, Option<Sum>)> {
        let mut target = File::create(temp.path())?;
        let mut hasher = whole.map(|algorithm| (algorithm, algorithm.hasher()));
        let mut buffer = vec![0; 1 << 20];
        for path in paths {
            let mut part = File::open(path)?;
            let Some((_, hasher)) = &mut hasher else {
                io::copy(&mut part, &mut target)?;
                continue;
            };
            loop {
                let length = part.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                hasher.update(&buffer[..length]);
                target.write_all(&buffer[..length])?;
            }
        }
        Ok((
            temp,
            hasher.map(|(algorithm, hasher)| algorithm.finish(hasher)),
        ))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        // The parts vanish when the upload is aborted meanwhile.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(no_such_upload()),
        Ok(Err(error)) => Err(internal(error)),
        Err(error) => Err(internal(io::Error::other(error))),
    }
}

fn check_object_claims(
    claimed: &[(Algorithm, &Option<String>)],
    computed: Option<&Sum>,
) -> S3Result<()> {
    for (algorithm, value) in claimed {
        let Some(value) = value else {
            continue;
        };
        let fits = computed.is_some_and(|sum| {
            let bare = sum.value.split('-').next();
            sum.algorithm == *algorithm && (sum.value == *value || bare == Some(value.as_str()))
        });
        if !fits {
            return Err(S3Error::with_message(
                S3ErrorCode::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name().to_lowercase()
                ),
            ));
        }
    }
    Ok(())
}

/// The MD5 of the parts' MD5s, and their number.
fn multipart_etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&part.md5);
    }
    format!("{}-{}", hex(md5.finalize().as_ref()), parts.len())
}

fn checksum_type(full_object: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match full_object {
        true => dto::ChecksumType::FULL_OBJECT,
        false => dto::ChecksumType::COMPOSITE,
    })
}

fn invalid(message: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, message)
}
