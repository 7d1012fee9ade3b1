//! The only part that sees a delivery: takes messages, hands jobs out, and settles the messages.
//!
//! Test jobs have a channel and slots of their own, so that exports never starve them. A connection
//! that shows any error is given up with all its channels; its unsettled messages come again, and
//! their rows tell what they are.

use std::{sync::Arc, time::Duration};

use common::{
    db::connection_tests::ReplyTo,
    jobs::Job,
    queue::{self, ConnectError, Properties, Reconnect, topology, topology::JobQueue},
};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, Consumer, Event,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions,
        BasicRejectOptions,
    },
    types::{FieldTable, ShortString},
};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    context::{Context, Disposition},
    crash, export, test_connection,
};

/// Test jobs at once.
pub const TEST_SLOTS: u16 = 4;
/// How long the broker may take to answer when we drain.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Jobs of one kind: their queue, and how many are worked on at once in this process, whatever
/// becomes of connections.
#[derive(Clone)]
struct Lane {
    queue: JobQueue,
    slots: u16,
    semaphore: Arc<Semaphore>,
}

/// Consumes until `drain`, then waits for the jobs in progress.
pub async fn run(context: Arc<Context>, drain: CancellationToken) {
    let lanes = [
        Lane {
            queue: topology::EXPORT,
            slots: context.config.concurrency,
            semaphore: context.export_slots.clone(),
        },
        Lane {
            queue: topology::TEST_CONNECTION,
            slots: TEST_SLOTS,
            semaphore: Arc::new(Semaphore::new(TEST_SLOTS.into())),
        },
    ];
    let jobs = TaskTracker::new();
    let mut reconnect = Reconnect::default();
    while !drain.is_cancelled() {
        match one_connection(&context, &lanes, &jobs, &drain, &mut reconnect).await {
            Ok(()) => {}
            Err(error) if drain.is_cancelled() => tracing::debug!(%error, "while ending"),
            Err(error) => tracing::warn!(%error, "consuming is interrupted; connecting again"),
        }
        tokio::select! {
            () = drain.cancelled() => {}
            () = tokio::time::sleep(reconnect.pause()) => {}
        }
    }
    jobs.close();
    jobs.wait().await;
}

/// Consumes over one connection until it breaks; when draining, holds it until the jobs are done,
/// whose messages are still to be settled.
async fn one_connection(
    context: &Arc<Context>,
    lanes: &[Lane; 2],
    jobs: &TaskTracker,
    drain: &CancellationToken,
    reconnect: &mut Reconnect,
) -> Result<(), ConnectError> {
    let [exports, tests] = lanes;
    let url = context.config.amqp_url.expose_secret();
    let opening = async {
        let connection = queue::connect(url, "audit-export-exporter").await?;
        let events = queue::events(&connection);
        let of_exports = consume(&connection, exports).await?;
        let of_tests = consume(&connection, tests).await?;
        Ok::<_, ConnectError>((connection, events, of_exports, of_tests))
    };
    let (connection, mut events, of_exports, of_tests) = tokio::select! {
        opened = opening => opened?,
        () = drain.cancelled() => return Ok(()),
    };
    let (export_channel, mut export_messages) = of_exports;
    let (test_channel, mut test_messages) = of_tests;
    reconnect.connected();
    tracing::info!("waiting for jobs");

    loop {
        tokio::select! {
            () = drain.cancelled() => break,
            event = events.next() => match event {
                Some(Event::Error(error)) => return Err(error.into()),
                Some(_) => {}
                None => return Ok(()),
            },
            // A stream that ends means that the queue was deleted or the channel closed.
            message = export_messages.next() => match message {
                Some(message) => start(context, exports, jobs, drain, message?),
                None => return Ok(()),
            },
            message = test_messages.next() => match message {
                Some(message) => start(context, tests, jobs, drain, message?),
                None => return Ok(()),
            },
        }
    }
    tracing::info!(jobs = jobs.len(), "draining");
    // A broker that does not answer any more must not hold up the end.
    let cancelling = async {
        for (channel, consumer) in [
            (&export_channel, export_messages),
            (&test_channel, test_messages),
        ] {
            channel
                .basic_cancel(consumer.tag(), BasicCancelOptions::default())
                .await?;
        }
        Ok::<_, lapin::Error>(())
    };
    if let Ok(cancelled) = tokio::time::timeout(ANSWER_TIMEOUT, cancelling).await {
        cancelled?;
    }
    jobs.close();
    jobs.wait().await;
    let closing = connection.close(200, "drained".into());
    if let Ok(closed) = tokio::time::timeout(ANSWER_TIMEOUT, closing).await {
        closed?;
    }
    Ok(())
}

