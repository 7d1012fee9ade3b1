//! The parts of a destination, each from any text.

use std::{collections::HashMap, sync::LazyLock};

use axum::http::Uri;
use common::{
    destination::{
        AccountId, Bucket, Compression, Invalid, KmsKeyArn, Partition, Prefix, Region, RoleArn,
        RoleName,
    },
    ids::OrgId,
};
use fancy_regex::Regex;

/// ARNs that refusals show as examples.
const SAMPLES: [&str; 3] = [
    "arn:aws:iam::123456789012:role/audit-export",
    "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:s3:::",
];

/// The rules as the OpenAPI document has them.
static DOCUMENTED: LazyLock<HashMap<&str, Regex>> = LazyLock::new(|| {
    let patterns = [
        AccountId::PATTERN,
        Bucket::PATTERN,
        Compression::PATTERN,
        KmsKeyArn::PATTERN,
        OrgId::PATTERN,
        Prefix::PATTERN,
        Region::PATTERN,
        RoleArn::PATTERN,
        RoleArn::MASK_PATTERN,
        RoleName::PATTERN,
    ];
    patterns
        .map(|pattern| (pattern, Regex::new(pattern).unwrap()))
        .into()
});

/// What is accepted is what the rules allow, which are those of the OpenAPI document, stays as it was
/// sent, and cannot lead a request to another host or path; no mask shows the role; no refusal repeats
/// what was sent.
pub fn destination(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    account(text);
    bucket(text);
    kms_key(text);
    organisation(text);
    prefix(text);
    region(text);
    role(text);
    documented(text);
}

/// Accepted is exactly what a client finds good that knows the document alone.
fn documented(text: &str) {
    let fits = |pattern| DOCUMENTED[pattern].is_match(text).unwrap();
    let within = |max| text.len() <= max;
    for (name, documented, accepted) in [
        (
            "bucketOwner",
            fits(AccountId::PATTERN),
            AccountId::parse(text).is_ok(),
        ),
        ("bucket", fits(Bucket::PATTERN), Bucket::parse(text).is_ok()),
        (
            "compression",
            fits(Compression::PATTERN),
            Compression::parse(text).is_ok(),
        ),
        (
            "kmsKeyArn",
            fits(KmsKeyArn::PATTERN),
            KmsKeyArn::parse(text).is_ok(),
        ),
        (
            "orgId",
            fits(OrgId::PATTERN) && within(OrgId::MAX_BYTES),
            text.parse::<OrgId>().is_ok(),
        ),
        // The slashes that are dropped are counted by the document only.
        (
            "prefix",
            fits(Prefix::PATTERN) && within(Prefix::MAX_BYTES),
            Prefix::parse(text).is_ok() && within(Prefix::MAX_BYTES),
        ),
        (
            "region",
            fits(Region::PATTERN) && within(Region::MAX_BYTES),
            Region::parse(text).is_ok(),
        ),
        (
            "roleArn",
            fits(RoleArn::PATTERN),
            RoleArn::parse(text).is_ok(),
        ),
        (
            "roleName",
            fits(RoleName::PATTERN) && within(RoleName::MAX_BYTES),
            RoleName::parse(text).is_ok(),
        ),
    ] {
        assert_eq!(accepted, documented, "{name}: {text:?}");
    }
}

fn account(text: &str) {
    let good = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(account) = checked(AccountId::parse(text), good, "bucketOwner ", text) {
        assert_eq!(account.as_str(), text);
    }
}

fn bucket(text: &str) {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let suffixes = [
        "-s3alias",
        "--ol-s3",
        ".mrap",
        "--x-s3",
        "--xa-s3",
        "--table-s3",
        "--op-s3",
        ".amazonaws.com",
        ".amazonaws.com.cn",
    ];
    let prefixes = ["xn--", "sthree-", "amzn-s3-demo-"];
    let groups: Vec<&str> = text.split('.').collect();
    let numbers = |groups: &[&str]| groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_digit()));
    let good = (3..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| alphanumeric(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
        && !text.contains("..")
        && !(groups.len() == 4 && numbers(&groups))
        && !prefixes.iter().any(|prefix| text.starts_with(prefix))
        && !suffixes.iter().any(|suffix| text.ends_with(suffix));
    let Some(bucket) = checked(Bucket::parse(text), good, "bucket ", text) else {
        return;
    };
    assert_eq!(bucket.as_str(), text);
    let host = "s3.eu-central-1.amazonaws.com";
    leads_to(
        &format!("https://{bucket}.{host}/key"),
        &format!("{bucket}.{host}"),
        "/key",
    );
    leads_to(
        &format!("https://{host}/{bucket}/key"),
        host,
        &format!("/{bucket}/key"),
    );
}

fn kms_key(text: &str) {
    let Some(key) = refused_or(KmsKeyArn::parse(text), "kmsKeyArn ", text) else {
        return;
    };
    assert_eq!((key.as_str(), &*key.to_string()), (text, text));
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "kms", region, account, resource] = parts[..] else {
        panic!("not six parts: {text}");
    };
    assert_eq!(key.region().as_str(), region);
    assert_eq!(
        Region::parse(region).unwrap().partition().as_str(),
        partition
    );
    assert!(AccountId::parse(account).is_ok(), "{text}");
    let id = resource.strip_prefix("key/").unwrap();
    assert_eq!(id.len(), 36, "{text}");
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
    let digits = id.strip_prefix("mrk-").unwrap_or(id);
    assert!(digits.bytes().all(hexadecimal), "{text}");
}

