//! One connection to publish over.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio_util::sync::CancellationToken;

use super::{Properties, PublishError, topology::RESULTS_EXCHANGE};

/// How long the broker may take to confirm a message.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// AMQP's delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// A connection's channel for messages with confirms.
#[derive(Debug, Clone)]
pub struct Link {
    channel: Channel,
    /// Cancelled when the connection is to be replaced.
    given_up: CancellationToken,
}

impl Link {
    /// Opens a channel for them.
    ///
    /// # Errors
    /// The broker's.
    pub async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            channel,
            given_up: CancellationToken::new(),
        })
    }

    /// Whether messages may still go over it.
    pub(super) fn is_usable(&self) -> bool {
        self.channel.status().connected() && !self.given_up.is_cancelled()
    }

    /// Has it replaced.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Ends when it is to be replaced.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// Publishes a persistent message that must reach a queue, and waits for the confirm.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), PublishError> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let publishing = async {
            self.channel
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
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => {
                // Of several messages under way the library may hand over another's return.
                let (to, key) = (returned.exchange.as_str(), returned.routing_key.as_str());
                if needs_a_queue(to) {
                    self.give_up();
                }
                if (to, key) == (exchange, routing_key) {
                    return Err(PublishError::Unroutable);
                }
                Ok(())
            }
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(PublishError::Refused),
        }
    }
}

/// Whether the topology is broken where a message to this exchange finds no queue. Nobody may be
/// listening for outcomes, nor on the queue that a requester has named.
fn needs_a_queue(exchange: &str) -> bool {
    ![RESULTS_EXCHANGE, ""].contains(&exchange)
}

fn amqp_properties(properties: Properties) -> BasicProperties {
    let mut amqp = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT);
    if let Some(id) = properties.correlation_id {
        amqp = amqp.with_correlation_id(id.into());
    }
    if let Some(queue) = properties.reply_to {
        amqp = amqp.with_reply_to(queue.into());
    }
    if let Some(seconds) = properties.timestamp {
        amqp = amqp.with_timestamp(seconds);
    }
    if let Some((name, value)) = properties.header {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
        amqp = amqp.with_headers(headers);
    }
    amqp
}
