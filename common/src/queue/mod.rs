//! RabbitMQ: connecting, the topology, and publishing with confirms.
//!
//! The client library's own recovery stays off: with it, confirms in flight hang for a whole outage
//! and consumers fall silent. Instead whoever holds a connection ends it on any error and makes a new
//! one, after a pause that grows and is jittered ([`Reconnect`]).

mod link;
mod publisher;
pub mod topology;

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use lapin::{Connection, ConnectionProperties, Event, uri::AMQPUri};
pub use link::Link;
pub use publisher::{Properties, PublishError, Publisher};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between heartbeats where the URL names none; a frozen broker is noticed after two.
const HEARTBEAT_SECONDS: u16 = 10;

/// Why there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of AMQP. The parser's own words may repeat it, with its password.
    #[error("AMQP_URL is not an AMQP URL, like amqps://user:password@host:5671/vhost")]
    Url,
    /// No answer in time.
    #[error("the broker did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// The broker refused, or is not there.
    #[error(transparent)]
    Broker(#[from] lapin::Error),
}

/// Checks an AMQP URL and reads it.
///
/// # Errors
/// It is not one.
pub fn parse_url(url: &str) -> Result<AMQPUri, ConnectError> {
    let mut uri: AMQPUri = url.parse().map_err(|_| ConnectError::Url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

/// Connects under a name that the broker shows, and declares the topology.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(url: &str, name: &str) -> Result<Connection, ConnectError> {
    let uri = parse_url(url)?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = async {
        let connection = Connection::connect_uri(uri, properties).await?;
        let channel = connection.create_channel().await?;
        topology::declare(&channel).await?;
        // Its work is done. Should the broker have closed it first, the next channel will tell.
        let _ = channel.close(200, "declared".into()).await;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut)?
}

/// What happens to a connection, on its own: it borrows nothing.
pub type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Listens to what happens to a connection from now on.
pub fn events(connection: &Connection) -> Events {
    Box::pin(connection.events_listener())
}

/// Ends a connection that is no longer used though it seems well.
///
/// Not at once: the library stops watching the heartbeats of a connection that it closes, and would
/// wait for the answer of a frozen broker for good.
async fn retire(connection: Connection, mut events: Events) {
    let heartbeat = Duration::from_secs(connection.configuration().heartbeat().into());
    let broken = async {
        while let Some(event) = events.next().await {
            if let Event::Error(_) = event {
                break;
            }
        }
    };
    let time = 2 * heartbeat + Duration::from_secs(1);
    if tokio::time::timeout(time, broken).await.is_err() {
        let _ = connection.close(200, "replaced".into()).await;
    }
}

/// The pauses between attempts to connect: doubling from 200 ms to 10 s, each half jittered.
#[derive(Debug, Default)]
pub struct Reconnect {
    failures: u32,
}

impl Reconnect {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let full = Duration::from_millis(200)
            .saturating_mul(1 << self.failures.min(8))
            .min(Duration::from_secs(10));
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..1.0))
    }

    /// To be told when a connection has come about.
    pub fn connected(&mut self) {
        self.failures = 0;
    }
}
