//! The figures of a run.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    fs,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use harness::{checker::Verdict, faults::http::Operation};

use super::{Form, Soak};

/// The least of workers and APIs, in the long form.
const KILLS_A_MINUTE: usize = 10;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    WorkerKills,
    ApiKills,
    RabbitMqKills,
    RabbitMqRestarts,
    PostgresCrashes,
    Purges,
    Freezes,
    Cuts,
    Faults,
    Edits,
    Floods,
    RepeatedAppends,
}

/// What has been done so far.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<BTreeMap<Count, usize>>,
    time: Mutex<Duration>,
    timeline: Mutex<String>,
}

impl Tally {
    pub fn add(&self, count: Count, number: usize) {
        *self.counts.lock().unwrap().entry(count).or_default() += number;
    }

    pub fn of(&self, count: Count) -> usize {
        let counts = self.counts.lock().unwrap();
        counts.get(&count).copied().unwrap_or_default()
    }

    /// What was done too little for the run to show anything.
    pub fn too_little(&self, form: &Form) -> Vec<String> {
        let of_some = [
            Count::WorkerKills,
            Count::ApiKills,
            Count::Freezes,
            Count::Cuts,
            Count::Faults,
            Count::Edits,
            Count::Floods,
        ];
        let mut too_little: Vec<_> = of_some
            .into_iter()
            .filter(|count| self.of(*count) == 0)
            .map(|count| format!("none was done: {count:?}"))
            .collect();
        let kills = self.of(Count::WorkerKills) + self.of(Count::ApiKills);
        let minutes = usize::try_from(form.time.as_secs() / 60).unwrap();
        if kills < KILLS_A_MINUTE * minutes {
            too_little.push(format!("only {kills} kills in {minutes} minutes"));
        }
        too_little
    }

    /// Adds a round's chaos.
    pub fn add_time(&self, time: Duration) {
        *self.time.lock().unwrap() += time;
    }

    /// Keeps what was done at which time since the start.
    pub fn note(&self, at: Duration, what: &str) {
        let now = jiff::Timestamp::now();
        let mut timeline = self.timeline.lock().unwrap();
        writeln!(timeline, "{now} {:8.3} {what}", at.as_secs_f64()).unwrap();
    }

    pub fn write_timeline(&self, path: &Path) {
        fs::write(path, &*self.timeline.lock().unwrap()).unwrap();
    }
}

impl Soak {
    /// The table.
    pub fn report(
        &self,
        form: &Form,
        longest_to_settle: Duration,
        verdict: Option<&Verdict>,
    ) -> String {
        let of = |count| self.tally.of(count);
        let calls = self.lines.aws.seen();
        let calls_of = |operation| {
            calls
                .iter()
                .filter(|call| call.operation == operation)
                .count()
        };
        let hit = calls.iter().filter(|call| call.hit).count();
        let writes = self.world.aws.write_log();
        let objects: HashSet<_> = writes
            .iter()
            .filter(|write| write.key.ends_with(".jsonl.gz"))
            .map(|write| (&write.bucket, &write.key))
            .collect();
        let in_parts = writes.iter().filter(|write| {
            write.op == "CompleteMultipartUpload" && write.key.ends_with(".jsonl.gz")
        });
        let time = *self.tally.time.lock().unwrap();
        let mut rows = vec![
            ("seed", form.seed.to_string()),
            (
                "chaos",
                format!("{} s of {} s", time.as_secs(), form.time.as_secs()),
            ),
            ("kill -9 of workers", of(Count::WorkerKills).to_string()),
            ("kill -9 of APIs", of(Count::ApiKills).to_string()),
            ("kill -9 of RabbitMQ", of(Count::RabbitMqKills).to_string()),
            (
                "clean restarts of RabbitMQ",
                of(Count::RabbitMqRestarts).to_string(),
            ),
            ("purges of all queues", of(Count::Purges).to_string()),
            (
                "immediate shutdowns of PostgreSQL",
                of(Count::PostgresCrashes).to_string(),
            ),
            (
                "workers frozen past their leases",
                of(Count::Freezes).to_string(),
            ),
            (
                "cuts of all connections to a server",
                of(Count::Cuts).to_string(),
            ),
            (
                "faults of S3 and STS met",
                format!("{} ({hit} calls)", of(Count::Faults)),
            ),
            ("configs saved", of(Count::Edits).to_string()),
            ("appends sent again", of(Count::RepeatedAppends).to_string()),
            ("calls of STS", calls_of(Operation::AssumeRole).to_string()),
            (
                "calls of S3",
                (calls.len() - calls_of(Operation::AssumeRole)).to_string(),
            ),
            (
                "objects",
                format!("{} ({} in parts)", objects.len(), in_parts.count()),
            ),
        ];
        match verdict {
            Some(verdict) => rows.extend([
                ("organisations", verdict.orgs.to_string()),
                ("events sent", verdict.sent.to_string()),
                ("events delivered", verdict.delivered.to_string()),
                ("events lost", verdict.lost.to_string()),
                ("events doubled", verdict.doubled.to_string()),
            ]),
            None => rows.push(("events", "not checked".to_owned())),
        }
        rows.push((
            "longest time to settle",
            format!("{:.1} s", longest_to_settle.as_secs_f64()),
        ));
        let mut text = "soak: everything that can crash does\n".to_owned();
        for (name, value) in rows {
            writeln!(text, "  {name:<36} {value}").unwrap();
        }
        text
    }
}
