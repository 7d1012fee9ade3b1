//! What looks like a bucket's name, but names something that is not a general-purpose bucket, or
//! names it otherwise than by its own name.

/// The kind that a name tells by its form, and what to give instead; goes on after "bucket ".
///
/// Suffixes and ARNs: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/MultiRegionAccessPointRequests.html>.
pub(super) fn other_kind(name: &str) -> Option<&'static str> {
    if let Some(arn) = name.strip_prefix("arn:") {
        return Some(of_arn(arn));
    }
    // A URL's host tells as much as the bare host.
    let host = match name.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => name,
    };
    of_suffix(host).or_else(|| of_host(host)).or_else(|| {
        name.contains('/').then_some(
            "must be the bucket's bare name, without s3:// or a path; a path within the bucket goes \
             into prefix",
        )
    })
}

const ACCESS_POINT: &str = "is an access point; give the own name of the bucket that it belongs to";
const OBJECT_LAMBDA: &str =
    "is an Object Lambda access point; give the own name of the bucket behind it";
const MULTI_REGION: &str =
    "is a multi-region access point; give the own name of one of the buckets behind it";
const DIRECTORY: &str = "is a directory bucket (S3 Express One Zone), which cannot keep an audit \
                         log; give the name of a general-purpose bucket";
const TABLE: &str =
    "is a table bucket, which holds no objects; give the name of a general-purpose bucket";
const OUTPOST: &str =
    "is a bucket or access point of S3 on Outposts; give the name of a general-purpose bucket";

fn of_suffix(name: &str) -> Option<&'static str> {
    let kinds = [
        (
            "-s3alias",
            "is the alias of an access point; give the own name of the bucket that it belongs to",
        ),
        (
            "--ol-s3",
            "is the alias of an Object Lambda access point; give the own name of the bucket behind it",
        ),
        (
            ".mrap",
            "is the alias of a multi-region access point; give the own name of one of the buckets \
             behind it",
        ),
        ("--x-s3", DIRECTORY),
        (
            "--xa-s3",
            "is an access point of a directory bucket, which cannot keep an audit log; give the name \
             of a general-purpose bucket",
        ),
        ("--table-s3", TABLE),
        ("--op-s3", OUTPOST),
    ];
    let kind = kinds.iter().find(|(suffix, _)| name.ends_with(suffix));
    kind.map(|(_, sentence)| *sentence)
}

/// What follows `arn:`.
fn of_arn(arn: &str) -> &'static str {
    let fields: Vec<&str> = arn.splitn(5, ':').collect();
    let [_, service, region, _, resource] = fields.as_slice() else {
        return "must be the bucket's bare name, not an ARN";
    };
    let access_point = resource.starts_with("accesspoint");
    match *service {
        "s3" if access_point && region.is_empty() => MULTI_REGION,
        "s3" if access_point => ACCESS_POINT,
        "s3" => "must be the bucket's bare name: what follows arn:aws:s3::: in its ARN",
        "s3-object-lambda" => OBJECT_LAMBDA,
        "s3express" => DIRECTORY,
        "s3tables" => TABLE,
        "s3-outposts" => OUTPOST,
        _ => "must be the bucket's bare name, not an ARN",
    }
}

fn of_host(host: &str) -> Option<&'static str> {
    let inner = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    Some(if inner.ends_with(".accesspoint.s3-global") {
        MULTI_REGION
    } else if inner.contains(".s3-accesspoint.") || inner.contains(".s3-accesspoint-fips.") {
        ACCESS_POINT
    } else if inner.contains(".s3-object-lambda.") {
        OBJECT_LAMBDA
    } else {
        "must be the bucket's bare name, not a host's"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named() {
        let access_point = "is an access point;";
        let object_lambda = "is an Object Lambda access point;";
        let multi_region = "is a multi-region access point;";
        for (name, kind) in [
            (
                "my-access-point-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias",
                "is the alias of an access point;",
            ),
            (
                "acme--ol-s3",
                "is the alias of an Object Lambda access point;",
            ),
            (
                "mfzwi23gnjvgw.mrap",
                "is the alias of a multi-region access point;",
            ),
            ("acme--use1-az4--x-s3", "is a directory bucket"),
            (
                "acme--use1-az4--xa-s3",
                "is an access point of a directory bucket",
            ),
            ("acme--table-s3", "is a table bucket"),
            ("acme--op-s3", "S3 on Outposts"),
            (
                "arn:aws:s3:eu-central-1:123456789012:accesspoint/acme",
                access_point,
            ),
            (
                "arn:aws:s3:eu-central-1:123456789012:accesspoint:acme",
                access_point,
            ),
            (
                "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/acme",
                access_point,
            ),
            (
                "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
                multi_region,
            ),
            (
                "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/acme",
                object_lambda,
            ),
            (
                "arn:aws:s3express:us-east-1:123456789012:bucket/acme--use1-az4--x-s3",
                "is a directory bucket",
            ),
            (
                "arn:aws:s3tables:us-east-1:123456789012:bucket/acme",
                "is a table bucket",
            ),
            (
                "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-1/bucket/acme",
                "S3 on Outposts",
            ),
            ("arn:aws:s3:::acme", "what follows arn:aws:s3:::"),
            ("arn:aws:iam::123456789012:role/acme", "not an ARN"),
            ("arn:", "not an ARN"),
            (
                "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
                multi_region,
            ),
            (
                "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/key",
                multi_region,
            ),
            (
                "acme-123456789012.s3-accesspoint.eu-central-1.amazonaws.com",
                access_point,
            ),
            (
                "acme-123456789012.s3-object-lambda.us-east-1.amazonaws.com",
                object_lambda,
            ),
            ("acme.s3.eu-central-1.amazonaws.com", "not a host's"),
            ("acme.s3.cn-north-1.amazonaws.com.cn", "not a host's"),
            (
                "s3://acme-s3alias/audit",
                "is the alias of an access point;",
            ),
            ("s3://acme", "bare name"),
            ("acme/logs", "goes into prefix"),
        ] {
            let sentence = other_kind(name).unwrap_or_default();
            assert!(sentence.contains(kind), "{name}: {sentence}");
        }
    }

    #[test]
    fn plain_names_are_of_no_other_kind() {
        for name in [
            "acme",
            "acme-s3alias-logs",
            "acme.mrap.logs",
            "accesspoint",
            "amazonaws.com",
            "acme-x-s3",
        ] {
            assert_eq!(other_kind(name), None, "{name}");
        }
    }
}
