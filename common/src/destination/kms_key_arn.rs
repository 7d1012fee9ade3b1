//! ARNs of KMS keys.

use std::fmt;

use super::{AccountId, Invalid, Partition, Region};

const SAMPLE: &str =
    "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The ARN of a KMS key, by the key's id. S3 takes other names as well, but only this one means the
/// same key for ever and in whichever account it is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KmsKeyArn {
    arn: String,
    region: Region,
}

impl KmsKeyArn {
    /// The same rules as a JSON Schema has them (ECMA 262), but that the region is the bucket's.
    pub const PATTERN: &str = concat!(
        r"^arn:(?:aws:kms:(?!us-gov-|cn-)|aws-us-gov:kms:(?=us-gov-)|aws-cn:kms:(?=cn-))",
        r"[a-z]{2}(?:-[a-z]+){1,2}-[0-9]:[0-9]{12}:key/",
        r"(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})$",
    );

    /// Checks `arn:{partition}:kms:{region}:{account}:key/{id}`, where the id is a UUID or that of a
    /// multi-region key, `mrk-` and 32 hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong, without repeating any of the text.
    pub fn parse(arn: &str) -> Result<Self, Invalid> {
        let refuse = |why: &str| {
            let sentence = format!("kmsKeyArn {why}; give the key's own ARN, like {SAMPLE}");
            Err(Invalid::new(sentence))
        };
        if arn.starts_with("alias/") {
            return refuse("is the name of an alias, which may point to another key tomorrow");
        }
        if is_key_id(arn) || arn.strip_prefix("key/").is_some_and(is_key_id) {
            return refuse("is a bare key id, which does not tell the key's region and account");
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
            return refuse("is not an ARN");
        };
        let Some(partition) = Partition::from_name(partition) else {
            return refuse("must be of the partition aws, aws-us-gov or aws-cn");
        };
        if *service != "kms" {
            return refuse("is not the ARN of a KMS key");
        }
        let Ok(region) = Region::parse(region) else {
            return refuse("must hold the key's region");
        };
        if region.partition() != partition {
            return refuse("names a region that is not in its partition");
        }
        if AccountId::from_digits(account).is_none() {
            return refuse("must hold an account number of 12 digits");
        }
        if resource.starts_with("alias/") {
            return refuse("is the ARN of an alias, which may point to another key tomorrow");
        }
        if !resource.strip_prefix("key/").is_some_and(is_key_id) {
            return refuse("must end with key/ and the key's id");
        }
        Ok(Self {
            arn: arn.to_owned(),
            region,
        })
    }

    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// The region that the key is in.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl fmt::Display for KmsKeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// <https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-id>
fn is_key_id(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        part.len() == length && part.bytes().all(digit)
    };
    if let Some(digits) = text.strip_prefix("mrk-") {
        return hex(digits, 32);
    }
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    groups.len() == lengths.len() && groups.iter().zip(lengths).all(|(group, n)| hex(group, n))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123abcd-12ab-34cd-56ef-0123456789ab";

    #[test]
    fn good_arns_and_their_regions() {
        let multi_region = format!("mrk-{}", "0123456789abcdef".repeat(2));
        for (partition, region, id) in [
            ("aws", "eu-central-1", ID),
            ("aws", "us-east-1", &multi_region),
            ("aws-us-gov", "us-gov-west-1", ID),
            ("aws-cn", "cn-north-1", ID),
        ] {
            let arn = format!("arn:{partition}:kms:{region}:123456789012:key/{id}");
            let key = KmsKeyArn::parse(&arn).unwrap();
            assert_eq!((key.as_str(), key.region().as_str()), (&*arn, region));
            assert_eq!(key.to_string(), arn);
        }
        assert!(KmsKeyArn::parse(SAMPLE).is_ok());
    }

    #[test]
    fn bad_ones_are_refused_with_the_reason_and_not_repeated() {
        let in_account = "arn:aws:kms:eu-central-1:210987654321";
        for (arn, reason) in [
            (String::new(), "is not an ARN"),
            ("my key".into(), "is not an ARN"),
            ("alias/acme-audit".into(), "name of an alias"),
            ("alias/aws/s3".into(), "name of an alias"),
            (ID.into(), "bare key id"),
            (format!("key/{ID}"), "bare key id"),
            (format!("mrk-{}", "0a".repeat(16)), "bare key id"),
            (format!("{in_account}:alias/acme-audit"), "ARN of an alias"),
            (format!("{in_account}:key"), "key/ and"),
            (format!("{in_account}:key/"), "key/ and"),
            (format!("{in_account}:key/{ID}x"), "key/ and"),
            (format!("{in_account}:key/{ID}\n"), "key/ and"),
            (
                format!("{in_account}:key/{}", ID.to_uppercase()),
                "key/ and",
            ),
            (format!("{in_account}:key/{ID}/x"), "key/ and"),
            (format!("{in_account}:key/mrk-{ID}"), "key/ and"),
            (format!("{in_account}:key/*"), "key/ and"),
            (format!("{in_account}:grant/{ID}"), "key/ and"),
            (
                format!("arn:aws:kms:eu-central-1:21098765432:key/{ID}"),
                "12 digits",
            ),
            (format!("arn:aws:kms:eu-central-1::key/{ID}"), "12 digits"),
            (
                format!("arn:aws:kms::210987654321:key/{ID}"),
                "the key's region",
            ),
            (
                format!("arn:aws:kms:*:210987654321:key/{ID}"),
                "the key's region",
            ),
            (
                format!("arn:aws:kms:cn-north-1:210987654321:key/{ID}"),
                "not in its partition",
            ),
            (
                format!("arn:aws-iso:kms:us-iso-east-1:210987654321:key/{ID}"),
                "partition",
            ),
            (
                format!("arn:aws:s3:eu-central-1:210987654321:key/{ID}"),
                "KMS key",
            ),
            (
                "arn:aws:iam::210987654321:role/audit-export".into(),
                "KMS key",
            ),
        ] {
            let error = KmsKeyArn::parse(&arn).unwrap_err().to_string();
            assert!(
                error.starts_with("kmsKeyArn ") && error.contains(reason),
                "{arn}: {error}"
            );
            assert!(error.contains(SAMPLE), "{error}");
            assert!(arn.is_empty() || !error.contains(&arn), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_holds_nothing_odd(arn in "\\PC{0,90}|arn:aws:kms:[a-z0-9-]{0,14}:[0-9]{12}:key/[0-9a-f-]{36}") {
            if let Ok(key) = KmsKeyArn::parse(&arn) {
                prop_assert_eq!(key.as_str(), &arn);
                prop_assert!(arn.bytes().all(|b| b.is_ascii_alphanumeric() || b":/-".contains(&b)));
            }
        }
    }
}
