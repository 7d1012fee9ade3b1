//! What an organisation's people have to set up in their AWS account.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use common::{
    db::{Tenant, export_configs},
    destination::{Bucket, Destination, Region, RoleName},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    SETUP,
    destination::{bucket_owner, key_in_region, kms_key_arn, parse, prefix},
};
use crate::{
    AppState,
    error::{ApiError, ErrorBody},
    extract::{OrgAdmin, read_query},
    setup::{DEFAULT_ROLE_NAME, Forms, Policy, PrincipalArn, Setup},
};

const PARAMETERS: &str = "bucket, region, prefix, bucketOwner, kmsKeyArn and roleName";

/// What it is to be set up for. What is left out is as in the configuration; without one, bucket and
/// region are required.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetupQuery {
    /// The bucket's name.
    #[param(example = "acme-audit-logs")]
    bucket: Option<String>,
    /// The bucket's region.
    #[param(example = "eu-central-1")]
    region: Option<String>,
    /// What all keys begin with; empty for none.
    #[param(example = "security/audit")]
    prefix: Option<String>,
    /// The account that owns the bucket, where that is not the role's; empty for the role's.
    bucket_owner: Option<String>,
    /// The KMS key that objects are to be encrypted with, by the ARN of the key itself; empty for none.
    kms_key_arn: Option<String>,
    /// What the role is to be called, without a path; `audit-export` where it is left out, also where the
    /// configuration names a role, since no answer tells that.
    #[param(example = "audit-export")]
    role_name: Option<String>,
}

impl SetupQuery {
    fn setup(
        &self,
        principal: PrincipalArn,
        external_id: String,
        stored: Option<&Destination>,
    ) -> Result<Setup, ApiError> {
        let bucket = self.bucket.as_deref();
        let region = self.region.as_deref();
        let setup = Setup {
            bucket: required("bucket", bucket, stored.map(|d| &d.bucket), Bucket::parse)?,
            region: required("region", region, stored.map(|d| &d.region), Region::parse)?,
            prefix: prefix(self.prefix.as_deref(), stored)?,
            bucket_owner: bucket_owner(self.bucket_owner.as_deref(), stored)?,
            kms_key_arn: kms_key_arn(self.kms_key_arn.as_deref(), stored)?,
            role_name: {
                let name = self.role_name.as_deref().unwrap_or(DEFAULT_ROLE_NAME);
                parse("roleName", Some(name), RoleName::parse)?
            },
            principal,
            external_id,
        };
        key_in_region(&setup.region, setup.kms_key_arn.as_ref())?;
        let (own, theirs) = (setup.principal.partition(), setup.region.partition());
        if own != theirs {
            return Err(ApiError::field(
                "region",
                format!(
                    "region {} is in the partition {theirs}, but this service acts from the partition \
                     {own}; use a bucket and a role of {own}",
                    setup.region
                ),
            ));
        }
        Ok(setup)
    }
}

/// What was sent, or else what is stored.
fn required<T: Clone, E: ToString>(
    field: &str,
    sent: Option<&str>,
    stored: Option<&T>,
    check: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ApiError> {
    match (sent, stored) {
        (Some(_), _) => parse(field, sent, check),
        (None, Some(stored)) => Ok(stored.clone()),
        (None, None) => Err(ApiError::field(
            field,
            format!(
                "{field} is missing: there is no configuration yet to take it from; say it in the query, \
                 like ?bucket=acme-audit-logs&region=eu-central-1"
            ),
        )),
    }
}

/// What is to be set up in the organisation's AWS account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditExportSetup {
    /// What the role's trust policy has to ask for. It never changes.
    external_id: String,
    /// Whom the role has to trust.
    principal_arn: String,
    /// The role's trust policy.
    #[schema(value_type = Object)]
    trust_policy: Policy,
    /// What the role has to be allowed, and no more.
    #[schema(value_type = Object)]
    permissions_policy: Policy,
    /// A script for bash that makes the role by the AWS CLI and prints its ARN.
    aws_cli: String,
    /// A CloudFormation template of the role, in YAML.
    cloud_formation: String,
    /// A Terraform configuration of the role, in HCL.
    terraform: String,
    /// What else to look after, a sentence each.
    advice: Vec<String>,
}

impl From<Setup> for AuditExportSetup {
    fn from(setup: Setup) -> Self {
        let Forms {
            trust_policy,
            permissions_policy,
            aws_cli,
            cloud_formation,
            terraform,
        } = setup.forms();
        Self {
            advice: setup.advice(),
            external_id: setup.external_id,
            principal_arn: setup.principal.to_string(),
            trust_policy,
            permissions_policy,
            aws_cli,
            cloud_formation,
            terraform,
        }
    }
}

/// Show what is to be set up in AWS.
///
/// A role that this service may assume and that may write to the bucket, as policies and as three ways to
/// make it: any of them is enough. The answer is filled in for the configuration, or for what the query
/// says, so that it can be had before there is a configuration.
#[utoipa::path(
    get,
    path = SETUP,
    tag = "configuration",
    operation_id = "getSetup",
    params(("orgId" = String, Path, description = "The organisation"), SetupQuery),
    responses(
        (status = 200, body = AuditExportSetup),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "`principal_not_configured`: the operator has not told the service its own AWS identity"),
        (status = 422, body = ErrorBody),
    ),
)]
pub(super) async fn show(
    OrgAdmin(org): OrgAdmin,
    State(state): State<AppState>,
    query: Result<Query<SetupQuery>, QueryRejection>,
) -> Result<Json<AuditExportSetup>, ApiError> {
    let principal = state.principal.ok_or(ApiError::PrincipalNotConfigured)?;
    let query = read_query(query, PARAMETERS)?;
    let client = state.pool.get().await?;
    let stored = export_configs::find(&Tenant::of(&client, &org.id)).await?;
    let stored = stored.map(|config| config.destination);
    let setup = query.setup(principal, org.external_id, stored.as_ref())?;
    Ok(Json(setup.into()))
}
