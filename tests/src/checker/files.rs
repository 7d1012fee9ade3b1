//! What lies in the buckets and what was done there, sorted by organisation.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use local_aws::{OpenUpload, WriteRecord};

use super::{Aws, key};

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl Place {
    /// A key in a bucket.
    pub(super) fn new(bucket: &str, key: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The object's bytes.
    pub(super) fn read(&self, data_dir: &Path) -> io::Result<Vec<u8>> {
        fs::read(data_dir.join(&self.bucket).join(&self.key))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// How an object is read.
pub(super) type Read<'a> = &'a (dyn Fn(&Place) -> io::Result<Vec<u8>> + Sync);

/// What bears one organisation's name.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Its objects.
    pub(super) places: Vec<Place>,
    /// The writes to its keys, in their order.
    pub(super) writes: Vec<&'a WriteRecord>,
    /// Its open uploads, each with its bucket.
    pub(super) uploads: Vec<&'a (String, OpenUpload)>,
}

/// All objects in all buckets.
pub(super) fn walk(data_dir: &Path) -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let bucket = entry.file_name().to_string_lossy().into_owned();
        // The server's own folder; no bucket's name begins with a dot.
        if entry.file_type()?.is_dir() && !bucket.starts_with('.') {
            collect(&entry.path(), &bucket, "", &mut places)?;
        }
    }
    places.sort();
    Ok(places)
}

fn collect(dir: &Path, bucket: &str, prefix: &str, places: &mut Vec<Place>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        // The server removes folders that a deletion leaves empty.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let key = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), bucket, &format!("{key}/"), places)?;
        } else {
            places.push(Place::new(bucket, &key));
        }
    }
    Ok(())
}

/// Sorts by whose it is. What looks like an export and names nobody is under the empty name; tests'
/// objects and what is no export are left out.
pub(super) fn by_org<'a>(places: Vec<Place>, aws: &Aws<'a>) -> BTreeMap<String, Found<'a>> {
    let mut found: BTreeMap<String, Found<'a>> = BTreeMap::new();
    for place in places {
        if let Some(org) = key::org_of(&place.key) {
            let org = org.to_owned();
            found.entry(org).or_default().places.push(place);
        }
    }
    for write in aws.writes {
        if let Some(org) = key::org_of(&write.key) {
            found.entry(org.to_owned()).or_default().writes.push(write);
        }
    }
    for upload in aws.open_uploads {
        if let Some(org) = key::org_of(&upload.1.key) {
            let of_org = found.entry(org.to_owned()).or_default();
            of_org.uploads.push(upload);
        }
    }
    found
}