async fn consume(connection: &Connection, lane: &Lane) -> lapin::Result<(Channel, Consumer)> {
    let channel = connection.create_channel().await?;
    channel
        .basic_qos(lane.slots, BasicQosOptions::default())
        .await?;
    let consumer = channel
        .basic_consume(
            lane.queue.queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok((channel, consumer))
}

fn start(
    context: &Arc<Context>,
    lane: &Lane,
    jobs: &TaskTracker,
    drain: &CancellationToken,
    delivery: Delivery,
) {
    let context = context.clone();
    let lane = lane.clone();
    let drain = drain.clone();
    jobs.spawn(async move {
        // Held for longer than the message where a connection broke meanwhile. What still waits when
        // the process is to end goes back to the queue.
        let slot = tokio::select! {
            biased;
            slot = lane.semaphore.acquire() => slot,
            () = drain.cancelled() => return,
        };
        // Never closed.
        let Ok(_slot) = slot else { return };
        let disposition = work(&context, &delivery).await;
        crash::point("settling");
        settle(&context, &lane, delivery, disposition).await;
        crash::point("settled");
    });
}

async fn work(context: &Context, delivery: &Delivery) -> Disposition {
    let job = match Job::decode(&delivery.data) {
        Ok(job) => job,
        Err(error) => return Disposition::DeadLetter(error.to_string()),
    };
    let reply_to = reply_to(&delivery.properties);
    match job {
        Job::Export { org_id, run_id, .. } => {
            let span = tracing::info_span!("export", org = %org_id, run = %run_id);
            export::handle(context, org_id, run_id, reply_to)
                .instrument(span)
                .await
        }
        Job::TestConnection {
            org_id, test_id, ..
        } => {
            let span = tracing::info_span!("test", org = %org_id, test = %test_id);
            test_connection::handle(context, org_id, test_id, reply_to)
                .instrument(span)
                .await
        }
    }
}

/// Who wants to be told what becomes of a message, and by which id.
fn reply_to(properties: &BasicProperties) -> ReplyTo {
    let text = |field: &Option<ShortString>| field.as_ref().map(ToString::to_string);
    ReplyTo {
        queue: text(properties.reply_to()),
        correlation_id: text(properties.correlation_id()),
    }
}

/// What a message that is passed on keeps, so that the requester is answered all the same.
pub fn of_the_same_requester(properties: &BasicProperties) -> Properties {
    let ReplyTo {
        queue,
        correlation_id,
    } = reply_to(properties);
    Properties {
        correlation_id,
        reply_to: queue,
        ..Properties::default()
    }
}

async fn settle(context: &Context, lane: &Lane, delivery: Delivery, disposition: Disposition) {
    let settled = match disposition {
        Disposition::Leave => return,
        Disposition::Ack => delivery.ack(BasicAckOptions::default()).await,
        Disposition::DeadLetter(reason) => {
            tracing::warn!(reason, "a message goes to the dead letters");
            let properties = Properties {
                timestamp: jiff::Timestamp::now().as_second().try_into().ok(),
                header: Some((topology::REASON_HEADER, reason)),
                ..of_the_same_requester(&delivery.properties)
            };
            let key = lane.queue.routing_key;
            let moved = context.publisher.publish_soon(
                topology::DEAD_LETTERS,
                key,
                &delivery.data,
                properties,
            );
            match moved.await {
                Ok(()) => delivery.ack(BasicAckOptions::default()).await,
                // The queue's own way, which does not tell the reason.
                Err(_) => delivery.reject(BasicRejectOptions { requeue: false }).await,
            }
        }
    };
    match settled {
        Ok(true) => {}
        Ok(false) => tracing::debug!("the channel is gone; the message will come again"),
        Err(error) => tracing::debug!(%error, "a message was not settled and will come again"),
    }
}
