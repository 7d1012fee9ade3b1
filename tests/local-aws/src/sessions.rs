//! Sessions of assumed roles. They are also kept in a file, since a restart of the real STS or S3
//! never ends a session: a restart of this server must not look like withdrawn permission.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::policy::Document;

const KEY_CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Credentials of one assumed role, and what they stand for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
    pub(crate) role_arn: String,
    /// `arn:aws:sts::222222222222:assumed-role/NAME/SESSION`.
    pub(crate) arn: String,
    /// A session policy narrows what the role may do; it grants nothing.
    pub(crate) policy: Option<Document>,
}

/// What a new session is for.
pub(crate) struct Grant {
    pub(crate) role_arn: String,
    pub(crate) arn: String,
    pub(crate) policy: Option<Document>,
    pub(crate) seconds: u32,
}

pub(crate) struct Sessions {
    file: PathBuf,
    by_key: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn open(file: &Path) -> std::io::Result<Self> {
        let mut by_key = HashMap::new();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                // The last line may be torn by a kill; its session was then never handed out.
                for session in text
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Session>(line).ok())
                {
                    by_key.insert(session.access_key_id.clone(), Arc::new(session));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            file: file.to_owned(),
            by_key: Mutex::new(by_key),
        })
    }

    /// Makes a session and keeps it before anybody can use it.
    pub(crate) fn issue(&self, grant: Grant, now: Timestamp) -> std::io::Result<Arc<Session>> {
        let session = Arc::new(Session {
            access_key_id: format!("ASIA{}", random_text(KEY_CHARS, 16)),
            secret_access_key: random_text(SECRET_CHARS, 40),
            token: format!("IQoJb3JpZ2luX2Vj{}", random_text(SECRET_CHARS, 240)),
            expires: now + SignedDuration::from_secs(i64::from(grant.seconds)),
            role_arn: grant.role_arn,
            arn: grant.arn,
            policy: grant.policy,
        });
        let mut by_key = self.lock();
        append(&self.file, &session)?;
        by_key.insert(session.access_key_id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// The session with this access key, expired or not.
    pub(crate) fn find(&self, access_key_id: &str) -> Option<Arc<Session>> {
        self.lock().get(access_key_id).cloned()
    }

    /// Ends every session now, whatever its holder was told.
    pub(crate) fn expire_all(&self, now: Timestamp) -> std::io::Result<()> {
        let mut by_key = self.lock();
        for session in by_key.values_mut() {
            let mut ended = Session::clone(session);
            ended.expires = ended.expires.min(now);
            append(&self.file, &ended)?;
            *session = Arc::new(ended);
        }
        Ok(())
    }

    /// The secret key and the token of every session.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let by_key = self.lock();
        let of_session = |it: &Arc<Session>| [it.secret_access_key.clone(), it.token.clone()];
        by_key.values().flat_map(of_session).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A later line for the same key replaces the earlier one.
fn append(file: &Path, session: &Session) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(session)?;
    line.push(b'\n');
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(file)?;
    file.write_all(&line)
}

fn random_text(chars: &[u8], length: usize) -> String {
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(chars[random.random_range(0..chars.len())]))
        .collect()
}
