//! Where objects stand in the bucket. Pure.

use common::{
    destination::{Compression, Prefix},
    ids::{OrgId, PlanId, TestId},
};
use jiff::civil::Date;

/// The key of an object of events:
/// `{prefix/}org_id={orgId}/date={YYYY-MM-DD}/{firstSeq:020}-{lastSeq:020}-{planId}.jsonl.gz`, or `.zst`.
///
/// Keys of one organisation sort by sequence. The date is the UTC day on which the events were
/// recorded; `name=value` folders are what Athena and DuckDB read as partitions.
pub fn events(
    prefix: &Prefix,
    org: &OrgId,
    recorded_on: Date,
    first_seq: i64,
    last_seq: i64,
    plan: PlanId,
    compression: Compression,
) -> String {
    let folder = folder(prefix);
    let suffix = match compression {
        Compression::Gzip => "gz",
        Compression::Zstd => "zst",
    };
    format!(
        "{folder}org_id={org}/date={recorded_on}/{first_seq:020}-{last_seq:020}-{plan}.jsonl.{suffix}"
    )
}

/// The key of a connection test's object.
pub fn test_object(prefix: &Prefix, test: TestId) -> String {
    format!("{}audit-export-test/{test}", folder(prefix))
}

/// The key of a connection test's object that is uploaded in parts.
pub fn multipart_test_object(prefix: &Prefix, test: TestId) -> String {
    format!("{}-multipart", test_object(prefix, test))
}

fn folder(prefix: &Prefix) -> String {
    match prefix.as_str() {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form() {
        let org = "acme".parse().unwrap();
        let plan = PlanId("0b0e7b5c-5ee4-4e77-9d2b-0a4f8f1d2c3b".parse().unwrap());
        let day = jiff::civil::date(2026, 1, 9);
        let key = |prefix, compression| {
            let prefix = Prefix::parse(prefix).unwrap();
            events(&prefix, &org, day, 1, 2000, plan, compression)
        };
        let rest = "org_id=acme/date=2026-01-09/00000000000000000001-00000000000000002000-\
                    0b0e7b5c-5ee4-4e77-9d2b-0a4f8f1d2c3b.jsonl";
        assert_eq!(key("", Compression::Gzip), format!("{rest}.gz"));
        assert_eq!(key("a/b", Compression::Zstd), format!("a/b/{rest}.zst"));
    }

    #[test]
    fn the_largest_key_fits_into_s3() {
        // 1,024 bytes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
        let prefix = Prefix::parse(&"x".repeat(512)).unwrap();
        let org = "o".repeat(64).parse().unwrap();
        let day = jiff::civil::date(2026, 1, 9);
        let plan = PlanId::new();
        let key = events(
            &prefix,
            &org,
            day,
            i64::MAX,
            i64::MAX,
            plan,
            Compression::Zstd,
        );
        assert!(key.len() <= 1024, "{}", key.len());
    }
}
