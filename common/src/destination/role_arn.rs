//! ARNs of IAM roles, and the mask that stands for them wherever they could be seen.

use std::fmt;

use super::{AccountId, Invalid, Partition, role_name::is_role_name};

const MAX_PATH_BYTES: usize = 512;
const ACCOUNT_DIGITS_SHOWN: usize = 4;

/// The ARN of an IAM role. `Display` and `Debug` print the mask; only [`RoleArn::expose`] gives the
/// whole, so that it cannot slip into a log line or an error by way of formatting.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoleArn {
    arn: String,
    partition: Partition,
    account: AccountId,
    name_at: usize,
    has_path: bool,
}

impl RoleArn {
    /// The same rules as a JSON Schema has them (ECMA 262).
    pub const PATTERN: &str = concat!(
        r"^arn:(?:aws|aws-us-gov|aws-cn):iam::[0-9]{12}:role/",
        r"(?:[!-~]{0,510}/)?[A-Za-z0-9_+=,.@-]{1,64}$",
    );
    /// What every mask looks like, and no ARN.
    pub const MASK_PATTERN: &str = concat!(
        r"^arn:(?:aws|aws-us-gov|aws-cn):iam::\*{8}[0-9]{4}:role/",
        r"(?:…/)?[A-Za-z0-9_+=,.@-]{0,2}…[A-Za-z0-9_+=,.@-]{0,2}$",
    );

