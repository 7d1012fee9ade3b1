//! Exchanges and queues, declared the same way by whoever connects.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// The direct exchange that jobs are published to.
pub const JOBS_EXCHANGE: &str = "audit-export";
/// The topic exchange that outcomes are published to.
pub const RESULTS_EXCHANGE: &str = "audit-export.results";
/// The exchange, and the one queue behind it, of messages that nobody could work on.
pub const DEAD_LETTERS: &str = "audit-export.dead";
/// The header in which a dead letter says why it is one.
pub const REASON_HEADER: &str = "x-audit-export-reason";

/// Routing key and queue of export jobs.
pub const EXPORT: JobQueue = JobQueue {
    routing_key: "export",
    queue: "audit-export.export",
};
/// Routing key and queue of test jobs.
pub const TEST_CONNECTION: JobQueue = JobQueue {
    routing_key: "test-connection",
    queue: "audit-export.test-connection",
};

/// Where jobs of one kind go.
#[derive(Debug, Clone, Copy)]
pub struct JobQueue {
    /// On [`JOBS_EXCHANGE`].
    pub routing_key: &'static str,
    /// The durable quorum queue.
    pub queue: &'static str,
}

/// How often a message is delivered again before it is a dead letter.
const DELIVERY_LIMIT: i64 = 20;
/// Jobs waiting at most in one queue; more are refused at the publisher, whose rows stay.
const MAX_JOBS: i64 = 1_000_000;
/// Dead letters kept at most; the oldest go first.
const MAX_DEAD_LETTERS: i64 = 100_000;
/// How often a dead letter may be looked at, which counts as a delivery: without end. It has to be
/// said, since from RabbitMQ 4.0 on a quorum queue that says nothing drops a message after 20, and as a
/// number, since 3.10 knows none that means no limit.
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Declares everything; what exists already must be as declared here.
///
/// # Errors
/// The broker's, such as `PRECONDITION_FAILED` for a queue declared otherwise.
pub async fn declare(channel: &Channel) -> lapin::Result<()> {
    let exchanges = [
        (JOBS_EXCHANGE, ExchangeKind::Direct),
        (RESULTS_EXCHANGE, ExchangeKind::Topic),
        (DEAD_LETTERS, ExchangeKind::Fanout),
    ];
    for (name, kind) in exchanges {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(name.into(), kind, durable, FieldTable::default())
            .await?;
    }

    let mut dead = FieldTable::default();
    dead.insert("x-queue-type".into(), text("quorum"));
    dead.insert(
        "x-max-length".into(),
        AMQPValue::LongLongInt(MAX_DEAD_LETTERS),
    );
    dead.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(DEAD_DELIVERY_LIMIT),
    );
    declare_queue(channel, DEAD_LETTERS, DEAD_LETTERS, "", dead).await?;

    for JobQueue { routing_key, queue } in [EXPORT, TEST_CONNECTION] {
        // At-least-once dead-lettering needs reject-publish.
        let mut jobs = FieldTable::default();
        jobs.insert("x-queue-type".into(), text("quorum"));
        jobs.insert(
            "x-delivery-limit".into(),
            AMQPValue::LongLongInt(DELIVERY_LIMIT),
        );
        jobs.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_JOBS));
        jobs.insert("x-overflow".into(), text("reject-publish"));
        jobs.insert("x-dead-letter-exchange".into(), text(DEAD_LETTERS));
        jobs.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        declare_queue(channel, queue, JOBS_EXCHANGE, routing_key, jobs).await?;
    }
    Ok(())
}

async fn declare_queue(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    routing_key: &str,
    arguments: FieldTable,
) -> lapin::Result<()> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await?;
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
