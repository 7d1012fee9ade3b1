//! The requests to a customer's bucket. Each names the account that must own the bucket; bodies carry
//! a SHA-256 checksum; those that make an object visible refuse to replace one; and those that begin
//! an object name the key that it is to be encrypted with, where the destination has one.

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart,
        ServerSideEncryption,
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use common::destination::{Compression, Destination, KmsKeyArn};

use super::{
    failure::{CallError, Operation},
    session::Session,
};

/// Where the SHA-256 of the whole object stands in its metadata, in hex.
const SHA256_METADATA: &str = "sha256";

/// A customer's bucket, seen as its role.
#[derive(Debug)]
pub struct Bucket<'a> {
    session: &'a Session,
    name: &'a str,
    owner: &'a str,
    kms_key: Option<&'a KmsKeyArn>,
    content_type: &'static str,
    /// `Some("*")` where the server honours it.
    if_none_match: Option<&'static str>,
}

/// What S3 says of an object that it has taken.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// Its ETag.
    pub etag: Option<String>,
    /// Its version id, in a versioned bucket.
    pub version_id: Option<String>,
}

/// A part that S3 has taken.
#[derive(Debug, Clone)]
pub struct Part {
    number: i32,
    etag: String,
    sha256: String,
}

impl<'a> Bucket<'a> {
    /// The bucket of a destination.
    pub fn new(session: &'a Session, destination: &'a Destination, conditional: bool) -> Self {
        Self {
            session,
            name: destination.bucket.as_str(),
            owner: destination.owner().as_str(),
            kms_key: destination.kms_key_arn.as_ref(),
            content_type: content_type(destination.compression),
            if_none_match: conditional.then_some("*"),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Another bucket of the same region and owner, as far as the role reaches.
    pub fn elsewhere(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// The same for objects of another compression than the destination's of today.
    pub fn holding(self, compression: Compression) -> Self {
        Self {
            content_type: content_type(compression),
            ..self
        }
    }

    /// The headers by which S3 encrypts with the destination's own key. Without them the bucket's
    /// setting decides.
    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        let key = self.kms_key.map(|key| key.as_str().to_owned());
        (key.as_ref().map(|_| ServerSideEncryption::AwsKms), key)
    }

    /// Writes a whole object.
    ///
    /// # Errors
    /// S3's; `AlreadyThere` where the key exists.
    pub async fn put(&self, key: &str, body: Bytes, sha256: &[u8]) -> Result<Receipt, CallError> {
        let (encryption, kms_key) = self.encryption();
        let output = self
            .session
            .client()
            .put_object()
            .bucket(self.name)
            .key(key)
            .expected_bucket_owner(self.owner)
            .set_if_none_match(self.if_none_match.map(str::to_owned))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .content_type(self.content_type)
            .metadata(SHA256_METADATA, hex(sha256))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64_STANDARD.encode(sha256))
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|e| CallError::new(Operation::PutObject, &e))?;
        receipt(Operation::PutObject, output.e_tag, output.version_id)
    }

    /// Begins an object in parts and returns the upload's id.
    ///
    /// # Errors
    /// S3's.
    pub async fn create_upload(&self, key: &str) -> Result<String, CallError> {
        let (encryption, kms_key) = self.encryption();
        let output = self
            .session
            .client()
            .create_multipart_upload()
            .bucket(self.name)
            .key(key)
            .expected_bucket_owner(self.owner)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .content_type(self.content_type)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_type(ChecksumType::Composite)
            .send()
            .await
            .map_err(|e| CallError::new(Operation::CreateMultipartUpload, &e))?;
        let id = output.upload_id;
        id.ok_or_else(|| CallError::not_of_aws(Operation::CreateMultipartUpload))
    }

    /// Sends one part; numbers begin with 1.
    ///
    /// # Errors
    /// S3's; `NewUpload` where the upload is gone.
    pub async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Bytes,
        sha256: &[u8],
    ) -> Result<Part, CallError> {
        let sha256 = BASE64_STANDARD.encode(sha256);
        let output = self
            .session
            .client()
            .upload_part()
            .bucket(self.name)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .expected_bucket_owner(self.owner)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(&sha256)
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|e| CallError::new(Operation::UploadPart, &e))?;
        let etag = output.e_tag;
        Ok(Part {
            number,
            etag: etag.ok_or_else(|| CallError::not_of_aws(Operation::UploadPart))?,
            sha256,
        })
    }

    /// Makes the object of an upload visible.
    ///
    /// # Errors
    /// S3's; `AlreadyThere` where the key exists, `NewUpload` where all has to be sent again.
    pub async fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
    ) -> Result<Receipt, CallError> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .e_tag(&part.etag)
                .checksum_sha256(&part.sha256)
                .build()
        });
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let output = self
            .session
            .client()
            .complete_multipart_upload()
            .bucket(self.name)
            .key(key)
            .upload_id(upload_id)
            .expected_bucket_owner(self.owner)
            .set_if_none_match(self.if_none_match.map(str::to_owned))
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|e| CallError::new(Operation::CompleteMultipartUpload, &e))?;
        receipt(
            Operation::CompleteMultipartUpload,
            output.e_tag,
            output.version_id,
        )
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// S3's; the role need not be allowed to.
    pub async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), CallError> {
        self.session
            .client()
            .abort_multipart_upload()
            .bucket(self.name)
            .key(key)
            .upload_id(upload_id)
            .expected_bucket_owner(self.owner)
            .send()
            .await
            .map_err(|e| CallError::new(Operation::AbortMultipartUpload, &e))?;
        Ok(())
    }

    /// The ids of the uploads of a key that are neither complete nor given up: at most a thousand.
    ///
    /// # Errors
    /// S3's; the role need not be allowed to.
    pub async fn open_uploads(&self, key: &str) -> Result<Vec<String>, CallError> {
        let output = self
            .session
            .client()
            .list_multipart_uploads()
            .bucket(self.name)
            .prefix(key)
            .expected_bucket_owner(self.owner)
            .send()
            .await
            .map_err(|e| CallError::new(Operation::ListMultipartUploads, &e))?;
        let uploads = output.uploads.unwrap_or_default().into_iter();
        Ok(uploads
            .filter(|upload| upload.key.as_deref() == Some(key))
            .filter_map(|upload| upload.upload_id)
            .collect())
    }

    /// Removes a test's object.
    ///
    /// # Errors
    /// S3's; the role need not be allowed to.
    pub async fn delete(&self, key: &str) -> Result<(), CallError> {
        self.session
            .client()
            .delete_object()
            .bucket(self.name)
            .key(key)
            .expected_bucket_owner(self.owner)
            .send()
            .await
            .map_err(|e| CallError::new(Operation::DeleteObject, &e))?;
        Ok(())
    }
}

/// What a `.gz` or `.zst` file is, so that nobody on the way decodes it.
fn content_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "application/gzip",
        Compression::Zstd => "application/zstd",
    }
}

/// Of an object that S3 has taken, it tells the ETag. A success without one is somebody else's answer.
fn receipt(
    operation: Operation,
    etag: Option<String>,
    version_id: Option<String>,
) -> Result<Receipt, CallError> {
    if etag.is_none() {
        return Err(CallError::not_of_aws(operation));
    }
    Ok(Receipt { etag, version_id })
}

/// The checksum that every body is sent with.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
