//! Where the cells of one operation are run: a world whose worker reaches S3 and STS through a proxy
//! that makes faults.

use std::time::{Duration, Instant};

use common::queue::topology;
use harness::{
    Customer, Event, Org, World,
    events::{events, noise_events},
    faults::http::{Calls, HttpProxy, Operation},
    within,
    world::sdk_config,
};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use serde_json::{Value, json};

/// How long a job may sleep between attempts.
const RETRY_BUDGET: Duration = Duration::from_millis(1_500);
/// From a pause to its probe: long enough to count the calls before it.
const PROBE: Duration = Duration::from_secs(4);
/// How long S3 may take for a request that carries little.
const TIME_FOR_SMALL: Duration = Duration::from_secs(3);
/// How long it may take for a part, while others send theirs.
const TIME_FOR_PART: Duration = Duration::from_secs(5);
/// How long a cell's step may take: a job whose calls all hang, several times over.
const PATIENCE: Duration = Duration::from_secs(150);
/// Events of a cell whose object goes out in one request.
const FEW: usize = 20;
/// Events of a cell whose object goes out in two parts, and their size: together 10.3 MiB, which
/// compress to 8.5 MiB.
const LARGE: (usize, usize) = (44, 240 * 1024);
/// The organisation whose events are copied. Ids of cells are as long.
const TEMPLATE: &str = "org-0000";
/// What the keys of connection tests' objects hold.
const TEST_KEY: &str = "audit-export-test/";

/// A world, with the proxy on the way to AWS.
pub(super) struct Lab {
    pub(super) world: World,
    pub(super) proxy: HttpProxy,
    large: Option<Vec<Event>>,
}

impl Lab {
    /// A lab whose objects are large enough for uploads in parts, or not.
    pub(super) async fn start(large: bool) -> Self {
        let world = World::start().await;
        let proxy = HttpProxy::start(world.aws.address()).await;
        world.start_worker_at(&sdk_config(&proxy.endpoint()), |config| {
            config.concurrency = 16;
            config.lease = Duration::from_secs(10);
            config.retry_budget = RETRY_BUDGET;
            config.s3_timeout = if large { TIME_FOR_PART } else { TIME_FOR_SMALL };
            config.probe_first = PROBE;
            config.probe_longest = PROBE;
        });
        let large = match large {
            true => {
                let sent = noise_events(1, LARGE.0, LARGE.1);
                world.org(TEMPLATE).await.ingest(&sent).await;
                Some(sent)
            }
            false => None,
        };
        Self {
            world,
            proxy,
            large,
        }
    }

    /// An organisation for the cell of this number, that is being delivered to a role which may do
    /// all that the setup recommends.
    pub(super) async fn active_org(&self, number: usize) -> (Org<'_>, Customer) {
        let (org, customer) = self.world.active_org(&format!("org-{number:04}")).await;
        let mut policy = customer.good_policy();
        policy["Statement"].as_array_mut().unwrap().push(json!({
            "Effect": "Allow",
            "Action": "s3:ListBucketMultipartUploads",
            "Resource": format!("arn:aws:s3:::{}", customer.bucket_name),
        }));
        customer.set_policy(policy);
        (org, customer)
    }

    /// Gives the organisation something to export.
    pub(super) async fn append(&self, org: &Org<'_>, seed: usize) -> Vec<Event> {
        match &self.large {
            Some(sent) => {
                org.append_large_copy(TEMPLATE).await;
                sent.clone()
            }
            None => {
                let sent = events(seed.try_into().unwrap(), FEW);
                org.ingest(&sent).await;
                sent
            }
        }
    }

    /// How many calls of this operation were made for exports to this customer since then; for
    /// AssumeRole, those for tests as well.
    pub(super) fn calls(&self, operation: Operation, to: &Customer, since: Instant) -> usize {
        let counts = |seen: &harness::faults::http::Seen| {
            let of_a_test = |key: &String| key.contains(TEST_KEY);
            seen.at >= since
                && seen.operation == operation
                && match operation {
                    Operation::AssumeRole => seen.role_arn.as_ref() == Some(&to.role_arn),
                    _ => seen.bucket.as_ref() == Some(&to.bucket_name),
                }
                && !seen.key.as_ref().is_some_and(of_a_test)
        };
        self.proxy.seen().iter().filter(|seen| counts(seen)).count()
    }
}

/// How many messages were given up on.
pub(super) async fn dead_letters(world: &World) -> u32 {
    let connection = common::queue::connect(world.broker.amqp_url(), "the judge");
    let connection = connection.await.expect("RabbitMQ answers");
    let channel = connection.create_channel().await.unwrap();
    let as_it_is = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = topology::DEAD_LETTERS.into();
    let declared = channel.queue_declare(queue, as_it_is, FieldTable::default());
    declared.await.unwrap().message_count()
}

/// All calls of an operation that are made for a customer.
pub(super) fn calls_of(operation: Operation, customer: &Customer) -> Calls {
    let calls = Calls::of(operation);
    match operation {
        Operation::AssumeRole => calls.of_role(&customer.role_arn),
        _ => calls.to_bucket(&customer.bucket_name),
    }
}

/// Says it in the words of this organisation: sentences name its bucket and its external id.
pub(super) fn in_words_of(org: &Org<'_>, customer: &Customer, says: &str) -> String {
    says.replace("{bucket}", &customer.bucket_name)
        .replace("{external id}", org.external_id())
}

/// Waits for something to be seen of an organisation's only run so far.
pub(super) async fn first_run(org: &Org<'_>, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
    let look = || async {
        let oldest = org.runs().await.pop();
        oldest.filter(|run| seen(run))
    };
    match within(PATIENCE, look).await {
        Some(run) => run,
        None => panic!(
            "did not happen within {PATIENCE:?}: {what}: {:?}",
            org.runs().await
        ),
    }
}

/// Waits until the config is in this state.
pub(super) async fn state(org: &Org<'_>, state: &str) -> Value {
    let look = || async {
        let config = org.config().await;
        (config["state"] == state).then_some(config)
    };
    match within(PATIENCE, look).await {
        Some(config) => config,
        None => panic!(
            "not {state} within {PATIENCE:?}: {}: {:?}",
            org.config().await,
            org.runs().await
        ),
    }
}

/// Waits until all of this many events are in the bucket and no run is under way.
pub(super) async fn delivered(org: &Org<'_>, customer: &Customer, events: usize) {
    let last_seq = events.try_into().unwrap();
    org.wait_until_delivered_within(customer, last_seq, PATIENCE)
        .await;
}
