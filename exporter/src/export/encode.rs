//! From blocks of lines to the bytes of an object: compressed, cut into parts, with a SHA-256 of the
//! whole.
//!
//! A `.gz` file is a row of gzip members, one for each block (RFC 1952, 2.2); a `.zst` file is one zstd
//! frame (RFC 8878).
//!
//! The same lines give the same bytes, however they arrive in pages: there is no time in the headers,
//! and blocks and parts are cut by size alone. [`ENCODER_VERSION`] changes when that is no longer so.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use common::destination::Compression;

use super::compress::Compressor;

/// The version of what this file, `lines.rs` and `compress.rs` do to lines.
pub const ENCODER_VERSION: i32 = 2;
/// The size of a part, in bytes: the least that S3 takes of all but the last. It takes 10,000 parts, far
/// more than a run's bound can fill. Objects below it go out in one request.
pub const PART_BYTES: usize = 5 * 1024 * 1024;

/// An object in the making.
pub struct Encoder {
    compressor: Compressor,
    part: Vec<u8>,
    sha256: Context,
    raw_bytes: i64,
    bytes: i64,
}

/// The last part of an object, and what is known of the whole.
#[derive(Debug)]
pub struct Finished {
    /// What is left to send: a part at most, and nothing only of an object without lines.
    pub rest: Bytes,
    /// SHA-256 of the whole object.
    pub sha256: Vec<u8>,
    /// Size of the whole object, in bytes.
    pub bytes: i64,
    /// Size of its lines, in bytes.
    pub raw_bytes: i64,
}

impl Encoder {
    /// An empty object.
    pub fn new(compression: Compression) -> Self {
        Self {
            compressor: Compressor::new(compression),
            part: Vec::with_capacity(PART_BYTES),
            sha256: Context::new(&SHA256),
            raw_bytes: 0,
            bytes: 0,
        }
    }

    /// Adds a block of lines; returns a part where that completes one.
    pub fn push(&mut self, block: &[u8]) -> Option<Bytes> {
        self.raw_bytes += length(block.len());
        let full = append(&mut self.part, self.compressor.pack(block));
        full.map(|part| self.count(part))
    }

    /// Says that there are no more blocks; returns a part where that completes one.
    pub fn end(&mut self) -> Option<Bytes> {
        let full = append(&mut self.part, self.compressor.end());
        full.map(|part| self.count(part))
    }

    /// What is left of the object after [`Self::end`], and what is known of the whole.
    pub fn finish(mut self) -> Finished {
        let rest = std::mem::take(&mut self.part);
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

/// Appends to what is less than a part or just one; returns that once it is one and there is more. A block
/// is far smaller than a part, compressed or not.
fn append(part: &mut Vec<u8>, packed: &[u8]) -> Option<Vec<u8>> {
    let (now, later) = packed.split_at(packed.len().min(PART_BYTES - part.len()));
    part.extend_from_slice(now);
    if later.is_empty() {
        return None;
    }
    let mut next = Vec::with_capacity(PART_BYTES);
    next.extend_from_slice(later);
    Some(std::mem::replace(part, next))
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("what lies in memory is shorter than 2^63 bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use aws_lc_rs::digest::digest;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;

    use super::{super::lines::Lines, *};

    /// Says in a gzip header that the operating system is unknown (RFC 1952, 2.3).
    const OS_UNKNOWN: u8 = 255;
    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn encode(compression: Compression, lines: &[String]) -> (Vec<Bytes>, Finished) {
        let mut rows = Lines::new(1, length(lines.len()));
        for (seq, line) in (1..).zip(lines) {
            rows.push(seq, line.as_bytes());
        }
        let blocks = rows.take_blocks().unwrap();
        let mut encoder = Encoder::new(compression);
        let parts = blocks.iter().map(|block| encoder.push(block));
        let mut parts: Vec<_> = parts.flatten().collect();
        parts.extend(encoder.end());
        (parts, encoder.finish())
    }

    fn decode(compression: Compression, bytes: &[u8]) -> String {
        let mut text = String::new();
        let read = match compression {
            Compression::Gzip => MultiGzDecoder::new(bytes).read_to_string(&mut text),
            // Some readers stop after the first frame: there is one.
            Compression::Zstd => {
                let mut frame = zstd::Decoder::new(bytes).unwrap().single_frame();
                frame.read_to_string(&mut text)
            }
        };
        read.unwrap();
        text
    }

    fn text(lines: &[String]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
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
        let lines: Vec<_> = (0..30).map(|_| noise(1 << 19)).collect();
        for compression in BOTH {
            let (parts, finished) = encode(compression, &lines);
            assert!(parts.len() >= 2, "{}", parts.len());
            assert!(parts.iter().all(|part| part.len() == PART_BYTES));
            assert!((1..=PART_BYTES).contains(&finished.rest.len()));
            let whole = [parts.concat(), finished.rest.to_vec()].concat();
            assert_eq!(length(whole.len()), finished.bytes);
            assert_eq!(digest(&SHA256, &whole).as_ref(), finished.sha256);
            assert!(decode(compression, &whole) == text(&lines));
            assert_eq!(length(text(&lines).len()), finished.raw_bytes);
        }
    }

    #[test]
    fn the_gzip_header_holds_neither_time_nor_system() {
        let (_, finished) = encode(Compression::Gzip, &["{}".into()]);
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, OS_UNKNOWN];
        assert_eq!(finished.rest[..10], header);
    }

    #[test]
    fn a_broken_byte_is_noticed_by_whoever_reads_it() {
        for compression in BOTH {
            let (_, finished) = encode(compression, &[noise(1000)]);
            let mut bytes = finished.rest.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let read = std::panic::catch_unwind(|| decode(compression, &bytes));
            assert!(read.is_err(), "{compression:?}");
        }
    }

    proptest! {
        #[test]
        fn the_same_lines_give_the_same_bytes(lines in prop::collection::vec("[ -~]{0,200}", 1..50)) {
            for compression in BOTH {
                let (_, once) = encode(compression, &lines);
                let (_, twice) = encode(compression, &lines);
                prop_assert_eq!(&once.rest, &twice.rest);
                prop_assert_eq!(decode(compression, &once.rest), text(&lines));
            }
        }
    }
}
