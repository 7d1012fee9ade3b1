//! Waiting for the results of connection tests: one listening connection per process wakes those
//! who wait.
//!
//! Notifications get lost, with the connection or before it was there. So they only tell when to
//! look; whoever waits also looks at the row at once, after every reconnect, and every second.

use std::{future::poll_fn, time::Duration};

use common::{
    db::{
        self, Tenant,
        connection_tests::{self, Finished},
    },
    ids::{OrgId, TestId},
    queue::Reconnect,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::broadcast::{Receiver, Sender, error::RecvError},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// How often whoever waits looks at the row without having been told to.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Notifications that a slow waiter may lag behind; one that lags further just looks.
const BACKLOG: usize = 256;

/// What those who wait are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// This test has ended.
    Finished(TestId),
    /// The connection is there again: any test may have ended meanwhile.
    Everyone,
}

/// Where to wait for tests to end.
#[derive(Debug, Clone)]
pub struct FinishedTests {
    pool: db::Pool,
    wakes: Sender<Wake>,
}

impl FinishedTests {
    /// Starts listening, and goes on until `shutdown`; the task ends after it.
    pub fn start(
        pool: db::Pool,
        url: SecretString,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let wakes = Sender::new(BACKLOG);
        let task = tokio::spawn(keep_listening(url, wakes.clone(), shutdown));
        (Self { pool, wakes }, task)
    }

    /// Waits for a test's result; `None` where there is none in time.
    ///
    /// # Errors
    /// The database cannot be asked at the end of the wait. Trouble before that is sat out.
    pub async fn wait(
        &self,
        org: &OrgId,
        test: TestId,
        timeout: Duration,
    ) -> Result<Option<Finished>, ApiError> {
        let deadline = Instant::now() + timeout;
        // First subscribe, then look: an end in between is not missed.
        let mut wakes = self.wakes.subscribe();
        loop {
            let looked = self.look(org, test).await;
            if Instant::now() >= deadline {
                return looked;
            }
            if let Ok(Some(finished)) = looked {
                return Ok(Some(finished));
            }
            let next_look = deadline.min(Instant::now() + LOOK_INTERVAL);
            // Nothing to tell from an elapsed time: either way it is time to look.
            let _ = timeout_at(next_look, woken(&mut wakes, test)).await;
        }
    }

    async fn look(&self, org: &OrgId, test: TestId) -> Result<Option<Finished>, ApiError> {
        let client = self.pool.get().await?;
        Ok(connection_tests::find_finished(&Tenant::of(&client, org), test).await?)
    }
}

/// Returns when it is time to look at the test.
async fn woken(wakes: &mut Receiver<Wake>, test: TestId) {
    loop {
        match wakes.recv().await {
            Ok(Wake::Finished(finished)) if finished != test => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // Nobody will be woken any more; the looks every second go on.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn keep_listening(url: SecretString, wakes: Sender<Wake>, shutdown: CancellationToken) {
    let mut reconnect = Reconnect::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = listen(&url, &wakes, &mut reconnect) => {
                if let Err(error) = ended {
                    tracing::warn!(%error, "listening for test results is interrupted; connecting again");
                }
            }
        }
        let pause = Instant::now() + reconnect.pause();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(pause) => {}
        }
    }
}

/// Listens until the connection breaks.
async fn listen(
    url: &SecretString,
    wakes: &Sender<Wake>,
    reconnect: &mut Reconnect,
) -> Result<(), db::ConnectError> {
    let server = db::Server::parse(url.expose_secret(), "audit-export-listen")?;
    let (client, mut connection) = server.connect().await?;
    let forwarding = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message?
                && let Ok(test) = notification.payload().parse()
            {
                // Nobody waits: nobody needs to be told.
                let _ = wakes.send(Wake::Finished(test));
            }
        }
        Ok::<(), db::ConnectError>(())
    };
    let listening = async {
        client
            .batch_execute(&format!("listen {}", connection_tests::FINISHED_CHANNEL))
            .await?;
        reconnect.connected();
        let _ = wakes.send(Wake::Everyone);
        // The client must live as long as the connection is to.
        std::future::pending::<Result<(), db::ConnectError>>().await
    };
    tokio::select! {
        ended = forwarding => ended,
        failed = listening => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_own_test_wakes() {
        let wakes: Sender<Wake> = Sender::new(2);
        let (mine, other) = (TestId::new(), TestId::new());
        let mut receiver = wakes.subscribe();
        let mut woken_soon = async || {
            tokio::time::timeout(Duration::from_millis(50), woken(&mut receiver, mine))
                .await
                .is_ok()
        };
        wakes.send(Wake::Finished(other)).unwrap();
        assert!(!woken_soon().await);
        wakes.send(Wake::Finished(mine)).unwrap();
        assert!(woken_soon().await);
        wakes.send(Wake::Everyone).unwrap();
        assert!(woken_soon().await);
        // More than the backlog holds: something was missed, so it is time to look.
        for _ in 0..5 {
            wakes.send(Wake::Finished(other)).unwrap();
        }
        assert!(woken_soon().await);
        drop(wakes);
        assert!(!woken_soon().await);
    }
}
