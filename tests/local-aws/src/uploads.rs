//! Multipart uploads that are open. They lie in `DIR/.local-aws/uploads/ID`, so that they survive a
//! restart as they would in S3.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use s3s::{S3Error, S3Result};
use serde::{Deserialize, Serialize};

use crate::checksum::{Algorithm, Sum};
use crate::errors::{internal, no_such_upload};
use crate::store::{Headers, Store, Temp, write_whole};

/// An open upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) initiated: Timestamp,
    pub(crate) headers: Headers,
    /// Asked for when the upload was made; every part must then have it.
    pub(crate) algorithm: Option<Algorithm>,
    /// Whether the object's checksum will be that of all bytes, not that of the parts' checksums.
    pub(crate) full_object: bool,
    #[serde(skip)]
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// A part that was received whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) number: i32,
    /// A file of the upload's folder. A part that is sent again gets a new one, so that a part in
    /// use never changes.
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Option<Sum>,
    pub(crate) modified: Timestamp,
}

pub(crate) struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<String, Upload>>,
}

impl Uploads {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut open = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match read_upload(&path)? {
                Some(upload) => {
                    open.insert(upload.id.clone(), upload);
                }
                // Killed while it was made or removed.
                None => fs::remove_dir_all(&path)?,
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            open: Mutex::new(open),
        })
    }

    pub(crate) fn create(&self, store: &Store, upload: Upload) -> io::Result<()> {
        let about = self.folder.join(&upload.id).join("upload.json");
        write_whole(&about, &serde_json::to_vec(&upload)?, &store.temp())?;
        self.lock().insert(upload.id.clone(), upload);
        Ok(())
    }

    /// The open upload of this id, which must be for this very key.
    pub(crate) fn get(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        let found = self
            .lock()
            .get(id)
            .filter(|one| one.bucket == bucket && one.key == key)
            .cloned();
        found.ok_or_else(no_such_upload)
    }

    /// Adds a part or replaces the one of its number.
    pub(crate) fn add(
        &self,
        store: &Store,
        id: &str,
        part: Part,
        temp: Temp,
    ) -> Result<(), S3Error> {
        // Locked throughout: the upload must not end while the part moves into its folder.
        let mut open = self.lock();
        let upload = open.get_mut(id).ok_or_else(no_such_upload)?;
        let folder = self.folder.join(id);
        temp.keep(&folder.join(&part.file)).map_err(internal)?;
        let about = serde_json::to_vec(&part)
            .map_err(io::Error::from)
            .map_err(internal)?;
        let name = format!("part-{}.json", part.number);
        write_whole(&folder.join(name), &about, &store.temp()).map_err(internal)?;
        upload.parts.insert(part.number, part);
        Ok(())
    }

    pub(crate) fn part_path(&self, id: &str, part: &Part) -> PathBuf {
        self.folder.join(id).join(&part.file)
    }

    /// Ends an upload, whichever way. Answers whether it was open.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let was_open = self.lock().remove(id).is_some();
        if was_open {
            let folder = self.folder.join(id);
            // The description first: without it the rest is rubbish that the next start removes.
            let gone = fs::remove_file(folder.join("upload.json"))
                .and_then(|()| fs::remove_dir_all(&folder));
            if let Err(error) = gone {
                tracing::error!(%error, id, "an ended upload cannot be removed");
            }
        }
        was_open
    }

    /// The open uploads of a bucket, in S3's order: by key, then by time.
    pub(crate) fn list(&self, bucket: &str) -> Vec<Upload> {
        let mut found: Vec<Upload> = self
            .lock()
            .values()
            .filter(|one| one.bucket == bucket)
            .cloned()
            .collect();
        found.sort_by(|a, b| (&a.key, a.initiated, &a.id).cmp(&(&b.key, b.initiated, &b.id)));
        found
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_upload(folder: &Path) -> io::Result<Option<Upload>> {
    let text = match fs::read(folder.join("upload.json")) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut upload: Upload = serde_json::from_slice(&text)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("part-") && name.ends_with(".json") {
            let part: Part = serde_json::from_slice(&fs::read(&path)?)?;
            upload.parts.insert(part.number, part);
        }
    }
    Ok(Some(upload))
}
