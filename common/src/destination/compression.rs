//! How objects are compressed.

use super::Invalid;

/// How objects are compressed, and so how their names end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// `.jsonl.gz`: what everything reads.
    #[default]
    Gzip,
    /// `.jsonl.zst`: smaller and faster.
    Zstd,
}

impl Compression {
    /// What [`Self::parse`] takes, as a regular expression.
    pub const PATTERN: &str = "^(?:gzip|zstd)$";

    /// The compression of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        match name {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Invalid::new("compression must be gzip or zstd")),
        }
    }

    /// Its name in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
