//! From lines to the bytes of an object: gzip, cut into parts, with a SHA-256 of the whole.
//!
//! The same lines give the same bytes, however they arrive in pages: there is no time in the header,
//! and parts are cut by size alone. [`ENCODER_VERSION`] changes when that is no longer so.

use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use common::db::audit_events::Line;
use flate2::{Compression, GzBuilder, write::GzEncoder};

/// The version of what this file does to lines.
pub const ENCODER_VERSION: i32 = 1;
/// The name of what it does, in the database.
pub const CODEC: &str = "gzip";
/// The size of a part, in bytes: S3 wants at least 5 MiB of all but the last, and takes 10,000 parts,
/// far more than a run's bound can fill. Objects below it go out in one request.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the operating system's name in the header that say it is unknown (RFC 1952).
const OS_UNKNOWN: u8 = 255;

/// An object in the making.
pub struct Encoder {
    gzip: GzEncoder<Vec<u8>>,
    sha256: Context,
    next_seq: i64,
    raw_bytes: i64,
    bytes: i64,
}

/// The last part of an object, and what is known of the whole.
#[derive(Debug)]
pub struct Finished {
    /// What is left to send.
    pub rest: Bytes,
    /// SHA-256 of the whole object.
    pub sha256: Vec<u8>,
    /// Size of the whole object, in bytes.
    pub bytes: i64,
    /// Size of its lines, in bytes.
    pub raw_bytes: i64,
}

/// A sequence number is missing or out of order, which the way events are appended rules out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {expected} is missing; next comes {found:?}")]
pub struct Gap {
    expected: i64,
    found: Option<i64>,
}

impl Gap {
    /// Nothing is left where this event should be.
    pub fn at_end(expected: i64) -> Self {
        Self {
            expected,
            found: None,
        }
    }
}

impl Encoder {
    /// An empty object whose first event has this sequence number.
    pub fn new(first_seq: i64) -> Self {
        Self {
            gzip: GzBuilder::new()
                .operating_system(OS_UNKNOWN)
                .write(Vec::with_capacity(PART_BYTES), Compression::new(6)),
            sha256: Context::new(&SHA256),
            next_seq: first_seq,
            raw_bytes: 0,
            bytes: 0,
        }
    }

    /// Adds a page of lines.
    ///
    /// # Errors
    /// The page does not go on where the last one ended.
    pub fn push(&mut self, page: &[Line]) -> Result<(), Gap> {
        for line in page {
            if line.seq() != self.next_seq {
                return Err(Gap {
                    expected: self.next_seq,
                    found: Some(line.seq()),
                });
            }
            self.write(line.text());
            self.next_seq += 1;
        }
        Ok(())
    }

    fn write(&mut self, line: &str) {
        let written = self
            .gzip
            .write_all(line.as_bytes())
            .and_then(|()| self.gzip.write_all(b"\n"));
        written.expect("a vector takes what is written to it");
        self.raw_bytes += length(line.len() + 1);
    }

    /// The next sequence number that is expected.
    pub fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// A whole part, once there is one.
    pub fn take_part(&mut self) -> Option<Bytes> {
        let buffer = self.gzip.get_mut();
        if buffer.len() < PART_BYTES {
            return None;
        }
        let rest = buffer.split_off(PART_BYTES);
        let mut part = std::mem::replace(buffer, Vec::with_capacity(PART_BYTES));
        buffer.extend_from_slice(&rest);
        part.shrink_to_fit();
        Some(self.count(part))
    }

    /// Ends the object. What is left may be a little more than a part, or nothing.
    pub fn finish(mut self) -> Finished {
        self.gzip
            .try_finish()
            .expect("a vector takes what is written to it");
        let rest = std::mem::take(self.gzip.get_mut());
        let rest = self.count(rest);
        Finished {
            rest,
            sha256: self.sha256.finish().as_ref().to_vec(),
            bytes: self.bytes,
            raw_bytes: self.raw_bytes,
        }
    }

    fn count(&mut self, part: Vec<u8>) -> Bytes {
        self.sha256.update(&part);
        self.bytes += length(part.len());
        Bytes::from(part)
    }
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("what lies in memory is shorter than 2^63 bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use aws_lc_rs::digest::digest;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn encode(lines: &[String]) -> (Vec<Bytes>, Finished) {
        let mut encoder = Encoder::new(1);
        let mut parts = Vec::new();
        for line in lines {
            encoder.write(line);
            parts.extend(encoder.take_part());
        }
        (parts, encoder.finish())
    }

    fn noise(bytes: usize) -> String {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'!' + (state >> 33) as u8 % 90)
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn parts_and_rest_are_the_object() {
        let lines: Vec<_> = (0..30).map(|_| noise(1 << 20)).collect();
        let (parts, finished) = encode(&lines);
        assert!(parts.len() >= 2, "{}", parts.len());
        assert!(parts.iter().all(|part| part.len() == PART_BYTES));
        let whole = [parts.concat(), finished.rest.to_vec()].concat();
        assert_eq!(i64::try_from(whole.len()).unwrap(), finished.bytes);
        assert_eq!(digest(&SHA256, &whole).as_ref(), finished.sha256);
        let mut text = String::new();
        GzDecoder::new(&whole[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text == lines.join("\n") + "\n");
    }

    #[test]
    fn the_header_holds_neither_time_nor_system() {
        let (_, finished) = encode(&["{}".into()]);
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, OS_UNKNOWN];
        assert_eq!(finished.rest[..10], header);
    }

    proptest! {
        #[test]
        fn the_same_lines_give_the_same_bytes(lines in prop::collection::vec("[ -~]{0,200}", 0..50)) {
            let (_, once) = encode(&lines);
            let (_, twice) = encode(&lines);
            prop_assert_eq!(&once.rest, &twice.rest);
            let mut text = String::new();
            GzDecoder::new(&once.rest[..]).read_to_string(&mut text).unwrap();
            let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(text, expected);
        }
    }
}
