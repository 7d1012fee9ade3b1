//! Publishing with confirms, over a connection that is replaced whenever it breaks.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Reconnect, connect};

/// How long the broker may take to confirm a message.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message that is not urgent waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// AMQP's delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// Why a message is not known to be in a queue. It may be all the same: whoever publishes again
/// publishes twice, which does no harm to jobs.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection now.
    #[error("the message broker is not connected")]
    NotConnected,
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
    /// A header's name and text.
    pub header: Option<(&'static str, String)>,
}

/// A handle to the one publishing connection of a process.
#[derive(Debug, Clone)]
pub struct Publisher {
    channel: watch::Receiver<Option<Channel>>,
}

impl Publisher {
    /// Starts connecting, and keeps a connection until `shutdown`; the task ends after it.
    pub fn start(url: String, name: String, shutdown: CancellationToken) -> (Self, JoinHandle<()>) {
        let (sender, channel) = watch::channel(None);
        let task = tokio::spawn(keep_connected(url, name, sender, shutdown));
        (Self { channel }, task)
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.channel
            .borrow()
            .as_ref()
            .is_some_and(|c| c.status().connected())
    }

    /// Publishes a persistent message that must reach a queue, and waits for the broker's confirm.
    ///
    /// # Errors
    /// See [`PublishError`]; at once where there is no connection.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), PublishError> {
        match self
            .confirmed(exchange, routing_key, body, properties)
            .await?
        {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(PublishError::Unroutable),
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(PublishError::Refused),
        }
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
        let mut channel = self.channel.clone();
        let connected = channel.wait_for(Option::is_some);
        // In vain or not, publishing tells.
        let _ = tokio::time::timeout(CONNECTION_WAIT, connected).await;
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

    async fn confirmed(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<Confirmation, PublishError> {
        let channel = self
            .channel
            .borrow()
            .clone()
            .ok_or(PublishError::NotConnected)?;
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let publishing = async {
            channel
                .basic_publish(
                    exchange.into(),
                    routing_key.into(),
                    mandatory,
                    body,
                    amqp_properties(properties),
                )
                .await?
                .await
        };
        let confirmation = tokio::time::timeout(CONFIRM_TIMEOUT, publishing)
            .await
            .map_err(|_| PublishError::TimedOut)??;
        Ok(confirmation)
    }
}

fn amqp_properties(properties: Properties) -> BasicProperties {
    let mut amqp = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT);
    if let Some(id) = properties.correlation_id {
        amqp = amqp.with_correlation_id(id.into());
    }
    if let Some((name, value)) = properties.header {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
        amqp = amqp.with_headers(headers);
    }
    amqp
}

async fn keep_connected(
    url: String,
    name: String,
    sender: watch::Sender<Option<Channel>>,
    shutdown: CancellationToken,
) {
    let mut reconnect = Reconnect::default();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            ended = one_connection(&url, &name, &sender, &mut reconnect) => {
                sender.send_replace(None);
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
    sender.send_replace(None);
}

/// Holds one connection until it breaks.
async fn one_connection(
    url: &str,
    name: &str,
    sender: &watch::Sender<Option<Channel>>,
    reconnect: &mut Reconnect,
) -> Result<(), super::ConnectError> {
    let connection = connect(url, name).await?;
    let mut events = std::pin::pin!(connection.events_listener());
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    reconnect.connected();
    tracing::info!("publishing is possible");
    sender.send_replace(Some(channel.clone()));

    // A broken connection shows as an event; a channel that the broker closed alone (a precondition,
    // a missing exchange) shows in its status only.
    loop {
        match tokio::time::timeout(Duration::from_secs(1), events.next()).await {
            Ok(Some(Event::Error(error))) => return Err(error.into()),
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(_) if !channel.status().connected() => return Ok(()),
            Err(_) => {}
        }
    }
}
