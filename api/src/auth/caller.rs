//! What a good token says about its bearer.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header::AUTHORIZATION, request::Parts},
};
use common::ids::OrgId;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use super::Authenticator;
use crate::error::ApiError;

/// The longest subject that is told apart by name, in bytes: as long as an actor's id may be.
const MAX_SUBJECT_BYTES: usize = 256;
/// Nobody outside can look for callers that are taken for one.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a member is in an organisation, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
    #[serde(
        default,
        deserialize_with = "each_once",
        skip_serializing_if = "HashMap::is_empty"
    )]
    pub(super) orgs: HashMap<String, Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) org_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    #[serde(
        default,
        deserialize_with = "text_or_nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) sub: Option<String>,
}

/// An organisation that stands twice could be read with either role (RFC 7519 §4).
fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<HashMap<String, Role>, D::Error> {
    struct Orgs;

    impl<'de> Visitor<'de> for Orgs {
        type Value = HashMap<String, Role>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a role in each organisation")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut orgs = HashMap::new();
            while let Some((org, role)) = map.next_entry()? {
                if orgs.insert(org, role).is_some() {
                    return Err(A::Error::custom("an organisation stands twice"));
                }
            }
            Ok(orgs)
        }
    }

    deserializer.deserialize_map(Orgs)
}

/// A subject of an odd type is no reason to refuse a token.
fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    })
}

/// Which caller it is, of a fixed size, and only within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey(u64);

/// The bearer of a good token. As an extractor it is the first thing a handler asks for.
#[derive(Debug)]
pub struct Caller {
    claims: Claims,
}

impl Caller {
    pub(super) fn new(claims: Claims) -> Self {
        Self { claims }
    }

    /// A caller with these claims.
    #[cfg(test)]
    pub(crate) fn of_claims(claims: serde_json::Value) -> Self {
        Self::new(serde_json::from_value(claims).unwrap_or_default())
    }

    /// Who it is, as the token's issuer names him or her (`sub`): 1 to 256 bytes without control
    /// characters. Any other name counts as none.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        let subject = self.claims.sub.as_deref()?;
        let fits = (1..=MAX_SUBJECT_BYTES).contains(&subject.len());
        (fits && !subject.contains(char::is_control)).then_some(subject)
    }

    /// What tells callers apart. Those without a subject are one where they may do the same, however
    /// many tokens they get.
    pub(crate) fn key(&self) -> CallerKey {
        let claims = &self.claims;
        CallerKey(match &claims.sub {
            Some(subject) => HASHER.hash_one(subject),
            None => HASHER.hash_one((
                claims.orgs.iter().collect::<BTreeMap<_, _>>(),
                &claims.org_id,
                claims.role,
                &claims.scope,
            )),
        })
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
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return Err(ApiError::MissingToken);
    };
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(ApiError::MissingToken)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token)
    } else {
        Err(ApiError::MissingToken)
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
    fn callers_are_told_apart_by_subject_or_by_what_they_may_do() {
        let of = |claims: serde_json::Value| caller(claims).key();
        let orgs = serde_json::json!({"acme": "admin", "beta": "owner"});
        let same = of(serde_json::json!({"sub": "kim", "orgs": orgs}));
        assert_eq!(of(serde_json::json!({"sub": "kim", "scope": "x"})), same);
        assert_ne!(of(serde_json::json!({"sub": "lee", "orgs": orgs})), same);
        let nameless = of(serde_json::json!({"orgs": orgs}));
        assert_eq!(of(serde_json::json!({"orgs": orgs, "sub": 7})), nameless);
        assert_ne!(of(serde_json::json!({"orgs": {"acme": "admin"}})), nameless);
        assert_ne!(
            of(serde_json::json!({"orgs": {"acme": "admin", "beta": "admin"}})),
            nameless
        );
    }

    #[test]
    fn a_subject_is_short_and_plain() {
        let of = |sub: serde_json::Value| {
            let caller = caller(serde_json::json!({"sub": sub}));
            caller.subject().map(str::to_owned)
        };
        assert_eq!(of("auth0|5f7c".into()).as_deref(), Some("auth0|5f7c"));
        assert_eq!(of("x".repeat(256).into()).map(|s| s.len()), Some(256));
        for bad in [
            serde_json::json!(null),
            serde_json::json!(7),
            serde_json::json!(["kim"]),
            "".into(),
            "x".repeat(257).into(),
            "a\nb".into(),
        ] {
            assert_eq!(of(bad.clone()), None, "{bad}");
        }
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
