//! Checking tokens, and signing those of the `token` command.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::{Error as JwtError, ErrorKind},
    get_current_timestamp,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Caller, Jwks, LEEWAY_SECONDS, MAX_TOKEN_BYTES, Role, caller::Claims, jwks::KeyLookup};
use crate::error::ApiError;

/// The last second of the year 9999. Times in milliseconds are beyond it: such a token would be good
/// for 50,000 years.
const LAST_SECOND: f64 = 253_402_300_799.0;
/// What makes a header's token one whose payload is not encoded, which no JWT may be (RFC 7797 §7).
const UNENCODED: &str = "b64";
const UNREADABLE: ApiError = ApiError::Unauthorized("the token cannot be read");

/// Decides whether a token is good.
pub struct Authenticator {
    secret: Option<DecodingKey>,
    jwks: Option<Arc<Jwks>>,
    issuer: String,
    audience: String,
}

impl Authenticator {
    /// Takes tokens of `issuer` for `audience`, signed with the secret or with a key of the JWKS.
    #[must_use]
    pub fn new(
        secret: Option<&SecretString>,
        jwks: Option<Arc<Jwks>>,
        issuer: &str,
        audience: &str,
    ) -> Self {
        let secret =
            secret.map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes()));
        Self {
            secret,
            jwks,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// 401 where it is not good, 503 where that cannot be known because the keys cannot be fetched.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, ApiError> {
        const UNKNOWN_KEY: ApiError =
            ApiError::Unauthorized("the token is not signed with a key that is known here");
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ApiError::Unauthorized("the token is longer than 48 KiB"));
        }
        // The header is not to be trusted yet. It only tells where to look for the key; the key's
        // own algorithm is the one that the signature is checked with. Keys that it brings along, or
        // points to, are not looked at.
        let header =
            decode_header(token).map_err(|_| ApiError::Unauthorized("the token is not a JWT"))?;
        if header.crit.is_some() || header.extras.inner().contains_key(UNENCODED) {
            return Err(ApiError::Unauthorized(
                "the token's header demands an extension (crit, b64) that is not known here",
            ));
        }
        match (header.alg, &self.secret, &self.jwks) {
            (Algorithm::HS256, Some(secret), _) => self.check(token, secret, Algorithm::HS256),
            (Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA, _, Some(jwks)) => {
                match jwks.find(header.kid.as_deref(), header.alg).await {
                    KeyLookup::Found(key) => self.check(token, &key.decoding, key.algorithm),
                    KeyLookup::Unknown => Err(UNKNOWN_KEY),
                    KeyLookup::Unavailable => Err(ApiError::AuthUnavailable),
                }
            }
            (Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA, ..) => {
                Err(UNKNOWN_KEY)
            }
            _ => Err(ApiError::Unauthorized(
                "the token's algorithm is none of HS256, RS256, ES256 and EdDSA",
            )),
        }
    }

    /// The library compares an HMAC by `aws_lc_rs::hmac::verify`, which documents that it does so in
    /// constant time; what else is compared here is public.
    fn check(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Caller, ApiError> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let checked = decode::<Box<RawValue>>(token, key, &validation);
        let claims = checked.map_err(|error| refusal(&error))?.claims;
        let stamp: Stamp = serde_json::from_str(claims.get()).map_err(|_| UNREADABLE)?;
        stamp.check(get_current_timestamp())?;
        let claims = serde_json::from_str(claims.get()).map_err(|_| UNREADABLE)?;
        Ok(Caller::new(claims))
    }
}

/// What the library takes more lightly than it should be: when a token was issued, a list of issuers,
/// and times that are none.
#[derive(Deserialize)]
struct Stamp {
    #[serde(rename = "iss")]
    _iss: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

impl Stamp {
    fn check(&self, now: u64) -> Result<(), ApiError> {
        let mut times = [Some(self.exp), self.nbf, self.iat].into_iter().flatten();
        if !times.all(|time| (0.0..=LAST_SECOND).contains(&time)) {
            return Err(ApiError::Unauthorized(
                "the token's times must be in seconds since 1970",
            ));
        }
        let latest = Duration::from_secs(now + LEEWAY_SECONDS).as_secs_f64();
        if self.iat.is_some_and(|iat| iat > latest) {
            return Err(ApiError::Unauthorized(
                "the token is issued in the future: a clock is wrong",
            ));
        }
        Ok(())
    }
}

fn refusal(error: &JwtError) -> ApiError {
    ApiError::Unauthorized(match error.kind() {
        ErrorKind::ExpiredSignature => return ApiError::TokenExpired,
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::InvalidAudience => "the token is meant for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token must have the claims exp, iss and aud",
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => {
            "the token's signature is wrong"
        }
        _ => return UNREADABLE,
    })
}

/// What a token of the `token` command says.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Who issues it.
    pub issuer: &'a str,
    /// Whom it is for.
    pub audience: &'a str,
    /// How long it is good.
    pub lifetime: Duration,
    /// An organisation and the role in it.
    pub org: Option<(&'a str, Role)>,
    /// Platform scopes, separated by spaces.
    pub scope: Option<&'a str>,
    /// Whom it is given to.
    pub subject: Option<&'a str>,
}

/// Signs a token with the shared secret (HS256).
///
/// # Errors
/// The signer's own; none is known for this algorithm.
pub fn sign(secret: &SecretString, new: &NewToken<'_>) -> Result<String, JwtError> {
    #[derive(Serialize)]
    struct Whole<'a> {
        iss: &'a str,
        aud: &'a str,
        iat: u64,
        exp: u64,
        #[serde(flatten)]
        claims: Claims,
    }
    let now = get_current_timestamp();
    let whole = Whole {
        iss: new.issuer,
        aud: new.audience,
        iat: now,
        exp: now + new.lifetime.as_secs(),
        claims: Claims {
            orgs: new
                .org
                .iter()
                .map(|(org, role)| ((*org).to_owned(), *role))
                .collect(),
            scope: new.scope.map(str::to_owned),
            sub: new.subject.map(str::to_owned),
            ..Claims::default()
        },
    };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    encode(&Header::new(Algorithm::HS256), &whole, &key)
}

#[cfg(test)]
mod tests;
