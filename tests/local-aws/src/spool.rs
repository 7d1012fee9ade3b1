//! A request's body on its way to disk: written to a hidden file, hashed, compared with what the
//! request claims. Only a body that fits its claims is handed on.

use std::fs::File;
use std::io::Write;

use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};
use tokio::task::JoinHandle;

use crate::checksum::{Algorithm, Claim, PAYLOAD_MISMATCH, Sum, content_md5, payload_sha256};
use crate::errors::{custom, internal};
use crate::store::{Store, Temp};

/// How much is hashed and written at a time, on a thread that may block.
const CHUNK_BYTES: usize = 1 << 20;

/// A body that was received whole and found right.
pub(crate) struct Spooled {
    pub(crate) temp: Temp,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Option<Sum>,
}

struct Sink {
    file: File,
    size: u64,
    md5: Md5,
    checksum: Option<ChecksumHasher>,
}

/// Receives a body. `content_md5` is the header of that name.
pub(crate) async fn receive(
    store: &Store,
    body: Option<StreamingBlob>,
    headers: &HeaderMap,
    trailing: Option<TrailingHeaders>,
) -> S3Result<Spooled> {
    let claim = Claim::of(headers)?;
    let expected_md5 = match headers.get("content-md5") {
        Some(value) => Some(content_md5(value.to_str().unwrap_or_default())?),
        None => None,
    };
    let temp = store.temp();
    // s3s verifies the payload's hash while the body is read, so a SHA-256 need not be computed twice.
    let verified = payload_sha256(headers).filter(|_| {
        claim
            .as_ref()
            .is_some_and(|claim| claim.algorithm == Algorithm::Sha256)
    });
    let sink = Sink {
        file: File::create(temp.path()).map_err(internal)?,
        size: 0,
        md5: Md5::new(),
        checksum: match (&claim, &verified) {
            (Some(claim), None) => Some(claim.algorithm.hasher()),
            _ => None,
        },
    };
    let mut body = body.ok_or(S3ErrorCode::IncompleteBody)?;
    // One chunk is hashed and written while the next one comes in.
    let mut busy = sink.take(Vec::with_capacity(CHUNK_BYTES));
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while let Some(bytes) = body.next().await {
        chunk.extend_from_slice(&bytes.map_err(broken_body)?);
        if chunk.len() >= CHUNK_BYTES {
            let (sink, spare) = finished(busy).await?;
            busy = sink.take(std::mem::replace(&mut chunk, spare));
        }
    }
    let (sink, _) = finished(busy).await?;
    let (sink, _) = finished(sink.take(chunk)).await?;

    let md5 = sink.md5.finalize();
    if expected_md5.is_some_and(|expected| expected != md5) {
        return Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            "The Content-MD5 you specified did not match what we received.",
        ));
    }
    let checksum = match (&claim, sink.checksum) {
        (Some(claim), Some(hasher)) => Some(claim.algorithm.finish(hasher)),
        _ => verified,
    };
    if let (Some(claim), Some(computed)) = (claim, &checksum) {
        claim.verify(
            computed,
            trailing.and_then(|trailing| trailing.take()).as_ref(),
        )?;
    }
    Ok(Spooled {
        temp,
        size: sink.size,
        md5,
        checksum,
    })
}

impl Sink {
    /// Hashes and writes a chunk, and gives its buffer back for the next one.
    fn take(mut self, mut chunk: Vec<u8>) -> JoinHandle<std::io::Result<(Self, Vec<u8>)>> {
        tokio::task::spawn_blocking(move || {
            self.md5.update(&chunk);
            if let Some(checksum) = &mut self.checksum {
                checksum.update(&chunk);
            }
            self.file.write_all(&chunk)?;
            self.size += chunk.len() as u64;
            chunk.clear();
            Ok((self, chunk))
        })
    }
}

async fn finished(work: JoinHandle<std::io::Result<(Sink, Vec<u8>)>>) -> S3Result<(Sink, Vec<u8>)> {
    let done = work.await.map_err(std::io::Error::other).flatten();
    done.map_err(internal)
}

/// The stream's errors are private types of s3s, known only by their names.
fn broken_body(error: StdError) -> S3Error {
    let text = error.to_string();
    tracing::info!(error = text, "the body broke off");
    if text.contains("Sha256Mismatch") {
        return custom(
            StatusCode::BAD_REQUEST,
            "XAmzContentSHA256Mismatch",
            PAYLOAD_MISMATCH,
        );
    }
    if text.contains("SignatureMismatch") {
        return S3ErrorCode::SignatureDoesNotMatch.into();
    }
    if text.contains("FormatError") || text.contains("TooLarge") || text.contains("TooMany") {
        return S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "The chunked encoding of the body is malformed.",
        );
    }
    S3Error::with_message(
        S3ErrorCode::IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}
