//! What `tests/src/properties` looks at, and nobody else: inner parsers of what others send, and the
//! checks of tokens and URLs without a server around them.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, LazyLock, OnceLock},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{FromRequestParts, Query},
    routing::get,
};
use common::{
    destination::Destination,
    ids::{OrgId, RunId},
};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Uri};
use secrecy::SecretString;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    auth::{Authenticator, Caller, Jwks, JwksUrl},
    author,
    error::ApiError,
    extract::{PathParameter, from_json},
    preconditions::{Preconditions, Version},
    routes::{ConfigRequest, RUN, RunsQuery},
};

/// The destination that the body of a config asks for, where another is stored already.
///
/// # Errors
/// What an admin would be told.
pub fn destination(body: &[u8], stored: Option<&Destination>) -> Result<Destination, ApiError> {
    from_json::<ConfigRequest>(body)?.destination(stored)
}

/// Whether `If-Match` and `If-None-Match` let a write pass where this revision is stored.
///
/// # Errors
/// What an admin would be told.
pub fn preconditions(headers: &HeaderMap, stored: Option<(Uuid, i64)>) -> Result<(), ApiError> {
    let stored = stored.map(|(id, revision)| Version::new(id, revision));
    Preconditions::of(headers)?.check(stored.as_ref())
}

/// The address that the audit log names, behind so many proxies.
#[must_use]
pub fn forwarded(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    author::forwarded(headers, proxies)
}

/// The link from a list of runs to its next page, which follows this run.
///
/// # Errors
/// What an admin would be told.
pub fn next_page(list: &Uri, last: RunId) -> Result<String, ApiError> {
    let page = RunsQuery::page(Query::try_from_uri(list))?;
    Ok(page.next_link(list.path(), last))
}

/// The ids in the URL of a run, or what is in their places; `None` where it is no such URL.
#[must_use]
pub fn ids(url: Uri) -> Option<(Option<OrgId>, Option<RunId>)> {
    #[derive(Clone)]
    struct Ids(Option<OrgId>, Option<RunId>);
    static ROUTER: OnceLock<Router> = OnceLock::new();
    let read =
        async |PathParameter(org): PathParameter<OrgId>,
               PathParameter(run): PathParameter<RunId>| { Extension(Ids(org, run)) };
    let router = ROUTER.get_or_init(|| Router::new().route(RUN, get(read)));
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = url;
    let answer: Result<_, Infallible> = at_once(router.clone().oneshot(request));
    let Ok(mut answer) = answer;
    let Ids(org, run) = answer.extensions_mut().remove()?;
    Some((org, run))
}

/// Checks tokens as the API does, with a key set that has been fetched already.
pub struct Tokens(Arc<Authenticator>);

impl Tokens {
    /// `None` where the document is not a key set.
    #[must_use]
    pub fn new(secret: Option<&str>, jwks: &[u8], issuer: &str, audience: &str) -> Option<Self> {
        // Making a client takes far longer than all the rest.
        static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
        let url: JwksUrl = "https://login.example/keys".parse().ok()?;
        let jwks = Arc::new(Jwks::fetched(url, CLIENT.clone(), jwks)?);
        let secret = secret.map(SecretString::from);
        let authenticator = Authenticator::new(secret.as_ref(), Some(jwks), issuer, audience);
        Some(Self(Arc::new(authenticator)))
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// What the sender would be told.
    pub fn caller(&self, headers: HeaderMap) -> Result<Caller, ApiError> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = headers;
        at_once(Caller::from_request_parts(&mut parts, &self.0))
    }
}

/// For what waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("there is nothing to wait for")
}
