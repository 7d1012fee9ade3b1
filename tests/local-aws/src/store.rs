//! Objects as plain files, `DIR/bucket/key`, and beside them, in `DIR/.local-aws`, what a file
//! cannot say: ETag, headers, checksum.
//!
//! An object becomes visible by one rename, under one lock for the whole server: nobody sees half
//! of it, and of two conditional writes to one key only one finds it free.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use jiff::Timestamp;
use s3s::S3Error;
use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};

use crate::checksum::{Sum, hex, sha256_hex};
use crate::errors::{custom, internal};
use crate::keys;
use crate::kms::Encryption;

/// The server's own folder. No bucket can have this name.
const PRIVATE: &str = ".local-aws";

/// What is known of an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) headers: Headers,
    pub(crate) checksum: Option<Sum>,
}

/// The headers that an object is stored with and read with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) encryption: Option<Encryption>,
}

pub(crate) struct Store {
    root: PathBuf,
    commit: Mutex<()>,
}

/// A file that nobody sees, and that is gone unless it becomes an object or a part.
pub(crate) struct Temp(PathBuf);

/// The right to change what is visible. Held for a few system calls, never across an await.
pub(crate) struct Commit<'a> {
    store: &'a Store,
    _lock: MutexGuard<'a, ()>,
}

impl Store {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let store = Self {
            root: root.canonicalize()?,
            commit: Mutex::default(),
        };
        // Left behind by a kill.
        match fs::remove_dir_all(store.private("tmp")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(store.private("tmp"))?,
        }
        Ok(store)
    }

    /// A path in the server's own folder.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    pub(crate) fn temp(&self) -> Temp {
        Temp(self.private("tmp").join(uuid::Uuid::new_v4().to_string()))
    }

    /// Makes the directories of buckets that exist, so that people can see them.
    pub(crate) fn make_bucket(&self, bucket: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(bucket))
    }

    pub(crate) fn commit(&self) -> Commit<'_> {
        Commit {
            store: self,
            _lock: self.commit.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The object and its bytes, which belong together even while it is being replaced.
    pub(crate) fn read(&self, bucket: &str, key: &str) -> io::Result<Option<(Meta, File)>> {
        let commit = self.commit();
        let Some(path) = self.path(bucket, key) else {
            return Ok(None);
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let about = file.metadata()?;
        if !about.is_file() {
            return Ok(None);
        }
        let kept = self
            .read_meta(bucket, key)
            .filter(|meta| meta.size == about.len());
        drop(commit);
        if let Some(meta) = kept {
            return Ok(Some((meta, file)));
        }
        // A file that was put there by hand.
        let meta = Meta {
            key: key.to_owned(),
            size: about.len(),
            etag: md5_of(&mut File::open(&path)?)?,
            modified: Timestamp::try_from(about.modified()?).map_err(io::Error::other)?,
            headers: Headers::default(),
            checksum: None,
        };
        Ok(Some((meta, file)))
    }

    /// All objects whose keys begin with the prefix, in the order of S3: by bytes.
    pub(crate) fn keys(&self, bucket: &str, prefix: &str) -> io::Result<Vec<String>> {
        let root = self.root.join(bucket);
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                let Some(key) = path.strip_prefix(&root).ok().and_then(keys::from_path) else {
                    continue;
                };
                if entry.file_type()?.is_dir() {
                    let folder = format!("{key}/");
                    if folder.starts_with(prefix) || prefix.starts_with(&folder) {
                        folders.push(path);
                    }
                } else if key.starts_with(prefix) {
                    found.push(key);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn path(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        Some(self.root.join(bucket).join(keys::to_path(key)?))
    }

    /// Keys are longer than file names may be, so the file is named by the key's hash.
    fn meta_path(&self, bucket: &str, key: &str) -> PathBuf {
        let name = sha256_hex(key.as_bytes());
        self.private("meta")
            .join(bucket)
            .join(&name[..2])
            .join(format!("{name}.json"))
    }

    fn read_meta(&self, bucket: &str, key: &str) -> Option<Meta> {
        let text = fs::read(self.meta_path(bucket, key)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Commit<'_> {
    /// Whether there is an object of this key.
    pub(crate) fn exists(&self, bucket: &str, key: &str) -> bool {
        self.store
            .path(bucket, key)
            .is_some_and(|path| path.is_file())
    }

    /// The ETag that the server keeps for an object.
    pub(crate) fn etag(&self, bucket: &str, key: &str) -> Option<String> {
        self.exists(bucket, key)
            .then(|| self.store.read_meta(bucket, key))?
            .map(|meta| meta.etag)
    }

    /// Makes the object visible, replacing what is there. Answers whether something was.
    pub(crate) fn publish(&self, bucket: &str, meta: &Meta, temp: Temp) -> Result<bool, S3Error> {
        let Some(path) = self.store.path(bucket, &meta.key) else {
            return Err(unfit(
                "a name between two slashes of the key is longer than a file name may be",
            ));
        };
        let replaced = self.exists(bucket, &meta.key);
        let place = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            // First what describes the object: a kill between the two leaves at most a description
            // of nothing, or one whose size does not fit.
            write_whole(
                &self.store.meta_path(bucket, &meta.key),
                &serde_json::to_vec(meta)?,
                &self.store.temp(),
            )?;
            fs::rename(&temp.0, &path)
        };
        match place() {
            Ok(()) => Ok(replaced),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists
                ) =>
            {
                Err(unfit(
                    "the key is a folder of other keys, or one of its folders is a key",
                ))
            }
            Err(error) => Err(internal(error)),
        }
    }

    /// Removes the object and the folders that it leaves empty. Answers whether it was there.
    pub(crate) fn remove(&self, bucket: &str, key: &str) -> io::Result<bool> {
        let Some(path) = self.store.path(bucket, key).filter(|path| path.is_file()) else {
            return Ok(false);
        };
        fs::remove_file(&path)?;
        let _ = fs::remove_file(self.store.meta_path(bucket, key));
        let bucket = self.store.root.join(bucket);
        for folder in path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != bucket)
        {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(true)
    }
}

impl Temp {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves the file to where it stays.
    pub(crate) fn keep(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a small file so that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], temp: &Temp) -> io::Result<()> {
    fs::write(temp.path(), bytes)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::rename(temp.path(), path)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The real S3 takes such keys; a tree of files cannot.
fn unfit(reason: &str) -> S3Error {
    custom(
        StatusCode::NOT_IMPLEMENTED,
        "NotImplemented",
        format!("This server keeps objects as files: {reason}."),
    )
}

fn md5_of(file: &mut File) -> io::Result<String> {
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(md5.finalize().as_ref())),
            length => md5.update(&buffer[..length]),
        }
    }
}
