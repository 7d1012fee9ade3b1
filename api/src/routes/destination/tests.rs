use serde_json::{Value, json};

use super::*;

const ARN: &str = "arn:aws:iam::123456789012:role/audit-export";
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn stored() -> Destination {
    Destination {
        bucket: Bucket::parse("acme").unwrap(),
        region: Region::parse("us-east-1").unwrap(),
        role_arn: RoleArn::parse(ARN).unwrap(),
        prefix: Prefix::parse("a/b").unwrap(),
        bucket_owner: Some(AccountId::parse("210987654321").unwrap()),
        kms_key_arn: Some(KmsKeyArn::parse(KEY).unwrap()),
        compression: Compression::Zstd,
    }
}

/// The destination, or the field that is refused.
fn wanted(body: Value, stored: Option<&Destination>) -> Result<Destination, String> {
    let request: ConfigRequest = serde_json::from_value(body).unwrap();
    request.destination(stored).map_err(|error| match error {
        ApiError::InvalidRequest { field, .. } => field.unwrap(),
        other => panic!("{other:?}"),
    })
}

/// The least that is sent in an update, and these fields.
fn update(fields: Value) -> Value {
    let mut body = json!({"bucket": "acme", "region": "us-east-1"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn required_fields_are_named() {
    let good = update(json!({"roleArn": ARN}));
    let new = wanted(good.clone(), None).unwrap();
    assert_eq!(
        new,
        Destination {
            prefix: Prefix::default(),
            bucket_owner: None,
            kms_key_arn: None,
            compression: Compression::Gzip,
            ..stored()
        }
    );
    for field in ["bucket", "region", "roleArn"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(wanted(body.clone(), None).unwrap_err(), field);
        body[field] = json!(null);
        assert_eq!(wanted(body.clone(), None).unwrap_err(), field);
        body[field] = json!("not good");
        assert_eq!(wanted(body, None).unwrap_err(), field);
    }
}

#[test]
fn what_is_left_out_of_an_update_stays() {
    assert_eq!(wanted(update(json!({})), Some(&stored())), Ok(stored()));
}

#[test]
fn the_role_may_be_left_out_or_masked_in_an_update() {
    let stored = stored();
    let mask = stored.role_arn.masked();
    let role = |sent: Value, stored| {
        let wanted = wanted(update(json!({"roleArn": sent})), stored)?;
        Ok::<_, String>(wanted.role_arn.expose().to_owned())
    };
    let other = "arn:aws:iam::999999999999:role/audit-export";
    for sent in [json!(null), json!(mask), json!(ARN)] {
        assert_eq!(role(sent, Some(&stored)).unwrap(), ARN);
    }
    assert_eq!(role(json!(other), Some(&stored)).unwrap(), other);
    // Somebody else's mask says nothing here, and one's own says nothing before the first save.
    let others_mask = RoleArn::parse(other).unwrap().masked();
    let refused = role(json!(others_mask), Some(&stored));
    assert_eq!(refused.unwrap_err(), "roleArn");
    assert_eq!(role(json!(mask), None).unwrap_err(), "roleArn");
}

#[test]
fn what_may_be_empty_is_set_or_cleared() {
    let stored = stored();
    for (field, value, bad) in [
        ("prefix", "a", "a//b"),
        ("bucketOwner", "999999999999", "9999"),
        (
            "kmsKeyArn",
            "arn:aws:kms:us-east-1:123456789012:key/00000000-12ab-34cd-56ef-1234567890ab",
            "alias/acme",
        ),
    ] {
        let shown = |sent: Value| {
            let wanted = wanted(update(json!({field: sent})), Some(&stored))?;
            Ok::<_, String>(match field {
                "prefix" => wanted.prefix.to_string(),
                "bucketOwner" => wanted.bucket_owner.map_or(String::new(), |o| o.to_string()),
                _ => wanted.kms_key_arn.map_or(String::new(), |k| k.to_string()),
            })
        };
        assert_eq!(shown(json!(value)).unwrap(), value);
        assert_eq!(shown(json!(null)).unwrap(), "", "{field}");
        assert_eq!(shown(json!("")).unwrap(), "", "{field}");
        assert_eq!(shown(json!(bad)).unwrap_err(), field);
    }
}

#[test]
fn region_role_and_key_must_fit_whoever_sent_them() {
    let without_key = json!({"region": "cn-north-1", "kmsKeyArn": null});
    let refused = wanted(update(without_key), Some(&stored()));
    assert_eq!(refused.unwrap_err(), "region");
    let both = json!({"region": "us-gov-west-1", "roleArn": ARN});
    assert_eq!(wanted(update(both), None).unwrap_err(), "region");
    let moved = update(json!({"region": "eu-west-1"}));
    assert_eq!(wanted(moved, Some(&stored())).unwrap_err(), "kmsKeyArn");
    let both = json!({"region": "eu-west-1", "roleArn": ARN, "kmsKeyArn": KEY});
    assert_eq!(wanted(update(both), None).unwrap_err(), "kmsKeyArn");
}
