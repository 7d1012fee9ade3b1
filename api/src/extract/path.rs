//! Ids that stand in a URL's path.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use common::ids::{OrgId, RunId};

use crate::error::ApiError;

/// An id that stands in a URL's path.
pub trait PathId: std::str::FromStr {
    /// Its name in the routes.
    const NAME: &'static str;
    /// Its name in the request's span.
    const FIELD: &'static str;
}

impl PathId for OrgId {
    const NAME: &'static str = "orgId";
    const FIELD: &'static str = "org";
}

impl PathId for RunId {
    const NAME: &'static str = "runId";
    const FIELD: &'static str = "run";
}

/// An id of the URL's path; `None` where it is not one, so that the handler can say what that means
/// after it has looked at who is asking.
pub struct PathParameter<T>(pub Option<T>);

impl<T: PathId, S: Send + Sync> FromRequestParts<S> for PathParameter<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Percent-encoded bytes that are not UTF-8 are no id, either.
        let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await else {
            return Ok(Self(None));
        };
        let (_, text) = parameters
            .iter()
            .find(|(name, _)| *name == T::NAME)
            .ok_or_else(|| ApiError::internal(format!("the route has no {}", T::NAME)))?;
        let id = text.parse().ok();
        if id.is_some() {
            tracing::Span::current().record(T::FIELD, text);
        }
        Ok(Self(id))
    }
}
