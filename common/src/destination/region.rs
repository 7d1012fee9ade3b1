//! AWS region codes.

use std::fmt;

use super::{Invalid, Partition};

/// Regions of isolated and sovereign partitions have the right shape, but no account that could be
/// configured here reaches them.
const UNREACHABLE_PREFIXES: [&str; 4] = ["us-iso-", "us-isob-", "us-isof-", "eu-isoe-"];

/// A plausible region code, such as `eu-central-1`. Whether the region exists is AWS's to say, so
/// that a region opened tomorrow needs no new release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Region(String);

impl Region {
    /// The same rules as a JSON Schema has them (ECMA 262), but for the length.
    pub const PATTERN: &str =
        r"^(?!us-iso[bf]?-|eu-isoe-)(?:[a-z]{2}-(?!gov-)[a-z]+|us-gov-[a-z]+)-[0-9]$";
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Checks the shape: two letters (`us-gov` in its partition), one word, one digit, joined by hyphens.
    /// What has more words, AWS's SDKs take for a commercial region, also where it begins with `cn`.
    ///
    /// # Errors
    /// What a region code looks like, or which partitions are supported.
    pub fn parse(code: &str) -> Result<Self, Invalid> {
        if UNREACHABLE_PREFIXES.iter().any(|p| code.starts_with(p)) {
            return Err(Invalid::new(
                "region is in an isolated partition; only regions of aws, aws-us-gov and aws-cn are supported",
            ));
        }
        if !has_region_shape(code) {
            return Err(Invalid::new(
                "region must be an AWS region code such as eu-central-1 or us-gov-west-1",
            ));
        }
        Ok(Self(code.to_owned()))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that the region is in.
    #[must_use]
    pub fn partition(&self) -> Partition {
        if self.0.starts_with("us-gov-") {
            Partition::AwsUsGov
        } else if self.0.starts_with("cn-") {
            Partition::AwsCn
        } else {
            Partition::Aws
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `^([a-z]{2}|us-gov)-[a-z]+-\d$`, where `gov` alone is no word
fn has_region_shape(code: &str) -> bool {
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let parts: Vec<&str> = code.split('-').collect();
    let [area, words @ .., number] = parts.as_slice() else {
        return false;
    };
    code.len() <= Region::MAX_BYTES
        && area.len() == 2
        && letters(area)
        && words.iter().all(|word| letters(word))
        && match words {
            [word] => *word != "gov",
            [partition, _] => *area == "us" && *partition == "gov",
            _ => false,
        }
        && number.len() == 1
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_regions_and_their_partitions() {
        for (code, partition) in [
            ("us-east-1", Partition::Aws),
            ("ap-southeast-7", Partition::Aws),
            ("il-central-1", Partition::Aws),
            ("us-gov-west-1", Partition::AwsUsGov),
            ("us-gov-east-1", Partition::AwsUsGov),
            ("cn-north-1", Partition::AwsCn),
            ("cn-northwest-1", Partition::AwsCn),
        ] {
            let region = Region::parse(code).unwrap();
            assert_eq!((region.as_str(), region.partition()), (code, partition));
        }
    }

    #[test]
    fn bad_regions_are_refused() {
        for code in [
            "",
            "us",
            "us-1",
            "us-east",
            "us-east-",
            "us-east-10",
            "us-east-1a",
            "US-EAST-1",
            "us_east_1",
            " us-east-1",
            "us-east-1\n",
            "us--east-1",
            "-east-1",
            "usa-east-1",
            "us-e4st-1",
            "us-east-١",
            "aws-global",
            "us-isolatedislandsofthesouthernsea-1",
            "cn-n-north-1",
            "us-east-gov-1",
            "us-gov-far-west-1",
            "us-gov-1",
            "cn-gov-north-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "us-isof-south-1",
            "eu-isoe-west-1",
            "us-east-1.evil.example",
        ] {
            let error = Region::parse(code).unwrap_err().to_string();
            assert!(error.starts_with("region "), "{code}: {error}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(code in "([a-z]{2}|us-gov)-[a-z]{4,8}-[0-9]") {
            let region = Region::parse(&code).unwrap();
            prop_assert_eq!(region.as_str(), &code);
            prop_assert_eq!(Region::parse(region.as_str()).unwrap(), region);
        }

        #[test]
        fn nothing_that_could_break_out_of_a_host_name_passes(code in "\\PC{0,40}") {
            if let Ok(region) = Region::parse(&code) {
                prop_assert!(region.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
