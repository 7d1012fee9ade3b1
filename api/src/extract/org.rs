//! Whose request it is, and whether it is within what they may ask for.

use axum::{extract::FromRequestParts, http::request::Parts};
use common::{
    db::{self, Tenant, orgs::Org, system_events::Author},
    ids::OrgId,
};

use super::PathParameter;
use crate::{
    AppState, admission, auth::Caller, author::author, error::ApiError, rate_limits::RateLimit,
};

/// The organisation of the URL, of which the caller is an admin or the owner.
pub struct OrgAdmin(pub Org);

impl FromRequestParts<AppState> for OrgAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (_, org) = org_admin(parts, state).await?;
        Ok(Self(org))
    }
}

/// The same, with what the audit log says of who asks.
pub struct OrgAdminBy(pub Org, pub Author);

impl FromRequestParts<AppState> for OrgAdminBy {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (org, author) = org_admin_within(parts, state, None).await?;
        Ok(Self(org, author))
    }
}

/// The same, who may have a destination tested now. This is decided before the body is looked at.
pub struct MayTest(pub Org, pub Author);

impl FromRequestParts<AppState> for MayTest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let limit = &state.rate_limits.tests;
        let (org, author) = org_admin_within(parts, state, Some(limit)).await?;
        Ok(Self(org, author))
    }
}

/// The same, who may ask for an export now.
pub struct MayExport(pub Org, pub Author);

impl FromRequestParts<AppState> for MayExport {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let limit = &state.rate_limits.runs;
        let (org, author) = org_admin_within(parts, state, Some(limit)).await?;
        Ok(Self(org, author))
    }
}

/// The id of an organisation of which the caller is an admin or the owner, and which need not exist: for
/// reads that are made often. What is found tells that it does, and who finds nothing asks
/// [`must_exist`].
pub struct OrgReader(pub OrgId);

impl FromRequestParts<AppState> for OrgReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (_, org) = admin_of(parts, state).await?;
        Ok(Self(org))
    }
}

/// The organisation, if it exists.
///
/// # Errors
/// 404 where there is no such organisation, and Postgres's.
pub async fn must_exist(db: &Tenant<'_>) -> Result<Org, ApiError> {
    db::orgs::find(db).await?.ok_or(ApiError::UnknownOrg)
}

/// Counts to the limit only what may be asked at all: a stranger uses up nothing.
async fn org_admin_within(
    parts: &mut Parts,
    state: &AppState,
    limit: Option<&RateLimit>,
) -> Result<(Org, Author), ApiError> {
    let (caller, org) = org_admin(parts, state).await?;
    if let Some(limit) = limit {
        limit.check(&org.id, &caller)?;
    }
    let author = author(&caller, parts, state.trusted_proxies);
    Ok((org, author))
}

async fn org_admin(parts: &mut Parts, state: &AppState) -> Result<(Caller, Org), ApiError> {
    let (caller, org) = admin_of(parts, state).await?;
    let client = state.pool.get().await?;
    let org = must_exist(&Tenant::of(&client, &org)).await?;
    Ok((caller, org))
}

async fn admin_of(parts: &mut Parts, state: &AppState) -> Result<(Caller, OrgId), ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    let PathParameter(org) = PathParameter::<OrgId>::from_request_parts(parts, state).await?;
    // An id that breaks the rules is an organisation that does not exist.
    let org = org.ok_or(ApiError::UnknownOrg)?;
    caller.require_org_admin(&org)?;
    admission::count_to(&org, &parts.extensions)?;
    Ok((caller, org))
}
