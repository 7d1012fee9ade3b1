//! The two ways to compress an object, block by block, with levels that were measured on audit events
//! (tests/README.md, "Speed").

use std::io::Write;

use common::destination::Compression;
use libdeflater::CompressionLvl;

/// Within a tenth of the size that `gzip -6` comes to, at a third of the time.
const GZIP_LEVEL: i32 = 3;
/// Smaller than `gzip -6`, and four times as fast as the above.
const ZSTD_LEVEL: i32 = 1;

/// Compresses the blocks of one object.
pub enum Compressor {
    /// Each block becomes a gzip member: the library knows no streams.
    Gzip {
        /// The library's.
        gzip: libdeflater::Compressor,
        /// Where it compresses to.
        room: Vec<u8>,
    },
    /// All blocks are one zstd frame that ends with a checksum: some readers stop after the first.
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    /// Without any block yet.
    pub fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => {
                let level = CompressionLvl::new(GZIP_LEVEL).expect("a level of libdeflate's");
                Self::Gzip {
                    gzip: libdeflater::Compressor::new(level),
                    room: Vec::new(),
                }
            }
            Compression::Zstd => {
                let mut zstd =
                    zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).expect("a level of zstd's");
                zstd.include_checksum(true).expect("a parameter of zstd's");
                Self::Zstd(zstd)
            }
        }
    }

    /// Takes a block, and returns what is compressed by now.
    pub fn pack(&mut self, block: &[u8]) -> &[u8] {
        match self {
            Self::Gzip { gzip, room } => {
                let bound = gzip.gzip_compress_bound(block.len());
                if room.len() < bound {
                    room.resize(bound, 0);
                }
                let size = gzip.gzip_compress(block, room);
                &room[..size.expect("there is room for the worst case")]
            }
            Self::Zstd(zstd) => {
                zstd.get_mut().clear();
                zstd.write_all(block).expect(A_VECTOR_TAKES_ALL);
                zstd.get_ref()
            }
        }
    }

    /// What is still to come after the last block.
    pub fn end(&mut self) -> &[u8] {
        match self {
            Self::Gzip { .. } => &[],
            Self::Zstd(zstd) => {
                zstd.get_mut().clear();
                zstd.do_finish().expect(A_VECTOR_TAKES_ALL);
                zstd.get_ref()
            }
        }
    }
}

const A_VECTOR_TAKES_ALL: &str = "a vector takes what is written to it";
