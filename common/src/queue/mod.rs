//! RabbitMQ: connecting, the topology, and publishing with confirms.
//!
//! The client library's own recovery stays off: with it, confirms in flight hang for a whole outage
//! and consumers fall silent. Instead whoever holds a connection ends it on any error and makes a new
//! one, after a pause that grows and is jittered ([`Reconnect`]).

mod publisher;
pub mod topology;

use std::time::Duration;

use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
pub use publisher::{Properties, PublishError, Publisher};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between heartbeats where the URL names none; a frozen broker is noticed after two.
const HEARTBEAT_SECONDS: u16 = 10;

/// Why there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of AMQP.
    #[error("AMQP_URL is not an AMQP URL: {0}")]
    Url(String),
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
/// What is wrong with it.
pub fn parse_url(url: &str) -> Result<AMQPUri, ConnectError> {
    let mut uri: AMQPUri = url.parse().map_err(ConnectError::Url)?;
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
