//! The fields that say where events go, as `config` and `test-connection` take them.

use common::{
    db::export_configs::{ExportConfig, StartFrom},
    destination::{Bucket, Prefix, Region, RoleArn, same_partition},
};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::error::ApiError;

/// Where an organisation's events are to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfigRequest {
    /// The bucket's name.
    #[schema(required, nullable = false, example = "acme-audit-logs")]
    bucket: Option<String>,
    /// The bucket's region.
    #[schema(required, nullable = false, example = "eu-central-1")]
    region: Option<String>,
    /// The role to assume. Required for a new configuration; in an update it may be left out, or
    /// sent as `roleArnMasked` shows it, and stays as it is then.
    #[schema(example = "arn:aws:iam::123456789012:role/audit-export")]
    role_arn: Option<String>,
    /// What all keys begin with. Left out: unchanged, or none where the configuration is new. Null
    /// or empty: none.
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(nullable, example = "security/audit")]
    prefix: Option<String>,
    /// Whether to export. Left out: unchanged, or true where the configuration is new.
    pub(super) enabled: Option<bool>,
    /// Where delivery begins; only with the organisation's first configuration, default `beginning`.
    #[schema(value_type = Option<String>, pattern = "^(beginning|now)$")]
    pub(super) start_from: Option<StartFrom>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// Checked fields; `None` means as it is stored.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) bucket: Bucket,
    pub(super) region: Region,
    pub(super) role_arn: Option<RoleArn>,
    pub(super) prefix: Option<Prefix>,
}

impl ConfigRequest {
    /// Checks the fields, those that are left out against what is stored.
    pub(super) fn check(&self, stored: Option<&ExportConfig>) -> Result<Wanted, ApiError> {
        let stored_role = stored.map(|config| &config.destination.role_arn);
        let bucket = parse("bucket", self.bucket.as_deref(), Bucket::parse)?;
        let region = parse("region", self.region.as_deref(), Region::parse)?;
        let prefix = match self.prefix.as_deref() {
            Some(prefix) => Some(parse("prefix", Some(prefix), Prefix::parse)?),
            None => None,
        };
        let role_arn = match (self.role_arn.as_deref(), stored_role) {
            (None, Some(_)) => None,
            (Some(sent), Some(stored)) if sent == stored.masked() => None,
            (sent, _) => Some(parse("roleArn", sent, parse_role)?),
        };
        if let Some(role) = role_arn.as_ref().or(stored_role) {
            same_partition(&region, role)
                .map_err(|error| ApiError::field("region", error.to_string()))?;
        }
        Ok(Wanted {
            bucket,
            region,
            role_arn,
            prefix,
        })
    }
}

/// A mask that is not this organisation's deserves a better hint than a rule about digits.
fn parse_role(text: &str) -> Result<RoleArn, String> {
    if text.contains(['*', '…']) {
        return Err(
            "roleArn is masked, but not the mask of the configured role; send the whole ARN"
                .to_owned(),
        );
    }
    RoleArn::parse(text).map_err(|error| error.to_string())
}

fn parse<T, E: ToString>(
    field: &str,
    sent: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ApiError> {
    let text = sent.ok_or_else(|| ApiError::field(field, format!("{field} is missing")))?;
    parse(text).map_err(|error| ApiError::field(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use common::{db::export_configs::DeliveryState, destination::Destination, ids::ConfigId};
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:iam::123456789012:role/audit-export";

    fn stored() -> ExportConfig {
        ExportConfig {
            id: ConfigId::new(),
            org_id: "acme".parse().unwrap(),
            destination: Destination {
                bucket: Bucket::parse("acme").unwrap(),
                region: Region::parse("us-east-1").unwrap(),
                role_arn: RoleArn::parse(ARN).unwrap(),
                prefix: Prefix::parse("a/b").unwrap(),
            },
            enabled: true,
            version: 1,
            last_tested_at: None,
            last_test_ok: None,
            last_error: None,
            last_exported_at: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            external_id: "x".to_owned(),
            state: DeliveryState::Active,
            pause_error: None,
            next_probe_at: None,
        }
    }

    fn check(body: serde_json::Value, stored: Option<&ExportConfig>) -> Result<Wanted, String> {
        let request: ConfigRequest = serde_json::from_value(body).unwrap();
        request.check(stored).map_err(|error| match error {
            ApiError::InvalidRequest { field, .. } => field.unwrap(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn required_fields_are_named() {
        let good = json!({"bucket": "acme", "region": "us-east-1", "roleArn": ARN});
        assert!(check(good.clone(), None).is_ok());
        for field in ["bucket", "region", "roleArn"] {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            assert_eq!(check(body.clone(), None).unwrap_err(), field);
            body[field] = json!(null);
            assert_eq!(check(body.clone(), None).unwrap_err(), field);
            body[field] = json!("not good");
            assert_eq!(check(body, None).unwrap_err(), field);
        }
    }

    #[test]
    fn the_role_may_be_left_out_or_masked_in_an_update() {
        let stored = stored();
        let mask = stored.destination.role_arn.masked();
        let with_role = |role: serde_json::Value| json!({"bucket": "acme", "region": "us-east-1", "roleArn": role});
        assert!(
            check(
                json!({"bucket": "acme", "region": "us-east-1"}),
                Some(&stored)
            )
            .unwrap()
            .role_arn
            .is_none()
        );
        assert!(
            check(with_role(json!(null)), Some(&stored))
                .unwrap()
                .role_arn
                .is_none()
        );
        assert!(
            check(with_role(json!(mask)), Some(&stored))
                .unwrap()
                .role_arn
                .is_none()
        );
        assert_eq!(
            check(with_role(json!(ARN)), Some(&stored))
                .unwrap()
                .role_arn
                .unwrap()
                .expose(),
            ARN
        );
        // Somebody else's mask says nothing here, and one's own says nothing before the first save.
        let other = RoleArn::parse("arn:aws:iam::999999999999:role/audit-export")
            .unwrap()
            .masked();
        assert_eq!(
            check(with_role(json!(other)), Some(&stored)).unwrap_err(),
            "roleArn"
        );
        assert_eq!(check(with_role(json!(mask)), None).unwrap_err(), "roleArn");
    }

    #[test]
    fn prefix_is_kept_set_or_cleared() {
        let prefix =
            |body: serde_json::Value| check(body, Some(&stored())).map(|wanted| wanted.prefix);
        let with = |prefix: serde_json::Value| json!({"bucket": "acme", "region": "us-east-1", "prefix": prefix});
        assert_eq!(
            prefix(json!({"bucket": "acme", "region": "us-east-1"})),
            Ok(None)
        );
        assert_eq!(prefix(with(json!(null))), Ok(Some(Prefix::default())));
        assert_eq!(prefix(with(json!(""))), Ok(Some(Prefix::default())));
        assert_eq!(
            prefix(with(json!("/a/"))),
            Ok(Some(Prefix::parse("a").unwrap()))
        );
        assert_eq!(prefix(with(json!("a//b"))), Err("prefix".to_owned()));
    }

    #[test]
    fn region_and_role_must_fit_whoever_sent_them() {
        assert_eq!(
            check(
                json!({"bucket": "acme", "region": "cn-north-1"}),
                Some(&stored())
            )
            .unwrap_err(),
            "region"
        );
        let both = json!({"bucket": "acme", "region": "us-gov-west-1", "roleArn": ARN});
        assert_eq!(check(both, None).unwrap_err(), "region");
    }
}
