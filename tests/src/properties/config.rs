//! The body with which an admin saves a destination, or has one tested.

use api::{error::ApiError, fuzzing};
use common::destination::{
    AccountId, Bucket, Compression, Destination, KmsKeyArn, Prefix, Region, RoleArn, same_region,
};
use serde_json::{Map, Value};

use super::destination::names_no_role;

const FIELDS: [&str; 9] = [
    "bucket",
    "region",
    "roleArn",
    "prefix",
    "bucketOwner",
    "kmsKeyArn",
    "compression",
    "enabled",
    "startFrom",
];

/// What is accepted says what was sent, and what was left out stays as it is stored; a refusal never
/// repeats a role, wherever in the body it stood.
pub fn config(data: &[u8]) {
    let stored = stored();
    for stored in [None, Some(&stored)] {
        match fuzzing::destination(data, stored) {
            Ok(destination) => is_as_sent(data, &destination, stored),
            Err(error) => tells_nothing(&error),
        }
    }
}

fn stored() -> Destination {
    let key = "arn:aws:kms:eu-west-1:333333333333:key/00000000-0000-4000-8000-000000000000";
    Destination {
        bucket: Bucket::parse("stored-bucket").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
        role_arn: RoleArn::parse("arn:aws:iam::333333333333:role/stored-role").unwrap(),
        prefix: Prefix::parse("stored/prefix").unwrap(),
        bucket_owner: Some(AccountId::parse("444444444444").unwrap()),
        kms_key_arn: Some(KmsKeyArn::parse(key).unwrap()),
        compression: Compression::Zstd,
    }
}

fn is_as_sent(body: &[u8], is: &Destination, stored: Option<&Destination>) {
    let sent: Map<String, Value> = serde_json::from_slice(body).unwrap();
    for name in sent.keys() {
        assert!(FIELDS.contains(&&**name), "{name}");
    }
    let text = |field: &str| sent.get(field).and_then(Value::as_str);
    assert_eq!(text("bucket"), Some(is.bucket.as_str()));
    assert_eq!(text("region"), Some(is.region.as_str()));

    let masked = stored.map(|stored| stored.role_arn.masked());
    let role = match text("roleArn") {
        Some(text) if masked.as_deref() != Some(text) => text,
        _ => stored.unwrap().role_arn.expose(),
    };
    assert_eq!(is.role_arn.expose(), role);

    let prefix = match sent.get("prefix") {
        None => stored.map_or("", |stored| stored.prefix.as_str()),
        Some(sent) => sent.as_str().unwrap_or_default(),
    };
    assert_eq!(is.prefix, Prefix::parse(prefix).unwrap());
    let owner = match sent.get("bucketOwner") {
        None => stored.and_then(|stored| stored.bucket_owner.as_ref()?.as_str().into()),
        Some(sent) => sent.as_str().filter(|text| !text.is_empty()),
    };
    assert_eq!(is.bucket_owner.as_ref().map(AccountId::as_str), owner);
    assert_eq!(
        is.owner().as_str(),
        owner.unwrap_or(is.role_arn.account().as_str())
    );
    let key = match sent.get("kmsKeyArn") {
        None => stored.and_then(|stored| stored.kms_key_arn.as_ref()?.as_str().into()),
        Some(sent) => sent.as_str().filter(|text| !text.is_empty()),
    };
    assert_eq!(is.kms_key_arn.as_ref().map(KmsKeyArn::as_str), key);

    let unchanged = stored.map_or("gzip", |stored| stored.compression.as_str());
    let compression = text("compression").unwrap_or(unchanged);
    assert_eq!(is.compression.as_str(), compression);

    assert_eq!(is.region.partition(), is.role_arn.partition());
    if let Some(key) = &is.kms_key_arn {
        assert!(same_region(&is.region, key).is_ok());
    }
}

fn tells_nothing(error: &ApiError) {
    let (status, code) = error.status_and_code();
    let field = match error {
        ApiError::InvalidJson(_) => None,
        ApiError::InvalidRequest { field, .. } => field.as_deref(),
        other => panic!("{status} {code}: {other}"),
    };
    let text = error.to_string();
    assert!(names_no_role(&text), "{text}");
    assert!(names_no_role(field.unwrap_or_default()), "{field:?}");
}
