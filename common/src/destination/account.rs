//! Numbers of AWS accounts.

use std::fmt;

use super::Invalid;

/// The number of an AWS account: 12 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// The same rule as a JSON Schema has it (ECMA 262).
    pub const PATTERN: &str = "^[0-9]{12}$";
    /// How many digits each has.
    pub(super) const DIGITS: usize = 12;

    /// Checks the owner of a bucket, as an admin names it.
    ///
    /// # Errors
    /// What such a number looks like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::from_digits(text).ok_or_else(|| {
            Invalid::new(
                "bucketOwner must be the number of the AWS account that owns the bucket: 12 \
                 digits, without hyphens or spaces",
            )
        })
    }

    pub(super) fn from_digits(text: &str) -> Option<Self> {
        let good = text.len() == Self::DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        good.then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_digits_and_nothing_else() {
        for good in ["123456789012", "000000000000"] {
            assert_eq!(AccountId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "12345678901",
            "1234567890123",
            "1234-5678-9012",
            " 123456789012",
            "123456789012\n",
            "12345678901x",
            "१२३४",
            "arn:aws:iam::123456789012:root",
            "********9012",
        ] {
            let error = AccountId::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("bucketOwner "), "{bad}: {error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
