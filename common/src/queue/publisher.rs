//! Publishing with confirms, over a connection that is replaced whenever it breaks.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::Event;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Reconnect, connect, events,
    link::{CONFIRM_TIMEOUT, Link},
    retire,
};

/// How long a message that is not urgent waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// Why a message is not known to be in a queue. It may be all the same: whoever publishes again
/// publishes twice, which does no harm to jobs.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection now.
    #[error("the message broker is not connected")]
    NotConnected,
    /// The broker is short of memory or disk space and takes nothing until it has some.
    #[error("the message broker takes no messages now")]
    Blocked,
    /// The connection broke.
    #[error("the message broker failed: {0}")]
    Broker(#[from] lapin::Error),
    /// The broker refused, as a full queue does.
    #[error("the message broker refused the message")]
    Refused,
    /// No queue is bound where it went.
    #[error("no queue takes the message")]
    Unroutable,
    /// No confirm in time.
    #[error("the message broker did not confirm within {} s", CONFIRM_TIMEOUT.as_secs())]
    TimedOut,
}

/// A message's properties, as far as they are used here.
#[derive(Debug, Default)]
pub struct Properties {
    /// What a requester knows the answer by.
    pub correlation_id: Option<String>,
    /// The queue that a requester wants the answer in.
    pub reply_to: Option<String>,
    /// When it was published, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// A header's name and text.
    pub header: Option<(&'static str, String)>,
}

/// A handle to the one publishing connection of a process.
///
/// A connection is made anew, and the topology declared with it, also when it seems well but a
/// message was not confirmed in time, or a job found no queue.
#[derive(Debug, Clone)]
pub struct Publisher {
    state: watch::Receiver<State>,
}

/// What publishing finds.
#[derive(Debug, Clone)]
enum State {
    Away,
    Blocked,
    Ready(Link),
}

impl State {
    fn link(&self) -> Result<&Link, PublishError> {
        match self {
            Self::Ready(link) if link.is_usable() => Ok(link),
            Self::Ready(_) | Self::Away => Err(PublishError::NotConnected),
            Self::Blocked => Err(PublishError::Blocked),
        }
    }
}

impl Publisher {
    /// Starts connecting, and keeps a connection until `shutdown`; the task ends after it.
    pub fn start(url: String, name: String, shutdown: CancellationToken) -> (Self, JoinHandle<()>) {
        let (sender, state) = watch::channel(State::Away);
        let task = tokio::spawn(keep_connected(url, name, sender, shutdown));
        (Self { state }, task)
    }

    /// Whether there is a connection now over which the broker takes messages.
    pub fn is_connected(&self) -> bool {
        self.state.borrow().link().is_ok()
    }

    /// Publishes a persistent message that must reach a queue, and waits for the broker's confirm.
    ///
    /// # Errors
    /// See [`PublishError`]; at once where there is no connection, or one that is blocked.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), PublishError> {
        let link = self.state.borrow().link()?.clone();
        let published = tokio::select! {
            published = link.publish(exchange, routing_key, body, properties) => published,
            () = self.blocked() => return Err(PublishError::Blocked),
        };
        if let Err(PublishError::Broker(_) | PublishError::TimedOut) = published {
            link.give_up();
        }
        published
    }

    /// Like [`Publisher::publish`], but waits a moment for a connection that is coming about, as it
    /// does when a process starts or the broker was restarted.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_soon(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), PublishError> {
        let mut state = self.state.clone();
        let known = state.wait_for(|s| !matches!(s.link(), Err(PublishError::NotConnected)));
        // In vain or not, publishing tells.
        let _ = tokio::time::timeout(CONNECTION_WAIT, known).await;
        self.publish(exchange, routing_key, body, properties).await
    }

    /// Publishes an outcome, which nobody may be listening for, as soon as there is a connection.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn announce(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), PublishError> {
        match self
            .publish_soon(exchange, routing_key, body, properties)
            .await
        {
            Err(PublishError::Unroutable) => Ok(()),
            other => other,
        }
    }

    /// Ends when the broker blocks the connection, which it tells when something is published.
    async fn blocked(&self) {
        let mut state = self.state.clone();
        let blocked = state.wait_for(|state| matches!(state, State::Blocked));
        if blocked.await.is_err() {
            std::future::pending().await
        }
    }
}

async fn keep_connected(
    url: String,
    name: String,
    sender: watch::Sender<State>,
    shutdown: CancellationToken,
) {
    let mut reconnect = Reconnect::default();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            ended = one_connection(&url, &name, &sender, &mut reconnect) => {
                sender.send_replace(State::Away);
                if let Err(error) = ended {
                    tracing::warn!(%error, "publishing is interrupted; connecting again");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(reconnect.pause()) => {}
        }
    }
    sender.send_replace(State::Away);
}

/// Holds one connection until it breaks or is given up.
async fn one_connection(
    url: &str,
    name: &str,
    sender: &watch::Sender<State>,
    reconnect: &mut Reconnect,
) -> Result<(), super::ConnectError> {
    let connection = connect(url, name).await?;
    let mut happening = events(&connection);
    let link = Link::open(&connection).await?;
    reconnect.connected();
    tracing::info!("publishing is possible");
    sender.send_replace(State::Ready(link.clone()));

    // A broken connection shows as an event; a channel that the broker closed alone (a precondition,
    // a missing exchange) shows in its status for sure.
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            event = happening.next() => match event {
                Some(Event::Error(error)) => return Err(error.into()),
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "the broker takes no messages");
                    sender.send_replace(State::Blocked);
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("the broker takes messages again");
                    sender.send_replace(State::Ready(link.clone()));
                }
                Some(_) => {}
                None => return Ok(()),
            },
            () = link.given_up() => {
                tracing::info!("the connection is replaced");
                tokio::spawn(retire(connection, happening));
                return Ok(());
            }
            _ = look.tick() => {
                if !link.is_usable() {
                    return Ok(());
                }
            }
        }
    }
}
