//! What a good token says about its bearer.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header::AUTHORIZATION, request::Parts},
};
use common::ids::OrgId;
use serde::{Deserialize, Deserializer, Serialize};

use super::Authenticator;
use crate::error::ApiError;

/// What a member is in an organisation, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Administers nothing.
    Member,
    /// Administers the organisation.
    Admin,
    /// Owns the organisation.
    Owner,
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "member" => Ok(Self::Member),
            "admin" => Ok(Self::Admin),
            "owner" => Ok(Self::Owner),
            _ => Err("is none of owner, admin, member".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Role {
    /// A role that only the identity provider knows administers nothing here, like a member's.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?
            .parse()
            .unwrap_or(Self::Member))
    }
}

/// What a platform token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Create and rename organisations.
    WriteOrgs,
    /// Append audit events.
    WriteAuditEvents,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteOrgs => "orgs:write",
            Self::WriteAuditEvents => "audit-events:write",
        })
    }
}

/// The claims that grant something. Those about the token itself are checked before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub(super) orgs: HashMap<String, Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) org_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
}

/// The bearer of a good token. As an extractor it is the first thing a handler asks for.
#[derive(Debug)]
pub struct Caller {
    claims: Claims,
}

impl Caller {
    pub(super) fn new(claims: Claims) -> Self {
        Self { claims }
    }

    fn role_in(&self, org: &OrgId) -> Option<Role> {
        let single = self.claims.org_id.as_deref() == Some(org.as_str());
        let from_pair = if single { self.claims.role } else { None };
        self.claims.orgs.get(org.as_str()).copied().max(from_pair)
    }

    /// Lets admins and owners of the organisation pass.
    ///
    /// # Errors
    /// For a stranger the same as for an organisation that does not exist; for a member 403.
    pub fn require_org_admin(&self, org: &OrgId) -> Result<(), ApiError> {
        match self.role_in(org) {
            None => Err(ApiError::UnknownOrg),
            Some(Role::Member) => Err(ApiError::Forbidden(
                "only admins and owners of the organisation may do this".to_owned(),
            )),
            Some(Role::Admin | Role::Owner) => Ok(()),
        }
    }

    /// Lets platform tokens with the scope pass, and nobody else: no role in an organisation stands
    /// in for it.
    ///
    /// # Errors
    /// 403.
    pub fn require_scope(&self, scope: Scope) -> Result<(), ApiError> {
        let granted = self.claims.scope.as_deref().unwrap_or_default();
        let scope = scope.to_string();
        if granted.split(' ').any(|word| word == scope) {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!(
            "this needs a platform token with the scope {scope}"
        )))
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = bearer_token(parts)?;
        Arc::<Authenticator>::from_ref(state)
            .authenticate(token)
            .await
    }
}

fn bearer_token(parts: &Parts) -> Result<&str, ApiError> {
    const MISSING: ApiError = ApiError::Unauthorized("send a token: Authorization: Bearer <JWT>");
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return Err(MISSING);
    };
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(MISSING)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token)
    } else {
        Err(MISSING)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;

    fn caller(claims: serde_json::Value) -> Caller {
        Caller::new(serde_json::from_value(claims).unwrap())
    }

    fn org(id: &str) -> OrgId {
        id.parse().unwrap()
    }

    fn status(result: Result<(), ApiError>) -> StatusCode {
        result.map_or_else(|error| error.status_and_code().0, |()| StatusCode::OK)
    }

    #[test]
    fn roles_by_the_map_and_by_the_pair() {
        let both = caller(serde_json::json!({
            "orgs": {"acme": "owner", "beta": "admin", "gamma": "member", "delta": "auditor"},
            "org_id": "epsilon", "role": "admin",
        }));
        for (id, expected) in [
            ("acme", StatusCode::OK),
            ("beta", StatusCode::OK),
            ("gamma", StatusCode::FORBIDDEN),
            ("delta", StatusCode::FORBIDDEN),
            ("epsilon", StatusCode::OK),
            ("omega", StatusCode::NOT_FOUND),
            ("ACME", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(status(both.require_org_admin(&org(id))), expected, "{id}");
        }
    }

    #[test]
    fn an_org_id_without_a_role_grants_nothing() {
        assert_eq!(
            status(caller(serde_json::json!({"org_id": "acme"})).require_org_admin(&org("acme"))),
            StatusCode::NOT_FOUND,
        );
        assert_eq!(
            status(caller(serde_json::json!({"role": "owner"})).require_org_admin(&org("acme"))),
            StatusCode::NOT_FOUND,
        );
    }

    #[test]
    fn org_access_and_platform_scopes_do_not_mix() {
        let owner = caller(serde_json::json!({"orgs": {"acme": "owner"}}));
        assert_eq!(
            status(owner.require_scope(Scope::WriteAuditEvents)),
            StatusCode::FORBIDDEN
        );
        let platform = caller(serde_json::json!({"scope": "orgs:write  audit-events:write"}));
        assert_eq!(
            status(platform.require_scope(Scope::WriteAuditEvents)),
            StatusCode::OK
        );
        assert_eq!(
            status(platform.require_scope(Scope::WriteOrgs)),
            StatusCode::OK
        );
        assert_eq!(
            status(platform.require_org_admin(&org("acme"))),
            StatusCode::NOT_FOUND
        );
        let other = caller(serde_json::json!({"scope": "orgs:write-all audit-events:writer"}));
        assert_eq!(
            status(other.require_scope(Scope::WriteOrgs)),
            StatusCode::FORBIDDEN
        );
    }

    #[test]
    fn the_token_is_read_from_one_bearer_header() {
        let token = |headers: &[&str]| {
            let mut request = Request::builder();
            for header in headers {
                request = request.header(AUTHORIZATION, *header);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            bearer_token(&parts).map(str::to_owned).ok()
        };
        assert_eq!(token(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(token(&["bearer  a.b.c "]).as_deref(), Some("a.b.c"));
        for bad in [
            &[][..],
            &["Basic YTpi"],
            &["Bearer"],
            &["Bearer "],
            &["a.b.c"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(token(bad), None, "{bad:?}");
        }
    }
}
