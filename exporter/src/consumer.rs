//! The only part that sees a delivery: takes messages, hands jobs out, and settles the messages.
//!
//! Test jobs have a channel and slots of their own, so that exports never starve them. A connection
//! that shows any error is given up with all its channels; its unsettled messages come again, and
//! their rows tell what they are.

use std::sync::Arc;

use common::{
    db::connection_tests::ReplyTo,
    jobs::{InvalidJob, Job},
    queue::{self, ConnectError, Properties, Reconnect, topology, topology::JobQueue},
};
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer, Event,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions,
        BasicRejectOptions,
    },
    types::FieldTable,
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
    let connecting = queue::connect(
        context.config.amqp_url.expose_secret(),
        "audit-export-exporter",
    );
    let connection = tokio::select! {
        connection = connecting => connection?,
        () = drain.cancelled() => return Ok(()),
    };
    let mut events = std::pin::pin!(connection.events_listener());
    let [exports, tests] = lanes;
    let (export_channel, mut export_messages) = consume(&connection, exports).await?;
    let (test_channel, mut test_messages) = consume(&connection, tests).await?;
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
                Some(message) => start(context, exports, jobs, message?),
                None => return Ok(()),
            },
            message = test_messages.next() => match message {
                Some(message) => start(context, tests, jobs, message?),
                None => return Ok(()),
            },
        }
    }
    tracing::info!(jobs = jobs.len(), "draining");
    for (channel, consumer) in [
        (export_channel, export_messages),
        (test_channel, test_messages),
    ] {
        channel
            .basic_cancel(consumer.tag(), BasicCancelOptions::default())
            .await?;
    }
    jobs.close();
    jobs.wait().await;
    connection.close(200, "drained".into()).await?;
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

fn start(context: &Arc<Context>, lane: &Lane, jobs: &TaskTracker, delivery: Delivery) {
    let context = context.clone();
    let lane = lane.clone();
    jobs.spawn(async move {
        // Never closed. Held for longer than the message where a connection broke meanwhile.
        let Ok(_slot) = lane.semaphore.acquire().await else {
            return;
        };
        let disposition = work(&context, &delivery).await;
        crash::point("settling");
        settle(&context, &lane, delivery, disposition).await;
        crash::point("settled");
    });
}

async fn work(context: &Context, delivery: &Delivery) -> Disposition {
    let job = match Job::decode(&delivery.data) {
        Ok(job) => job,
        Err(error @ (InvalidJob::Malformed(_) | InvalidJob::Version(_))) => {
            return Disposition::DeadLetter(error.to_string());
        }
    };
    let text = |field: &Option<lapin::types::ShortString>| {
        field.as_ref().map(|text| text.as_str().to_owned())
    };
    let reply_to = ReplyTo {
        queue: text(delivery.properties.reply_to()),
        correlation_id: text(delivery.properties.correlation_id()),
    };
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

async fn settle(context: &Context, lane: &Lane, delivery: Delivery, disposition: Disposition) {
    let settled = match disposition {
        Disposition::Leave => return,
        Disposition::Ack => delivery.ack(BasicAckOptions::default()).await,
        Disposition::DeadLetter(reason) => {
            tracing::warn!(reason, "a message goes to the dead letters");
            let properties = Properties {
                header: Some((topology::REASON_HEADER, reason)),
                ..Properties::default()
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
