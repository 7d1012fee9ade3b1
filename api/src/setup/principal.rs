//! The exporter's own AWS identity.

use std::{fmt, str::FromStr};

use common::destination::{AccountId, Partition, RoleName};

/// The ARN of the IAM role or user that the exporter acts as, which customers' trust policies name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalArn {
    arn: String,
    partition: Partition,
}

impl PrincipalArn {
    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// The partition that it is in. No role of another one can trust it.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl fmt::Display for PrincipalArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

impl FromStr for PrincipalArn {
    type Err = &'static str;

    /// Checks `arn:{partition}:iam::{account}:` and `role/…` or `user/…`. A whole account (`root`) is
    /// refused, since a trust policy that names it trusts all that is in it.
    fn from_str(arn: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, resource] = parts.as_slice() else {
            return Err("must look like arn:aws:iam::123456789012:role/audit-export");
        };
        let partition = Partition::from_name(partition)
            .ok_or("must be of the partition aws, aws-us-gov or aws-cn")?;
        if *service == "sts" {
            return Err("is the ARN of a session; give that of the role itself (iam, role/…)");
        }
        let of_iam = *service == "iam" && AccountId::parse(account).is_ok();
        let name = resource
            .strip_prefix("role/")
            .or_else(|| resource.strip_prefix("user/"));
        // Names of users, and of what is in a path, are like those of roles. A wildcard would be taken for
        // a name, and refused by AWS only when a customer sends it.
        let is_name = |part| RoleName::parse(part).is_ok();
        let named = name.is_some_and(|name| name.split('/').all(is_name));
        if !of_iam || !named {
            return Err(
                "must be the ARN of an IAM role or user, like arn:aws:iam::123456789012:role/audit-export",
            );
        }
        Ok(Self {
            arn: arn.to_owned(),
            partition,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_users_and_nothing_else() {
        for (good, partition) in [
            (
                "arn:aws:iam::123456789012:role/audit-export",
                Partition::Aws,
            ),
            (
                "arn:aws-cn:iam::123456789012:user/team/audit-export",
                Partition::AwsCn,
            ),
            (
                "arn:aws-us-gov:iam::123456789012:role/a_+=,.@-b",
                Partition::AwsUsGov,
            ),
        ] {
            let principal: PrincipalArn = good.parse().unwrap();
            assert_eq!(
                (principal.as_str(), principal.partition()),
                (good, partition)
            );
        }
        for bad in [
            "",
            "123456789012",
            "*",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/*",
            "arn:aws:iam::12345678901:role/a",
            "arn:aws:iam:eu-central-1:123456789012:role/a",
            "arn:aws-iso:iam::123456789012:role/a",
            "arn:aws:s3::123456789012:role/a",
            "arn:aws:sts::123456789012:assumed-role/a/session",
            "arn:aws:iam::123456789012:role/a'b",
            "arn:aws:iam::123456789012:role/a${b}",
        ] {
            assert!(bad.parse::<PrincipalArn>().is_err(), "{bad}");
        }
    }
}
