//! Where the state comes from: a value that tests change, or a file that is read again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::state::{BadState, State};

/// Where the server gets its state from.
#[derive(Debug, Clone)]
pub enum StateSource {
    /// A value; change it with [`crate::LocalAws::update`].
    Value(Box<State>),
    /// A JSON file, read again whenever it has changed on disk.
    File(PathBuf),
}

impl From<State> for StateSource {
    fn from(state: State) -> Self {
        Self::Value(Box::new(state))
    }
}

/// What tells one version of the file from another. The inode changes when the file is replaced.
type Fingerprint = (i64, i64, u64, u64);

/// The state of now.
pub(crate) struct StateCell {
    current: RwLock<Arc<State>>,
    file: Option<WatchedFile>,
}

struct WatchedFile {
    path: PathBuf,
    /// Of the version last tried, good or bad; `None` while the file is missing.
    seen: Mutex<Option<Fingerprint>>,
}

impl StateCell {
    pub(crate) fn open(source: StateSource) -> Result<Self, BadState> {
        match source {
            StateSource::Value(state) => {
                state.check()?;
                Ok(Self {
                    current: RwLock::new(Arc::new(*state)),
                    file: None,
                })
            }
            StateSource::File(path) => {
                let seen = Mutex::new(fingerprint(&path));
                let state = read(&path)?;
                let file = Some(WatchedFile { path, seen });
                Ok(Self {
                    current: RwLock::new(Arc::new(state)),
                    file,
                })
            }
        }
    }

    /// The state of now. A file that changed for the worse is logged once and the old state stays.
    pub(crate) fn current(&self) -> Arc<State> {
        if let Some(file) = &self.file {
            let now = fingerprint(&file.path);
            let mut seen = file.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen != now {
                *seen = now;
                match read(&file.path) {
                    Ok(state) => {
                        tracing::info!(path = %file.path.display(), "state read again");
                        self.set(state);
                    }
                    Err(error) => tracing::error!(%error, "the old state stays"),
                }
            }
        }
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state, unless the result makes no sense.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) -> Result<(), BadState> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&current);
        change(&mut state);
        state.check()?;
        *current = Arc::new(state);
        Ok(())
    }

    fn set(&self, state: State) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

fn read(path: &Path) -> Result<State, BadState> {
    let explain = |reason: String| BadState(format!("{}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|error| explain(error.to_string()))?;
    let state: State = serde_json::from_slice(&text).map_err(|error| explain(error.to_string()))?;
    state.check().map_err(|error| explain(error.0))?;
    Ok(state)
}
