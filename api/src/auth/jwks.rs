//! The identity provider's public keys: fetched, cached, and fetched again when they rotate.

mod keys;

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::Algorithm;
use keys::{Key, Keys, MAX_KEYS};
use reqwest::{Client, Url, redirect};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// How old the keys may get before they are fetched anew.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// How long to wait after a fetch before a token with an unknown key may cause another: such tokens
/// cost their senders nothing.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Where a JWKS is. Keys that came by plain HTTP could be anybody's, so that is only taken from this
/// machine. Formats without user, password and query, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl FromStr for JwksUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|_| "is not a URL".to_owned())?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&url) => Ok(Self(url)),
            _ => Err("must begin with https:// (http:// only for this machine itself)".to_owned()),
        }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.0.origin().ascii_serialization();
        write!(f, "{origin}{}", self.0.path())
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// What became of the search for a token's key.
pub(super) enum KeyLookup {
    /// Here it is.
    Found(Arc<Key>),
    /// The provider does not have it.
    Unknown,
    /// The provider could not be asked.
    Unavailable,
}

/// The keys of one JWKS.
pub struct Jwks {
    url: JwksUrl,
    client: Client,
    min_refresh_interval: Duration,
    keys: RwLock<Arc<Keys>>,
    /// One fetch at a time; holds what became of the last one.
    last_fetch: Mutex<Option<Fetch>>,
}

struct Fetch {
    at: Instant,
    succeeded: bool,
}

impl Jwks {
    /// A JWKS whose keys are not fetched yet.
    ///
    /// # Errors
    /// The HTTP client cannot be made: the system's root certificates cannot be read.
    pub fn new(url: JwksUrl) -> Result<Self, reqwest::Error> {
        Self::with_min_refresh_interval(url, MIN_REFRESH_INTERVAL)
    }

    pub(super) fn with_min_refresh_interval(
        url: JwksUrl,
        interval: Duration,
    ) -> Result<Self, reqwest::Error> {
        let mut client = Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(redirect::Policy::none());
        if is_loopback(&url.0) {
            client = client.no_proxy();
        }
        Ok(Self {
            url,
            client: client.build()?,
            min_refresh_interval: interval,
            keys: RwLock::default(),
            last_fetch: Mutex::default(),
        })
    }

    /// A JWKS that has been fetched as this document, and is not fetched again.
    pub(crate) fn fetched(url: JwksUrl, client: Client, document: &[u8]) -> Option<Self> {
        let keys = read_set(document).ok()?;
        let last_fetch = Fetch {
            at: Instant::now(),
            succeeded: true,
        };
        Some(Self {
            url,
            client,
            min_refresh_interval: Duration::MAX,
            keys: RwLock::new(Arc::new(keys)),
            last_fetch: Mutex::new(Some(last_fetch)),
        })
    }

    /// Keeps the keys fresh until the token is cancelled.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        loop {
            let pause = if self.refresh().await {
                REFRESH_INTERVAL
            } else {
                MIN_REFRESH_INTERVAL
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Looks for a token's key, and asks the provider again where it is not known: it may be new.
    pub(super) async fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> KeyLookup {
        let known = || self.keys().find(kid, algorithm);
        if let Some(key) = known() {
            return KeyLookup::Found(key);
        }
        let succeeded = self.refresh_unless_recent().await;
        match known() {
            Some(key) => KeyLookup::Found(key),
            None if succeeded => KeyLookup::Unknown,
            None => KeyLookup::Unavailable,
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the last fetch, which may be an earlier one, succeeded.
    async fn refresh_unless_recent(&self) -> bool {
        let mut last = self.last_fetch.lock().await;
        match &*last {
            Some(fetch) if fetch.at.elapsed() < self.min_refresh_interval => fetch.succeeded,
            _ => self.refresh_locked(&mut last).await,
        }
    }

    async fn refresh(&self) -> bool {
        let mut last = self.last_fetch.lock().await;
        self.refresh_locked(&mut last).await
    }

    async fn refresh_locked(&self, last: &mut Option<Fetch>) -> bool {
        let fetched = self.fetch().await;
        let succeeded = fetched.is_ok();
        match fetched {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            // The keys that are known stay good: an outage of the provider must not lock everybody out.
            Err(error) => tracing::warn!(url = %self.url, %error, "signing keys cannot be fetched"),
        }
        *last = Some(Fetch {
            at: Instant::now(),
            succeeded,
        });
        succeeded
    }

    async fn fetch(&self) -> Result<Keys, FetchError> {
        let mut response = self.client.get(self.url.0.clone()).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        read_set(&body)
    }
}

/// Read as an object first: for serde an array that holds an array of keys would do, too.
fn read_set(document: &[u8]) -> Result<Keys, FetchError> {
    let mut set: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(document)?;
    let keys: Vec<_> = serde_json::from_value(set.remove("keys").unwrap_or_default())?;
    if keys.len() > MAX_KEYS {
        return Err(FetchError::TooMany);
    }
    Ok(Keys::usable(keys))
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{}", with_causes(.0))]
    Http(reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(http::StatusCode),
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("there are more than {MAX_KEYS} keys")]
    TooMany,
    #[error("the answer is not a JWKS: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// reqwest's own text says only that a request failed, not why.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
