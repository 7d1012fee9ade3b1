//! The benchmark: what the services do in a second, beside what a user would reach for instead, and
//! beside the limits of the machine. `tests/bench.sh` builds and starts what it needs.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints figures, and ends where something is not as it needs it"
)]

mod copy;
mod counters;
mod events;
mod export;
mod extrapolation;
mod fleet;
mod ingest;
mod latency;
mod load;
mod many_events;
mod memory;
mod peers;
mod pgbench;
mod plans;
mod reads;
mod samples;
mod scaling;
mod scheduler;
mod small_orgs;
mod stage;
mod table;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use events::Events;
use table::Table;

/// Measures the services and prints a table with a row for each goal. Ends with 1 where one is missed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Three minutes: fewer repetitions, smaller numbers.
    #[arg(long)]
    quick: bool,
    /// Audit events to use, NDJSON, plain or gzipped; made-up ones without it.
    #[arg(long)]
    events: Option<PathBuf>,
    /// Where to leave the figures as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Only these subjects.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(SUBJECTS))]
    subjects: Vec<String>,
}

/// What all subjects are measured with.
#[derive(Debug)]
struct Lab {
    quick: bool,
    events: Events,
    table: Table,
}

impl Lab {
    /// How often to measure: an odd number.
    fn rounds(&self) -> usize {
        self.size(1, 5)
    }

    /// How many of something: the first in quick runs.
    fn size<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

macro_rules! subjects {
    ($($name:ident),+ $(,)?) => {
        const SUBJECTS: &[&str] = &[$(stringify!($name)),+];

        async fn measure(lab: &mut Lab, wanted: impl Fn(&str) -> bool) {
            $(if wanted(stringify!($name)) {
                println!("\n--- {}", stringify!($name));
                let began = Instant::now();
                $name::measure(lab).await;
                println!("({:.0} s)", began.elapsed().as_secs_f64());
            })+
        }
    };
}

subjects!(
    export, memory, small_orgs, latency, ingest, reads, scheduler, scaling
);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut lab = Lab {
        quick: arguments.quick,
        events: Events::read(arguments.events.as_deref()),
        table: Table::default(),
    };
    let wanted = &arguments.subjects;
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    measure(&mut lab, is_wanted).await;
    println!("\n{}", lab.table);
    if let Some(path) = arguments.report {
        lab.table.write_json(&path);
    }
    ExitCode::from(u8::from(lab.table.misses() > 0))
}
