//! Who sent a request: from access key and session token to a user or a session.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use jiff::Timestamp;

use crate::sessions::{Session, Sessions};
use crate::state::{State, account_of, partition_of};

/// The sender of a request whose signature was right.
#[derive(Clone)]
pub(crate) enum Caller {
    User { arn: String },
    Session(Arc<Session>),
}

/// Why the credentials are not good, though the signature may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadCredentials {
    /// The key is unknown, or a session's key was used without its token.
    UnknownKey,
    /// The token is not the one that belongs to the key.
    BadToken,
    Expired,
}

impl Caller {
    pub(crate) fn identify(
        state: &State,
        sessions: &Sessions,
        access_key_id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, BadCredentials> {
        if let Some(user) = state.user_by_key(access_key_id) {
            return match token {
                None => Ok(Self::User {
                    arn: user.arn.clone(),
                }),
                Some(_) => Err(BadCredentials::BadToken),
            };
        }
        let session = sessions
            .find(access_key_id)
            .ok_or(BadCredentials::UnknownKey)?;
        match token {
            None => Err(BadCredentials::UnknownKey),
            Some(token) if token != session.token => Err(BadCredentials::BadToken),
            Some(_) if session.expires <= now => Err(BadCredentials::Expired),
            Some(_) => Ok(Self::Session(session)),
        }
    }

    /// The ARN that AWS names in messages and logs.
    pub(crate) fn arn(&self) -> &str {
        match self {
            Self::User { arn } => arn,
            Self::Session(session) => &session.arn,
        }
    }

    pub(crate) fn account(&self) -> &str {
        account_of(self.arn())
    }

    pub(crate) fn partition(&self) -> &str {
        partition_of(self.arn())
    }

    /// Every name by which a trust policy may mean this caller.
    pub(crate) fn principals(&self) -> Vec<String> {
        let account = self.account();
        let mut names = vec![
            self.arn().to_owned(),
            account.to_owned(),
            format!("arn:{}:iam::{account}:root", self.partition()),
        ];
        if let Self::Session(session) = self {
            names.push(session.role_arn.clone());
        }
        names
    }
}

/// The scope in which a request was signed, from its header or its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Scope {
    /// `None` for anything but Signature Version 4.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        let header = headers
            .get(http::header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let credential = match header {
            Some(text) => {
                let fields = text.strip_prefix("AWS4-HMAC-SHA256")?;
                let field = fields
                    .split(',')
                    .find_map(|one| one.trim().strip_prefix("Credential="));
                field?.to_owned()
            }
            None => query(uri, "X-Amz-Credential")?,
        };
        // KEY/20260131/REGION/SERVICE/aws4_request
        let mut fields = credential.rsplit('/').skip(1);
        let service = fields.next()?.to_owned();
        let region = fields.next()?.to_owned();
        Some(Self { region, service })
    }
}

/// The session token of a request: a header, or part of a presigned URL.
pub(crate) fn token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    match headers.get("x-amz-security-token") {
        Some(value) => Some(value.to_str().unwrap_or_default().to_owned()),
        None => query(uri, "X-Amz-Security-Token"),
    }
}

/// The value of a query parameter.
pub(crate) fn query(uri: &Uri, name: &str) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
