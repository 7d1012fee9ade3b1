//! The clock that requests are signed with: the system's, corrected when a service says that it is
//! off by too much.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_smithy_async::time::TimeSource;
use jiff::Timestamp;

/// The system's clock plus what was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct SigningClock {
    offset_seconds: Arc<AtomicI64>,
}

impl SigningClock {
    /// Takes over a service's time.
    pub(super) fn correct(&self, server_time: Timestamp) {
        let offset = server_time.as_second() - Timestamp::now().as_second();
        self.offset_seconds.store(offset, Ordering::Relaxed);
        tracing::warn!(
            offset_seconds = offset,
            "this machine's clock is off; requests are signed with the service's time"
        );
    }
}

impl TimeSource for SigningClock {
    fn now(&self) -> SystemTime {
        let offset = self.offset_seconds.load(Ordering::Relaxed);
        let by = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_believed_in_either_direction() {
        for hours in [-2, 2] {
            let clock = SigningClock::default();
            let server = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            clock.correct(server);
            let now = Timestamp::try_from(clock.now()).unwrap();
            assert!(now.duration_since(server).abs() < jiff::SignedDuration::from_secs(2));
        }
    }
}
