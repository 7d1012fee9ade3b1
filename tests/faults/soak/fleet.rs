//! The processes: workers and APIs that are killed and started again, and what lies between them and
//! the servers.

use std::net::SocketAddr;

use harness::{
    World,
    api::Api,
    faults::{http::HttpProxy, tcp::TcpProxy},
    process::Process,
    required,
};
use tokio::sync::Mutex;

/// APIs.
pub const APIS: usize = 2;

/// Workers by the events that their runs have at most and the seconds of their leases. Most runs are
/// small, so that there are many; some are as large as they like.
pub const WORKERS: [(&str, &str); 4] = [
    ("100", "1"),
    ("500", "1.5"),
    ("500", "2"),
    ("250000", "1.5"),
];

/// The proxies through which all processes talk to the servers.
pub struct Lines {
    pub postgres: TcpProxy,
    pub amqp: TcpProxy,
    pub aws: HttpProxy,
    database_url: String,
    amqp_url: String,
}

impl Lines {
    pub async fn start(world: &World) -> Self {
        let postgres = TcpProxy::start(address_in("DATABASE_URL")).await;
        let amqp = TcpProxy::start(address_in("AMQP_URL")).await;
        Self {
            database_url: postgres.url(world.database.url()),
            amqp_url: amqp.url(world.broker.amqp_url()),
            postgres,
            amqp,
            aws: HttpProxy::start(world.aws.address()).await,
        }
    }
}

fn address_in(variable: &str) -> SocketAddr {
    let url: reqwest::Url = required(variable).parse().expect("a URL");
    let addresses = url.socket_addrs(|| None).expect("host and port");
    addresses[0]
}

/// All processes.
pub struct Fleet {
    workers: Vec<Mutex<Slot>>,
    apis: Vec<Mutex<Slot>>,
    /// The APIs' clients, which stay when an API is started again.
    pub clients: Vec<Api>,
}

/// A process and those that were there before it.
struct Slot {
    settings: Vec<(&'static str, String)>,
    process: Process,
    /// How many there have been.
    number: u64,
    /// Those that were not killed and ended all the same.
    ended_by_itself: Vec<String>,
}

impl Slot {
    fn new(settings: Vec<(&'static str, String)>, process: Process) -> Self {
        Self {
            settings,
            process,
            number: 0,
            ended_by_itself: Vec::new(),
        }
    }

    fn kill(&mut self) {
        self.look();
        self.process.kill();
        self.number += 1;
    }

    fn look(&mut self) {
        if let Some(status) = self.process.ended() {
            let log = self.process.log();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            let ended = format!("a process has ended by itself, {status}: {last:?}");
            self.ended_by_itself.push(ended);
        }
    }

    /// Ends it in good order; what was wrong with it or those before it.
    async fn end(&mut self) -> Vec<String> {
        self.look();
        if self.process.ended().is_none() {
            let status = self.process.terminate().await;
            if !status.success() {
                let what = format!("a process that was told to end did so with {status}");
                self.ended_by_itself.push(what);
            }
        }
        std::mem::take(&mut self.ended_by_itself)
    }
}

fn borrowed<'s>(settings: &'s [(&'static str, String)]) -> Vec<(&'static str, &'s str)> {
    let pairs = settings.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

impl Fleet {
    pub async fn start(world: &World, lines: &Lines, ports: [u16; APIS]) -> Self {
        let common = || {
            vec![
                ("DATABASE_URL", lines.database_url.clone()),
                ("AMQP_URL", lines.amqp_url.clone()),
            ]
        };
        let (mut apis, mut clients) = (Vec::new(), Vec::new());
        for port in ports {
            let mut settings = common();
            settings.push(("AUDIT_EXPORT_LISTEN", format!("127.0.0.1:{port}")));
            let (process, client) = world.spawn_api(&borrowed(&settings)).await;
            apis.push(Mutex::new(Slot::new(settings, process)));
            clients.push(client);
        }
        let workers = WORKERS.map(|(max_events, lease)| {
            let mut settings = common();
            let own = [
                ("AWS_ENDPOINT_URL_S3", lines.aws.endpoint()),
                ("AWS_ENDPOINT_URL_STS", lines.aws.endpoint()),
                ("AUDIT_EXPORT_RUN_MAX_EVENTS", max_events.to_owned()),
                ("AUDIT_EXPORT_LEASE_SECONDS", lease.to_owned()),
                ("AUDIT_EXPORT_RETRY_SECONDS", "1".to_owned()),
                ("AUDIT_EXPORT_S3_TIMEOUT_SECONDS", "5".to_owned()),
                ("AUDIT_EXPORT_GIVE_BACK_SECONDS", "0.1".to_owned()),
                ("AUDIT_EXPORT_PROBE_FIRST_SECONDS", "0.3".to_owned()),
                ("AUDIT_EXPORT_PROBE_LONGEST_SECONDS", "1".to_owned()),
            ];
            settings.extend(own);
            let process = world.spawn_worker(&borrowed(&settings));
            Mutex::new(Slot::new(settings, process))
        });
        Self {
            workers: workers.into(),
            apis,
            clients,
        }
    }

    /// Kills a worker and starts another in its place.
    pub async fn kill_worker(&self, world: &World, worker: usize) {
        let mut slot = self.workers[worker].lock().await;
        slot.kill();
        slot.process = world.spawn_worker(&borrowed(&slot.settings));
    }

    /// Kills an API and starts it again on its port.
    pub async fn kill_api(&self, world: &World, api: usize) {
        let mut slot = self.apis[api].lock().await;
        slot.kill();
        let settings = slot.settings.clone();
        slot.process = world.spawn_api(&borrowed(&settings)).await.0;
    }

    /// Stops a worker, and lets it go on after a time unless it was killed meanwhile.
    pub async fn freeze(&self, worker: usize, time: std::time::Duration) {
        let number = {
            let slot = self.workers[worker].lock().await;
            slot.process.signal("STOP");
            slot.number
        };
        tokio::time::sleep(time).await;
        let slot = self.workers[worker].lock().await;
        if slot.number == number {
            slot.process.signal("CONT");
        }
    }

    /// Ends all processes in good order; what was wrong with any of them.
    pub async fn end(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for slot in self.workers.iter().chain(&self.apis) {
            problems.extend(slot.lock().await.end().await);
        }
        problems
    }
}
