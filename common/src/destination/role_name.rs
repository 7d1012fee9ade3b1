//! Names of IAM roles.

use std::fmt;

use super::Invalid;

/// The name of an IAM role, without its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// The same rules as a JSON Schema has them (ECMA 262), but for the length.
    pub const PATTERN: &str = r"^[A-Za-z0-9_+=,.@-]+$";
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name by the rules of IAM.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !is_role_name(text) {
            return Err(Invalid::new(
                "roleName must be 1 to 64 letters, digits and _ + = , . @ -, without a path",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>
pub(super) fn is_role_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    !text.is_empty() && text.len() <= RoleName::MAX_BYTES && text.bytes().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_path() {
        for good in ["audit-export", "W_+=,.@-w", &"n".repeat(64)] {
            assert_eq!(RoleName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a/b",
            "/a",
            "a b",
            "a*",
            "a'b",
            "a\"b",
            "a$b",
            "rôle",
            "a\n",
            &"n".repeat(65),
        ] {
            let error = RoleName::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("roleName must be"), "{bad}: {error}");
        }
    }
}
