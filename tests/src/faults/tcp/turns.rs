//! How often clients of a proxy wait for an answer, and for how long.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Of all connections so far.
#[derive(Debug, Default)]
pub(super) struct Turns {
    count: AtomicU64,
    waited_nanoseconds: AtomicU64,
}

/// Whose turn it is on a connection, and up to when the wait for the server is counted.
#[derive(Debug, Default)]
pub(super) enum Turn {
    #[default]
    Nobodys,
    Servers(Instant),
    /// It has answered, as far as is known.
    Clients(Instant),
}

impl Turns {
    /// Something came from the client.
    pub(super) fn asked(&self, turn: &mut Turn) {
        if !matches!(turn, Turn::Servers(_)) {
            self.count.fetch_add(1, Ordering::SeqCst);
            *turn = Turn::Servers(Instant::now());
        }
    }

    /// Something came from the server.
    pub(super) fn answered(&self, turn: &mut Turn) {
        let now = Instant::now();
        if let Turn::Servers(since) | Turn::Clients(since) = turn {
            let nanoseconds = u64::try_from((now - *since).as_nanos()).unwrap();
            self.waited_nanoseconds
                .fetch_add(nanoseconds, Ordering::SeqCst);
            *turn = Turn::Clients(now);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_nanoseconds.load(Ordering::SeqCst))
    }
}
