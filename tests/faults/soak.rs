//! A seeded run in which everything that can crash does, again and again, while several writers
//! ingest. Then the faults stop, the system has to settle by itself, and the checker decides.
//!
//! What is done and when follows from the seed alone; how the processes take it does not. A run is
//! made of rounds, and the system settles after each.

mod chaos;
mod fleet;
mod plan;
mod random;
mod report;
mod settle;
mod tenants;
mod writers;

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{
    World,
    checker::{Sent, Verdict},
    process::free_port,
    report::write,
    servers,
};

use fleet::{Fleet, Lines};
use report::Tally;
use tenants::Tenant;

/// The seed of the short form.
const SHORT_SEED: u64 = 396;
/// The chaos of the short form.
const SHORT: Duration = Duration::from_secs(45);
/// After how much chaos the long form lets the system settle.
const ROUND: Duration = Duration::from_mins(4);
/// Organisations, each with a customer.
const TENANTS: usize = 22;
/// Within this time after the last fault everything has to be delivered. Most of it is for a run that
/// was given up because its workers were killed five times in a row: it is tried again after a minute.
const TIME_TO_SETTLE: Duration = Duration::from_secs(90);

/// What all parts of the run share.
struct Soak {
    seed: u64,
    began: Instant,
    /// Before the processes, which are killed before their world goes.
    fleet: Fleet,
    lines: Lines,
    tenants: Vec<Tenant>,
    /// Events whose append was acknowledged.
    sent: Mutex<BTreeMap<String, Vec<Sent>>>,
    tally: Tally,
    world: World,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_crashes_each_event_arrives_once() {
    let _alone = servers::exclusive().await;
    let form = Form::from_environment();
    eprintln!(
        "soak: seed {}; replay with {}",
        form.seed,
        form.replay_command()
    );
    let soak = Arc::new(Soak::start(form.seed).await);
    let mut longest_to_settle = Duration::ZERO;
    let mut problems = Vec::new();
    for (round, time) in form.rounds().enumerate() {
        problems.extend(soak.clone().round(round, time).await);
        match caught("settling", settle::settle(soak.clone())).await {
            Ok(Ok(took)) => {
                longest_to_settle = longest_to_settle.max(took);
                soak.note(&format!("round {round} settled after {took:.1?}"));
            }
            Ok(Err(problem)) | Err(problem) => problems.push(problem),
        }
        if !problems.is_empty() {
            break;
        }
    }
    match caught("ending the processes", soak.clone().end()).await {
        Ok(ended_badly) => problems.extend(ended_badly),
        Err(problem) => problems.push(problem),
    }
    let verdict = caught("the check", check(soak.clone())).await;

    write(
        "soak",
        &soak.report(&form, longest_to_settle, verdict.as_ref().ok()),
    );
    problems.extend(soak.tally.too_little(&form));
    match &verdict {
        Ok(verdict) => problems.extend(verdict.problems.iter().cloned()),
        Err(problem) => problems.push(problem.clone()),
    }
    if !problems.is_empty() {
        soak.fail(&form, &problems);
    }
    verdict.unwrap().must_be_good();
}

/// How long, and which seed.
struct Form {
    seed: u64,
    time: Duration,
}

impl Form {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok().filter(|text| !text.is_empty())?;
            let parsed = text.parse::<u64>();
            Some(parsed.unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
        };
        let minutes = number("AUDIT_EXPORT_SOAK_MINUTES");
        assert_ne!(minutes, Some(0), "no time for a soak");
        let seed = number("AUDIT_EXPORT_SOAK_SEED");
        Self {
            seed: match minutes {
                None => seed.unwrap_or(SHORT_SEED),
                // Short enough to be typed.
                Some(_) => seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 40),
            },
            time: minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes)),
        }
    }

    /// The time of each round's chaos.
    fn rounds(&self) -> impl Iterator<Item = Duration> {
        let mut left = self.time;
        std::iter::from_fn(move || {
            let round = left.min(ROUND);
            left -= round;
            (!round.is_zero()).then_some(round)
        })
    }

    fn replay_command(&self) -> String {
        match self.time.as_secs() / 60 {
            0 => format!(
                "AUDIT_EXPORT_SOAK_SEED={} tests/run.sh --test faults soak::",
                self.seed
            ),
            minutes => format!("tests/run.sh --soak {minutes} --seed {}", self.seed),
        }
    }
}

impl Soak {
    /// A world in which all organisations are active, and nothing is wrong yet.
    async fn start(seed: u64) -> Self {
        let ports = [free_port(), free_port()];
        let world = World::start_without_api(format!("http://127.0.0.1:{}", ports[0])).await;
        let lines = Lines::start(&world).await;
        let fleet = Fleet::start(&world, &lines, ports).await;
        let tenants = tenants::create(&world, TENANTS).await;
        Self {
            seed,
            began: Instant::now(),
            fleet,
            lines,
            tenants,
            sent: Mutex::default(),
            tally: Tally::default(),
            world,
        }
    }

    /// Chaos while the writers write; returns when all they sent is acknowledged and no fault is left.
    async fn round(self: Arc<Self>, round: usize, time: Duration) -> Vec<String> {
        let writers = writers::start(&self, round, time);
        let mut problems = chaos::run(&self, round, time).await;
        problems.extend(writers.end().await);
        self.tally.add_time(time);
        problems
    }

    async fn end(self: Arc<Self>) -> Vec<String> {
        self.fleet.end().await
    }

    fn fail(&self, form: &Form, problems: &[String]) -> ! {
        let logs = env::temp_dir().join(format!("audit-export-soak-{}", form.seed));
        self.world.copy_logs(&logs);
        self.tally.write_timeline(&logs.join("timeline.log"));
        panic!(
            "{} problems:\n{}\nseed {}; replay with {}\nwhat was done and printed: {}",
            problems.len(),
            problems.join("\n"),
            form.seed,
            form.replay_command(),
            logs.display()
        );
    }

    fn note(&self, what: &str) {
        self.tally.note(self.began.elapsed(), what);
    }
}

/// What became of a future, also when it panics: the report is written in any case.
async fn caught<T: Send + 'static>(
    what: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::spawn(future).await;
    done.map_err(|error| format!("{what} failed: {error}"))
}

async fn check(soak: Arc<Soak>) -> Verdict {
    let sent = std::mem::take(&mut *soak.sent.lock().unwrap());
    soak.world.check(&sent).await
}
