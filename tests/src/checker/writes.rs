//! What was done to an organisation's keys, by the log of the server of S3.

use std::collections::BTreeMap;

use super::{
    files::{Found, Place},
    problems::{Kind, Problems},
    rows::Rows,
};

/// Checks that each object was written once and stays, and that no upload is left open. `sizes` are
/// those of the objects that are there.
pub(super) fn judge(
    rows: &Rows,
    found: &Found<'_>,
    sizes: &BTreeMap<&Place, u64>,
    problems: &mut Problems,
) {
    let mut written: BTreeMap<Place, Vec<Option<u64>>> = BTreeMap::new();
    for write in &found.writes {
        let place = Place::new(&write.bucket, &write.key);
        match write.op.as_str() {
            "PutObject" | "CompleteMultipartUpload" => {
                if write.replaced {
                    let text = format!("{place} was rewritten by {}", write.principal);
                    problems.add(Kind::Write, text);
                }
                written.entry(place).or_default().push(write.size);
            }
            op => {
                let text = format!("{op} of {place} by {}", write.principal);
                problems.add(Kind::Write, text);
            }
        }
    }
    for (place, writes) in &written {
        if writes.len() > 1 {
            let text = format!("{place} was written {} times", writes.len());
            problems.add(Kind::Write, text);
        }
        if !sizes.contains_key(place) {
            problems.add(
                Kind::Object,
                format!("{place} was written and is not there"),
            );
        }
    }
    for (place, size) in sizes {
        match written.get(*place).and_then(|writes| writes.last()) {
            None => problems.add(Kind::Write, format!("no write of {place} is known")),
            Some(written) if *written != Some(*size) => {
                let text = format!("{place} has {size} bytes, {written:?} were written");
                problems.add(Kind::Write, text);
            }
            Some(_) => {}
        }
    }
    for (bucket, upload) in &found.uploads {
        if !rows.warned_of(&upload.key) {
            let place = Place::new(bucket, &upload.key);
            let (id, parts) = (&upload.upload_id, upload.parts.len());
            let text = format!("{id} of {place}, with {parts} parts, and no run names it");
            problems.add(Kind::Upload, text);
        }
    }
}
