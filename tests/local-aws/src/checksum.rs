//! The `x-amz-checksum-*` family: what a request claims, and what was computed. See
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};

use crate::errors::custom;

pub(crate) const PAYLOAD_MISMATCH: &str =
    "The provided 'x-amz-content-sha256' header does not match what was computed.";

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// A checksum in base64. That of a multipart object may be composite: the checksum of its parts'
/// checksums, ending in `-N`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) algorithm: Algorithm,
    pub(crate) value: String,
}

/// What the headers say: an algorithm, and its value unless that follows in the trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) algorithm: Algorithm,
    pub(crate) value: Option<String>,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// As in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(crate) fn parse(name: &str) -> S3Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            invalid("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]".into())
        })
    }

    pub(crate) fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(crate) fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Default::default()),
            Self::Crc32c => hasher.crc32c = Some(Default::default()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Default::default()),
            Self::Sha1 => hasher.sha1 = Some(Default::default()),
            Self::Sha256 => hasher.sha256 = Some(Default::default()),
        }
        hasher
    }

    /// The computed value; the hasher must be one of [`Self::hasher`].
    pub(crate) fn finish(self, hasher: ChecksumHasher) -> Sum {
        let all = hasher.finalize();
        let value = match self {
            Self::Crc32 => all.checksum_crc32,
            Self::Crc32c => all.checksum_crc32c,
            Self::Crc64Nvme => all.checksum_crc64nvme,
            Self::Sha1 => all.checksum_sha1,
            Self::Sha256 => all.checksum_sha256,
        };
        Sum {
            algorithm: self,
            value: value.unwrap_or_default(),
        }
    }

    /// The checksum over the parts' checksums, without the `-N`.
    pub(crate) fn composite(self, parts: &[String]) -> Sum {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(&STANDARD.decode(part).unwrap_or_default());
        }
        self.finish(hasher)
    }
}

impl Claim {
    /// Reads the headers of a PUT.
    pub(crate) fn of(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let mut claims = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(algorithm.header()) {
                let value = value.to_str().unwrap_or_default().to_owned();
                check_form(algorithm, &value)?;
                claims.push(Self {
                    algorithm,
                    value: Some(value),
                });
            }
        }
        let trailers = headers
            .get("x-amz-trailer")
            .and_then(|value| value.to_str().ok());
        for name in trailers.into_iter().flat_map(|names| names.split(',')) {
            if let Some(name) = name
                .trim()
                .to_ascii_lowercase()
                .strip_prefix("x-amz-checksum-")
            {
                claims.push(Self {
                    algorithm: Algorithm::parse(name)?,
                    value: None,
                });
            }
        }
        if claims.len() > 1 {
            return Err(invalid(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.".into(),
            ));
        }
        let named = headers
            .get("x-amz-sdk-checksum-algorithm")
            .and_then(|value| value.to_str().ok());
        match (claims.first(), named) {
            (None, Some(_)) => Err(invalid(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found."
                    .into(),
            )),
            (Some(claim), Some(name)) if !claim.algorithm.name().eq_ignore_ascii_case(name) => Err(
                invalid("Value for x-amz-sdk-checksum-algorithm header is invalid.".into()),
            ),
            _ => Ok(claims.pop()),
        }
    }

    /// Compares the claim, or its trailer, with what was computed.
    pub(crate) fn verify(&self, computed: &Sum, trailers: Option<&HeaderMap>) -> S3Result<()> {
        let header = self.algorithm.header();
        let claimed = match &self.value {
            Some(value) => value.clone(),
            None => {
                let value = trailers
                    .and_then(|all| all.get(&header))
                    .and_then(|value| value.to_str().ok());
                let value = value.ok_or_else(|| {
                    custom(
                        StatusCode::BAD_REQUEST,
                        "MalformedTrailerError",
                        format!("the trailer {header} is missing"),
                    )
                })?;
                check_form(self.algorithm, value)?;
                value.to_owned()
            }
        };
        if claimed == computed.value {
            return Ok(());
        }
        Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            format!(
                "The {} you specified did not match the calculated checksum.",
                self.algorithm.name()
            ),
        ))
    }
}

/// The five fields that every output of S3 has for one checksum.
pub(crate) fn to_dto(sum: Option<&Sum>) -> dto::Checksum {
    let mut all = dto::Checksum::default();
    if let Some(sum) = sum {
        let value = Some(sum.value.clone());
        match sum.algorithm {
            Algorithm::Crc32 => all.checksum_crc32 = value,
            Algorithm::Crc32c => all.checksum_crc32c = value,
            Algorithm::Crc64Nvme => all.checksum_crc64nvme = value,
            Algorithm::Sha1 => all.checksum_sha1 = value,
            Algorithm::Sha256 => all.checksum_sha256 = value,
        }
    }
    all
}

/// The MD5 of a `Content-MD5` header.
pub(crate) fn content_md5(header: &str) -> S3Result<Vec<u8>> {
    STANDARD
        .decode(header)
        .ok()
        .filter(|bytes| bytes.len() == 16)
        .ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidDigest,
                "The Content-MD5 you specified was invalid.",
            )
        })
}

/// The SHA-256 of the body that a request was signed with, unless its body is not signed as a whole.
pub(crate) fn payload_sha256(headers: &HeaderMap) -> Option<Sum> {
    let text = headers.get("x-amz-content-sha256")?.to_str().ok()?;
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|one| one.to_digit(16)?.try_into().ok())
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit))
        .collect();
    (bytes.len() == 32 && text.len() == 64).then(|| Sum {
        algorithm: Algorithm::Sha256,
        value: STANDARD.encode(bytes),
    })
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::checksum(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
            text
        })
}

fn check_form(algorithm: Algorithm, value: &str) -> S3Result<()> {
    match STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(()),
        _ => Err(invalid(format!(
            "Value for {} header is invalid.",
            algorithm.header()
        ))),
    }
}

fn invalid(message: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, message)
}