    /// Checks `arn:{partition}:iam::{account}:role/{path/}{name}`.
    ///
    /// # Errors
    /// What is wrong, without repeating any of the text.
    pub fn parse(arn: &str) -> Result<Self, Invalid> {
        let refuse = |why: &str| Err(Invalid::new(format!("roleArn {why}")));
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
            return refuse("must look like arn:aws:iam::123456789012:role/audit-export");
        };
        let Some(partition) = Partition::from_name(partition) else {
            return refuse("must be of the partition aws, aws-us-gov or aws-cn");
        };
        if *service == "sts" && resource.starts_with("assumed-role/") {
            return refuse(
                "is the ARN of a session (assumed-role); give the role's own, like \
                 arn:aws:iam::123456789012:role/audit-export",
            );
        }
        if *service != "iam" || !region.is_empty() {
            return refuse(
                "must be the ARN of an IAM role, like arn:aws:iam::123456789012:role/audit-export",
            );
        }
        let Some(account) = AccountId::from_digits(account) else {
            return refuse("must hold an account number of 12 digits");
        };
        let Some(path_and_name) = resource.strip_prefix("role/") else {
            return refuse("must name a role: the part after the account must begin with role/");
        };
        let (path, name) = match path_and_name.rfind('/') {
            Some(slash) => path_and_name.split_at(slash + 1),
            None => ("", path_and_name),
        };
        if !is_role_name(name) {
            return refuse(
                "must end with a role name of 1 to 64 letters, digits and _ + = , . @ -",
            );
        }
        // The path as IAM counts it begins with the slash after `role`.
        if path.len() + 1 > MAX_PATH_BYTES || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse(
                "must have a path of at most 512 printable ASCII characters without spaces",
            );
        }
        Ok(Self {
            arn: arn.to_owned(),
            partition,
            account,
            name_at: arn.len() - name.len(),
            has_path: !path.is_empty(),
        })
    }

    /// The whole ARN: for AWS and for the row that stores it, and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.arn
    }

    /// The account that the role belongs to.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The partition of that account.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The role's name, without its path.
    #[must_use]
    pub fn role_name(&self) -> &str {
        &self.arn[self.name_at..]
    }

    /// What may be shown: partition, the last four digits of the account, whether there is a path,
    /// and at most half of the name, two characters at either end:
    /// `arn:aws:iam::********9012:role/…/au…rt`.
    ///
    /// The same ARN always gives the same mask, and no mask is the ARN of a role.
    #[must_use]
    pub fn masked(&self) -> String {
        let hidden_digits = AccountId::DIGITS - ACCOUNT_DIGITS_SHOWN;
        let name = self.role_name();
        let (first, last) = match name.len() {
            8.. => (2, 2),
            4..=7 => (1, 1),
            2..=3 => (1, 0),
            _ => (0, 0),
        };
        format!(
            "arn:{}:iam::{}{}:role/{}{}…{}",
            self.partition,
            "*".repeat(hidden_digits),
            &self.account.as_str()[hidden_digits..],
            if self.has_path { "…/" } else { "" },
            &name[..first],
            &name[name.len() - last..],
        )
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleArn({})", self.masked())
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_and_mask() {
        for (arn, partition, name, mask) in [
            (
                "arn:aws:iam::123456789012:role/audit-export",
                Partition::Aws,
                "audit-export",
                "arn:aws:iam::********9012:role/au…rt",
            ),
            (
                "arn:aws-us-gov:iam::123456789012:role/team/security/audit-export",
                Partition::AwsUsGov,
                "audit-export",
                "arn:aws-us-gov:iam::********9012:role/…/au…rt",
            ),
            (
                "arn:aws-cn:iam::000000000001:role/r",
                Partition::AwsCn,
                "r",
                "arn:aws-cn:iam::********0001:role/…",
            ),
            (
                "arn:aws:iam::123456789012:role/abc",
                Partition::Aws,
                "abc",
                "arn:aws:iam::********9012:role/a…",
            ),
            (
                "arn:aws:iam::123456789012:role/abcd",
                Partition::Aws,
                "abcd",
                "arn:aws:iam::********9012:role/a…d",
            ),
            (
                "arn:aws:iam::123456789012:role/a:b/W_+=,.@-w",
                Partition::Aws,
                "W_+=,.@-w",
                "arn:aws:iam::********9012:role/…/W_…-w",
            ),
        ] {
            let role = RoleArn::parse(arn).unwrap();
            assert_eq!(role.expose(), arn);
            assert_eq!(role.partition(), partition);
            assert_eq!(role.account().as_str(), arn.split(':').nth(4).unwrap());
            assert_eq!(role.role_name(), name);
            assert_eq!(role.masked(), mask);
            assert_eq!(role.to_string(), mask);
            assert_eq!(format!("{role:?}"), format!("RoleArn({mask})"));
        }
    }

    #[test]
    fn bad_arns_are_refused_and_not_repeated() {
        let long_name = format!("arn:aws:iam::123456789012:role/{}", "n".repeat(65));
        let long_path = format!("arn:aws:iam::123456789012:role/{}/n", "p".repeat(512));
        for (arn, rule) in [
            ("", "must look like"),
            ("audit-export", "must look like"),
            ("ARN:aws:iam::123456789012:role/audit", "must look like"),
            ("arn:aws:iam::123456789012", "must look like"),
            (" arn:aws:iam::123456789012:role/audit", "must look like"),
            ("arn:aws-iso:iam::123456789012:role/audit", "partition"),
            ("arn::iam::123456789012:role/audit", "partition"),
            (
                "arn:aws:sts::123456789012:assumed-role/audit/session",
                "session",
            ),
            ("arn:aws:s3:::acme:role/audit", "IAM role"),
            ("arn:aws:iam:us-east-1:123456789012:role/audit", "IAM role"),
            ("arn:aws:iam::12345678901:role/audit", "12 digits"),
            ("arn:aws:iam::1234567890123:role/audit", "12 digits"),
            ("arn:aws:iam::12345678901x:role/audit", "12 digits"),
            ("arn:aws:iam::********9012:role/au…rt", "12 digits"),
            ("arn:aws:iam::123456789012:user/audit", "role/"),
            ("arn:aws:iam::123456789012:role", "role/"),
            ("arn:aws:iam::123456789012:role/", "role name"),
            ("arn:aws:iam::123456789012:role/path/", "role name"),
            ("arn:aws:iam::123456789012:role/au dit", "role name"),
            ("arn:aws:iam::123456789012:role/audit\n", "role name"),
            ("arn:aws:iam::123456789012:role/aüdit", "role name"),
            ("arn:aws:iam::123456789012:role/audit*", "role name"),
            (&*long_name, "role name"),
            (&*long_path, "path"),
            ("arn:aws:iam::123456789012:role/pa th/audit", "path"),
        ] {
            let error = RoleArn::parse(arn).unwrap_err().to_string();
            assert!(
                error.starts_with("roleArn ") && error.contains(rule),
                "{arn}: {error}"
            );
            // The sample in the messages is the only ARN they may hold.
            let own_words = error.replace("arn:aws:iam::123456789012:role/audit-export", "");
            assert!(arn.len() < 20 || !own_words.contains(arn), "{error}");
        }
    }

    proptest! {
        #[test]
        fn the_mask_never_leaks(
            partition in "aws|aws-cn|aws-us-gov",
            account in "[0-9]{12}",
            path in "([!-.0-~]{1,20}/){0,3}",
            name in "[A-Za-z0-9_+=,.@-]{1,64}",
        ) {
            let arn = format!("arn:{partition}:iam::{account}:role/{path}{name}");
            let role = RoleArn::parse(&arn).unwrap();
            prop_assert_eq!(RoleArn::parse(role.expose()).unwrap(), role.clone());
            let mask = role.masked();
            prop_assert_ne!(&mask, &arn);
            prop_assert!(RoleArn::parse(&mask).is_err());
            prop_assert!(!mask.contains(&account));
            let shown = mask.rsplit('/').next().unwrap().replace('…', "");
            prop_assert!(shown.len() * 2 <= name.len());
            prop_assert!(shown.len() <= 4);
            prop_assert_eq!(role.masked(), RoleArn::parse(&arn).unwrap().masked());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            if let Ok(role) = RoleArn::parse(&text) {
                prop_assert_eq!(role.expose(), text);
            }
        }
    }
}
