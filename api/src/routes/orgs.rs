//! Organisations, as the vendor's platform puts them.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use common::{
    db::{
        Tenant,
        orgs::{self, Org},
    },
    ids::OrgId,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ORG;
use crate::{
    AppState,
    auth::{Caller, Scope},
    error::{ApiError, ErrorBody},
    extract::{JsonBody, PathParameter},
};

pub(super) const MAX_NAME_BYTES: usize = 256;
/// Not blank, and without control characters.
pub(super) const NAME_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$";

/// An organisation to create or rename.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrgRequest {
    /// For people; at most 256 bytes.
    #[schema(required, nullable = false, example = "Acme Corp.")]
    name: Option<String>,
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrgResponse {
    org_id: String,
    name: String,
    /// What the trust policies of the organisation's roles have to ask for. Never changes.
    external_id: String,
    created_at: Timestamp,
}

impl From<Org> for OrgResponse {
    fn from(org: Org) -> Self {
        Self {
            org_id: org.id.into(),
            name: org.name,
            external_id: org.external_id,
            created_at: org.created_at,
        }
    }
}

/// Create or rename an organisation.
#[utoipa::path(
    put,
    path = ORG,
    tag = "platform",
    operation_id = "putOrg",
    description = "Needs the scope `orgs:write`.",
    params(("orgId" = String, Path, description = "The vendor's own id: 1 to 64 of A-Z a-z 0-9 _ . -, not dots alone")),
    request_body = OrgRequest,
    responses(
        (status = 201, body = OrgResponse, description = "Created"),
        (status = 200, body = OrgResponse, description = "Existed, and has this name now"),
        (status = 403, body = ErrorBody),
        (status = 422, body = ErrorBody),
    ),
)]
pub(super) async fn put(
    caller: Caller,
    PathParameter(org): PathParameter<OrgId>,
    State(state): State<AppState>,
    request: Request,
) -> Result<(StatusCode, Json<OrgResponse>), ApiError> {
    caller.require_scope(Scope::WriteOrgs)?;
    let org = org.ok_or_else(|| ApiError::field("orgId", common::ids::InvalidOrgId.to_string()))?;
    let JsonBody(body) = JsonBody::<OrgRequest>::read(request).await?;
    let name = check_name(body.name)?;
    let client = state.pool.get().await?;
    let (org, created) = orgs::put(&Tenant::of(&client, &org), &name).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(org.into())))
}

fn check_name(name: Option<String>) -> Result<String, ApiError> {
    let refuse = |rule: &str| Err(ApiError::field("name", format!("name {rule}")));
    match name {
        None => refuse("is missing"),
        Some(name) if name.trim().is_empty() => refuse("must not be blank"),
        Some(name) if name.len() > MAX_NAME_BYTES => refuse("must be at most 256 bytes long"),
        Some(name) if name.chars().any(char::is_control) => {
            refuse("must not hold control characters")
        }
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_people() {
        for good in ["Acme", "Ácme & Söhne GmbH 株式会社", &"x".repeat(256)] {
            assert_eq!(check_name(Some(good.to_owned())).unwrap(), good);
        }
        for bad in ["", "  ", "a\0b", "a\nb", &"x".repeat(257)] {
            assert!(check_name(Some(bad.to_owned())).is_err(), "{bad:?}");
        }
        assert!(check_name(None).is_err());
    }
}
