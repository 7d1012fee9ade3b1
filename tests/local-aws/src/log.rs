//! What happened, for tests to look at: the writes that were accepted and all calls.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many calls are remembered; the oldest are forgotten first. Writes are all kept.
const MAX_CALLS: usize = 100_000;

/// A write that took effect, in the order in which they did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteRecord {
    /// When the object became visible or vanished.
    pub time: Timestamp,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// `PutObject`, `CompleteMultipartUpload` or `DeleteObject`.
    pub op: String,
    /// The new object's ETag without quotes; `None` for a deletion.
    pub etag: Option<String>,
    /// The new object's bytes; `None` for a deletion.
    pub size: Option<u64>,
    /// The KMS key that the new object is encrypted with, where it is not S3's own.
    #[serde(default)]
    pub kms_key_arn: Option<String>,
    /// Whether the write replaced an object. A deletion is recorded only if there was one.
    pub replaced: bool,
    /// Who did it: for a role, its assumed-role ARN.
    pub principal: String,
}

/// One call, refused or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// When the answer was ready.
    pub time: Timestamp,
    /// `s3` or `sts`.
    pub service: String,
    /// For example `PutObject` or `AssumeRole`; the HTTP method where the call was refused before
    /// its operation was known.
    pub operation: String,
    /// The bucket, if the call named one.
    pub bucket: Option<String>,
    /// The key, if the call named one.
    pub key: Option<String>,
    /// The caller's ARN, once its credentials were found good.
    pub principal: Option<String>,
    /// The account that the call named as the bucket's owner, if it did.
    #[serde(default)]
    pub expected_owner: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The error's code, of a call that failed.
    pub error_code: Option<String>,
    /// The error's message, of a call that failed.
    pub error_message: Option<String>,
    /// The `x-amz-request-id` of the answer.
    pub request_id: String,
}

pub(crate) struct Log {
    writes: Mutex<Vec<WriteRecord>>,
    calls: Mutex<VecDeque<CallRecord>>,
    file: Option<Mutex<File>>,
}

impl Log {
    /// Writes also go to the file, as JSON lines, if one is given.
    pub(crate) fn open(file: Option<&Path>) -> std::io::Result<Self> {
        let open = |path| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
        };
        let file = file.map(open).transpose()?.map(Mutex::new);
        Ok(Self {
            writes: Mutex::default(),
            calls: Mutex::default(),
            file,
        })
    }

    pub(crate) fn wrote(&self, record: WriteRecord) {
        if let Some(file) = &self.file {
            let line = serde_json::to_vec(&record).map(|mut line| {
                line.push(b'\n');
                line
            });
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let done = line
                .map_err(std::io::Error::from)
                .and_then(|line| file.write_all(&line));
            if let Err(error) = done {
                tracing::error!(%error, "the write log cannot be written");
            }
        }
        self.writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }

    pub(crate) fn called(&self, record: CallRecord) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back(record);
    }

    pub(crate) fn writes(&self) -> Vec<WriteRecord> {
        self.writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}
