//! Names of S3 general-purpose buckets.

use std::fmt;

use super::{Invalid, kinds};

/// Prefixes AWS keeps for itself.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];

/// A valid name of a general-purpose bucket. Aliases of access points and the like are none: what
/// stands behind them, and whose it is, may change without anybody's noticing here.
///
/// The rules: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket(String);

impl Bucket {
    /// The same rules as a JSON Schema has them (ECMA 262).
    pub const PATTERN: &str = concat!(
        r"^(?!xn--|sthree-|amzn-s3-demo-)",
        r"(?!.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--xa-s3|--table-s3|--op-s3|\.amazonaws\.com(?:\.cn)?)$)",
        r"(?!.*\.\.)(?!(?:[0-9]+\.){3}[0-9]+$)",
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
    );

    /// Checks a name by the S3 naming rules.
    ///
    /// # Errors
    /// The rule that the name breaks, or the kind of thing that it names.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let refuse = |why: &str| Err(Invalid::new(format!("bucket {why}")));
        if let Some(kind) = kinds::other_kind(name) {
            return refuse(kind);
        }
        if !(3..=63).contains(&name.len()) {
            return refuse("must be 3 to 63 characters long");
        }
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = name.as_bytes();
        if !bytes
            .iter()
            .all(|&b| alphanumeric(b) || b == b'-' || b == b'.')
        {
            return refuse("may hold only lower-case letters, digits, hyphens and dots");
        }
        if !alphanumeric(bytes[0]) || !alphanumeric(bytes[bytes.len() - 1]) {
            return refuse("must begin and end with a lower-case letter or a digit");
        }
        if name.contains("..") {
            return refuse("must not hold two dots in a row");
        }
        if looks_like_ipv4(name) {
            return refuse("must not be formatted like an IP address");
        }
        if let Some(prefix) = RESERVED_PREFIXES.iter().find(|p| name.starts_with(**p)) {
            return refuse(&format!("must not begin with {prefix}, which AWS reserves"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn looks_like_ipv4(name: &str) -> bool {
    let groups = name.split('.');
    groups.clone().count() == 4
        && groups
            .into_iter()
            .all(|g| g.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_names() {
        for name in [
            "abc",
            "123",
            "acme-audit-logs",
            "acme.audit.logs",
            "a.1-b",
            "a--b",
            "1.2.3.4.5",
            "my-xn--bucket",
            &"a".repeat(63),
        ] {
            assert_eq!(Bucket::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_rule() {
        for (name, rule) in [
            ("", "3 to 63"),
            ("ab", "3 to 63"),
            (&*"a".repeat(64), "3 to 63"),
            ("Acme", "lower-case"),
            ("ac_me", "lower-case"),
            ("ac me", "lower-case"),
            ("ac\nme", "lower-case"),
            ("acmé", "lower-case"),
            ("-acme", "begin and end"),
            ("acme-", "begin and end"),
            (".acme", "begin and end"),
            ("acme.", "begin and end"),
            ("ac..me", "two dots"),
            ("192.168.5.4", "IP address"),
            ("999.999.999.999", "IP address"),
            ("xn--acme", "xn--"),
            ("sthree-acme", "sthree-"),
            ("sthree-configurator", "sthree-"),
            ("amzn-s3-demo-bucket", "amzn-s3-demo-"),
            ("acme-s3alias", "alias of an access point"),
            ("acme--use1-az4--x-s3", "directory bucket"),
            ("arn:aws:s3:::acme", "bare name"),
            ("s3://acme", "bare name"),
            ("acme/logs", "bare name"),
        ] {
            let error = Bucket::parse(name).unwrap_err().to_string();
            assert!(
                error.starts_with("bucket ") && error.contains(rule),
                "{name}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepted_names_obey_the_rules(name in "[a-z0-9.\\-A-Z_/]{0,70}") {
            if let Ok(bucket) = Bucket::parse(&name) {
                prop_assert_eq!(bucket.as_str(), &name);
                prop_assert!((3..=63).contains(&name.len()));
                prop_assert!(!name.contains("..") && !name.contains('/'));
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-'));
                prop_assert_eq!(Bucket::parse(bucket.as_str()).unwrap(), bucket);
            }
        }

        #[test]
        fn plain_names_are_accepted(name in "[a-w][a-z0-9]{2,50}") {
            prop_assume!(!name.starts_with("sthree"));
            prop_assert!(Bucket::parse(&name).is_ok());
        }
    }
}
