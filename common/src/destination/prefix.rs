//! The path under which a bucket receives its objects.

use std::fmt;

use super::Invalid;

/// Beside letters, digits and the slash: what S3 calls safe in every client, console and policy.
const SAFE_PUNCTUATION: &[u8] = b"!_.*'()=-";

/// A key prefix without leading or trailing slash. The empty one means the top of the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// The same rules as a JSON Schema has them (ECMA 262), but for the length.
    pub const PATTERN: &str = r"^/?(?:(?!\.{1,2}(?:/|$))[A-Za-z0-9!_.*'()=-]+(?:/(?!/)|$))*$";
    /// The longest, in bytes; slashes at either end do not count.
    pub const MAX_BYTES: usize = 512;

    /// Normalises (one leading and one trailing slash are dropped) and checks a prefix.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |why: &str| Err(Invalid::new(format!("prefix {why}")));
        if text.contains("//") {
            return refuse("must not hold two slashes in a row");
        }
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.len() > Self::MAX_BYTES {
            return refuse(&format!("must be at most {} bytes long", Self::MAX_BYTES));
        }
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'/' || SAFE_PUNCTUATION.contains(&b);
        if !inner.bytes().all(safe) {
            return refuse("may hold only letters, digits, slashes and ! _ . * ' ( ) = -");
        }
        if inner
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        {
            return refuse("must not hold . or .. as a segment");
        }
        Ok(Self(inner.to_owned()))
    }

    /// Whether objects go to the top of the bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The prefix, without leading or trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_prefixes_are_normalised() {
        for (text, normal) in [
            ("audit", "audit"),
            ("/audit/", "audit"),
            ("audit/logs/", "audit/logs"),
            ("a=b/c!_.*'()-d", "a=b/c!_.*'()-d"),
            (".hidden/..x", ".hidden/..x"),
            ("", ""),
            ("/", ""),
        ] {
            assert_eq!(Prefix::parse(text).unwrap().as_str(), normal);
        }
        assert!(Prefix::parse(&format!("/{}/", "a".repeat(512))).is_ok());
    }

    #[test]
    fn bad_prefixes_are_refused() {
        for (text, rule) in [
            ("//", "two slashes"),
            ("///", "two slashes"),
            ("//a", "two slashes"),
            ("a//b", "two slashes"),
            ("a//", "two slashes"),
            (".", "segment"),
            ("a/../b", "segment"),
            ("../a", "segment"),
            ("a/.", "segment"),
            ("a b", "only"),
            ("a\\b", "only"),
            ("a\0b", "only"),
            ("a?b", "only"),
            ("a%2Fb", "only"),
            ("ä", "only"),
            ("${aws:username}", "only"),
            (&*"a".repeat(513), "512"),
        ] {
            let error = Prefix::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("prefix ") && error.contains(rule),
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_as_it_is(text in "[a-z/.=!*]{0,20}") {
            if let Ok(prefix) = Prefix::parse(&text) {
                prop_assert_eq!(Prefix::parse(prefix.as_str()).unwrap(), prefix.clone());
                prop_assert!(!prefix.as_str().starts_with('/') && !prefix.as_str().ends_with('/'));
                prop_assert!(!prefix.as_str().contains("//"));
            }
        }
    }
}
