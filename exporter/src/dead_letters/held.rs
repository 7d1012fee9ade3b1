//! Dead letters in hand: taken from their queue, and given back unless they are acked.

use std::time::Duration;

use common::queue::topology::DEAD_LETTERS;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::Error;

/// When nothing has come for so long, somebody else has the rest in hand.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the queue may take to show what was given back.
const GIVE_BACK_TIME: Duration = Duration::from_secs(5);
/// Between two looks at it.
const INTERVAL: Duration = Duration::from_millis(20);

/// The messages that lie in the queue at one moment, the oldest first.
///
/// A quorum queue puts what comes back behind what came back earlier and before all else, and keeps
/// the order only of what one consumer had. So all are taken, up to the 65,535 that AMQP allows, even
/// where few are wanted: then they lie as they lay before. With more, those move behind the others.
pub struct Held {
    channel: Channel,
    messages: Consumer,
    count: u32,
    to_come: u32,
    removed: u32,
}

impl Held {
    /// Takes them. What dies from now on is not among them.
    ///
    /// # Errors
    /// The broker's.
    pub async fn take(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        let count = waiting(&channel).await?;
        // 0 would be no bound.
        let prefetch = u16::try_from(count).unwrap_or(u16::MAX).max(1);
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await?;
        let messages = channel
            .basic_consume(
                DEAD_LETTERS.into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Self {
            channel,
            messages,
            count,
            to_come: count,
            removed: 0,
        })
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next one.
    ///
    /// # Errors
    /// The broker's.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        if self.to_come == 0 {
            return Ok(None);
        }
        match tokio::time::timeout(SILENCE, self.messages.next()).await {
            Ok(Some(delivery)) => {
                self.to_come -= 1;
                Ok(Some(delivery?))
            }
            Ok(None) => Err(Error::Gone),
            Err(_) => Ok(None),
        }
    }

    /// To be told of each that was acked.
    pub fn removed(&mut self) {
        self.removed += 1;
    }

    /// Gives back what was not acked, and waits until it can be taken again.
    ///
    /// # Errors
    /// The broker's.
    pub async fn give_back(self, connection: &Connection) -> lapin::Result<()> {
        self.channel.close(200, "done".into()).await?;
        let channel = connection.create_channel().await?;
        let back = async {
            while waiting(&channel).await? < self.count.saturating_sub(self.removed) {
                tokio::time::sleep(INTERVAL).await;
            }
            lapin::Result::Ok(())
        };
        // Where it takes longer, somebody else has taken them meanwhile.
        tokio::time::timeout(GIVE_BACK_TIME, back)
            .await
            .unwrap_or(Ok(()))?;
        // Left to itself it would still be closing when the connection is, which the library refuses.
        channel.close(200, "done".into()).await
    }
}

/// Messages that nobody has in hand.
async fn waiting(channel: &Channel) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(DEAD_LETTERS.into(), passive, FieldTable::default())
        .await?;
    Ok(queue.message_count())
}
