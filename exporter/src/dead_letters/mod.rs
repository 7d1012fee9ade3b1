//! `dead-letters`: a look at the queue of messages that nobody could work on, and its way back.

mod held;
mod letter;

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::{Args, Subcommand};
use common::{
    ids::OrgId,
    queue::{self, ConnectError, Link, PublishError, topology},
};
use held::Held;
use lapin::{Connection, message::Delivery, options::BasicAckOptions};
use letter::Letter;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{NAME, consumer::of_the_same_requester};

/// How long the broker may take to say good-bye.
const GOOD_BYE_TIME: Duration = Duration::from_secs(2);

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print them, the oldest first, one JSON object a line, and leave them where they are.
    List(List),
    /// Submit them again, the oldest first. What dies again is a dead letter again, and is not taken
    /// up a second time.
    Redrive(Redrive),
}

/// Which dead letters of which broker.
#[derive(Debug, Args)]
pub struct Which {
    /// RabbitMQ; amqps:// for TLS.
    #[arg(long, env = "AMQP_URL", value_name = "AMQP_URL", hide_env = true)]
    amqp_url: SecretString,
    /// Only those of this organisation.
    #[arg(long, value_name = "ID")]
    org: Option<OrgId>,
}

impl Which {
    fn includes(&self, letter: &Letter) -> bool {
        self.org
            .as_ref()
            .is_none_or(|org| letter.is_of(org.as_str()))
    }
}

/// The options of `list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// The options of `redrive`.
#[derive(Debug, Args)]
pub struct Redrive {
    #[command(flatten)]
    which: Which,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All that are there now.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Why not everything was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("no connection to the message broker: {0}")]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the message broker failed: {0}")]
    Broker(#[from] lapin::Error),
    /// The queue was deleted, or its node is gone.
    #[error("the queue {} is gone", topology::DEAD_LETTERS)]
    Gone,
    /// A message stays where it is; its old queue may have it too.
    #[error("a dead letter stays one, since it is not known to have reached its queue: {0}")]
    Publish(#[from] PublishError),
    /// A message was submitted again, and is a dead letter all the same.
    #[error("a dead letter was submitted again, but also stays: the message broker is gone")]
    NotRemoved,
    /// Messages that came from no queue of ours.
    #[error("dead letters that stay, since nothing in them tells which queue they are from: {0}")]
    NoOrigin(u32),
    /// Standard output.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Does it. Standard output gets JSON, one object a line.
///
/// # Errors
/// Why not everything was done.
pub async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::List(options) => list(&options).await,
        Command::Redrive(options) => redrive(&options).await,
    }
}

async fn list(options: &List) -> Result<(), Error> {
    let connection = queue::connect(options.which.amqp_url.expose_secret(), NAME).await?;
    let mut held = Held::take(&connection).await?;
    let mut lines = String::new();
    let mut found = 0;
    while found < options.limit
        && let Some(delivery) = held.next().await?
    {
        let letter = read(&delivery);
        if options.which.includes(&letter) {
            found += 1;
            lines += &json_line(&letter);
        }
    }
    // Before they are printed: who reads that may take their time.
    held.give_back(&connection).await?;
    end(connection).await;
    print(&lines)
}

async fn redrive(options: &Redrive) -> Result<(), Error> {
    let connection = queue::connect(options.which.amqp_url.expose_secret(), NAME).await?;
    let link = Link::open(&connection).await?;
    let mut held = Held::take(&connection).await?;

    let mut redriven = 0;
    let submitted = submit_again(&mut held, &link, options, &mut redriven).await;

    let left = held.count().saturating_sub(redriven);
    let given_back = held.give_back(&connection).await;
    print(&json_line(&json!({"redriven": redriven, "left": left})))?;
    submitted?;
    given_back?;
    end(connection).await;
    Ok(())
}

/// Says good-bye to the broker. All is done by now, whatever it answers, if it does.
async fn end(connection: Connection) {
    let _ = tokio::time::timeout(GOOD_BYE_TIME, connection.close(200, "done".into())).await;
}

/// A message leaves the dead letters only when the broker has confirmed that it is in its old queue. Who
/// is killed between the two has it in both: submitted twice it is one job all the same.
async fn submit_again(
    held: &mut Held,
    link: &Link,
    options: &Redrive,
    redriven: &mut u32,
) -> Result<(), Error> {
    let mut of_no_queue = 0;
    while (options.all || *redriven < options.limit)
        && let Some(delivery) = held.next().await?
    {
        if !options.which.includes(&read(&delivery)) {
            continue;
        }
        let Some(origin) = letter::origin(delivery.routing_key.as_str(), &delivery.properties)
        else {
            of_no_queue += 1;
            continue;
        };
        let properties = of_the_same_requester(&delivery.properties);
        link.publish(
            topology::JOBS_EXCHANGE,
            origin.routing_key,
            &delivery.data,
            properties,
        )
        .await?;
        *redriven += 1;
        if !delivery.ack(BasicAckOptions::default()).await? {
            return Err(Error::NotRemoved);
        }
        held.removed();
    }
    match of_no_queue {
        0 => Ok(()),
        count => Err(Error::NoOrigin(count)),
    }
}

fn read(delivery: &Delivery) -> Letter {
    let key = delivery.routing_key.as_str();
    Letter::read(key, &delivery.properties, &delivery.data)
}

fn json_line(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string(value).expect("plain strings and numbers");
    json + "\n"
}

/// To standard output. Whoever reads it may stop doing so at any time, as `head` does.
fn print(text: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