fn organisation(text: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(plain)
        && !text.trim_matches('.').is_empty();
    assert_eq!(text.parse::<OrgId>().is_ok(), good, "{text:?}");
}

fn prefix(text: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/!_.*'()=-".contains(&b);
    let normal = text.strip_prefix('/').unwrap_or(text);
    let normal = normal.strip_suffix('/').unwrap_or(normal);
    let good = !text.contains("//")
        && normal.len() <= 512
        && normal.bytes().all(plain)
        && !normal
            .split('/')
            .any(|segment| matches!(segment, "." | ".."));
    let Some(prefix) = checked(Prefix::parse(text), good, "prefix ", text) else {
        return;
    };
    assert_eq!(prefix.as_str(), normal);
    assert_eq!(Prefix::parse(prefix.as_str()).unwrap(), prefix);
    assert!(!prefix.as_str().starts_with('/') && !prefix.as_str().ends_with('/'));
    if !prefix.is_empty() {
        let path = format!("/bucket/{prefix}/org_id=acme/key");
        leads_to(&format!("https://s3.example{path}"), "s3.example", &path);
    }
}

fn region(text: &str) {
    let words: Vec<&str> = text.split('-').collect();
    let letters = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let (area, name, number) = match words[..] {
        [area, name, number] if name != "gov" => (area, name, number),
        ["us", "gov", name, number] => ("us", name, number),
        _ => ("", "", ""),
    };
    let isolated = ["us-iso-", "us-isob-", "us-isof-", "eu-isoe-"];
    let good = text.len() <= 32
        && !isolated.iter().any(|prefix| text.starts_with(prefix))
        && area.len() == 2
        && letters(area)
        && letters(name)
        && number.len() == 1
        && number.bytes().all(|b| b.is_ascii_digit());
    let Some(region) = checked(Region::parse(text), good, "region ", text) else {
        return;
    };
    assert_eq!(region.as_str(), text);
    let partition = match (words[0], words[1]) {
        ("us", "gov") => Partition::AwsUsGov,
        ("cn", _) => Partition::AwsCn,
        _ => Partition::Aws,
    };
    assert_eq!(region.partition(), partition, "{text}");
    let host = format!("sts.{region}.amazonaws.com");
    leads_to(&format!("https://{host}/"), &host, "/");
}

fn role(text: &str) {
    let Some(role) = refused_or(RoleArn::parse(text), "roleArn ", text) else {
        return;
    };
    assert_eq!(role.expose(), text);
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        panic!("not six parts: {text}");
    };
    assert_eq!(role.partition().as_str(), partition);
    assert_eq!(role.account().as_str(), account);
    let (path, name) = resource.rsplit_once('/').unwrap();
    assert_eq!(role.role_name(), name);

    let mask = role.masked();
    assert!(RoleArn::parse(&mask).is_err(), "{mask}");
    assert!(
        DOCUMENTED[RoleArn::MASK_PATTERN].is_match(&mask).unwrap(),
        "{mask}"
    );
    assert_eq!(role.to_string(), mask);
    assert_eq!(format!("{role:?}"), format!("RoleArn({mask})"));
    let path = if path == "role" { "" } else { "…/" };
    let start = format!("arn:{partition}:iam::********{}:role/{path}", &account[8..]);
    let shown = mask
        .strip_prefix(&start)
        .unwrap_or_else(|| panic!("{mask}"));
    let (first, last) = shown.split_once('…').unwrap();
    assert!(name.starts_with(first) && name.ends_with(last), "{mask}");
    let shown = first.len() + last.len();
    assert!(shown <= 4 && 2 * shown <= name.len(), "{mask}");
}

/// Accepted exactly where it is good; what is accepted.
fn checked<T>(parsed: Result<T, Invalid>, good: bool, field: &str, sent: &str) -> Option<T> {
    assert_eq!(parsed.is_ok(), good, "{field}{sent:?}");
    refused_or(parsed, field, sent)
}

/// What is accepted; a refusal names the field, and repeats nothing.
fn refused_or<T>(parsed: Result<T, Invalid>, field: &str, sent: &str) -> Option<T> {
    let Err(refusal) = parsed else {
        return parsed.ok();
    };
    let refusal = refusal.to_string();
    assert!(refusal.starts_with(field), "{refusal}");
    assert!(names_no_role(&refusal), "{refusal}");
    let telling = sent.len() >= 16 && sent.contains(|c: char| c.is_ascii_digit());
    let sample = SAMPLES.iter().any(|sample| sample.contains(sent));
    assert!(!telling || sample || !refusal.contains(sent), "{refusal}");
    None
}

/// Whether a text for people holds no ARN but the examples.
pub(super) fn names_no_role(text: &str) -> bool {
    let own_words = SAMPLES
        .iter()
        .fold(text.to_owned(), |text, sample| text.replace(sample, ""));
    !["arn:aws", ":role/", "iam::"]
        .iter()
        .any(|sign| own_words.contains(sign))
}

fn leads_to(url: &str, host: &str, path: &str) {
    let uri: Uri = url.parse().unwrap();
    assert_eq!(uri.host(), Some(host));
    assert_eq!(
        uri.authority().map(|authority| authority.as_str()),
        Some(host)
    );
    assert_eq!((uri.path(), uri.query()), (path, None));
}
