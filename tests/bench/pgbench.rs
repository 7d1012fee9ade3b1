//! pgbench: how often a second Postgres does something by itself. The program is on the PATH that
//! `tests/bench.sh` sets.

use std::{
    fs,
    process::{Command, Stdio},
    str::FromStr,
};

/// As many as the machine has processors, so that it is not pgbench that is measured.
const THREADS: usize = 2;

/// What pgbench is to do, with prepared statements.
#[derive(Debug)]
pub struct Pgbench<'a> {
    /// The database, and as whom to log in to it.
    pub url: &'a str,
    /// The script of one transaction.
    pub script: &'a str,
    /// Values that the script names.
    pub variables: &'a [(&'a str, &'a str)],
    /// Connections.
    pub clients: usize,
    /// For how long.
    pub seconds: usize,
}

/// What it came to.
#[derive(Debug)]
pub struct Report {
    /// Transactions that were done.
    pub transactions: usize,
    /// The same in a second, the time to connect apart.
    pub per_second: f64,
    /// How long one took on average, in milliseconds.
    pub milliseconds: f64,
}

impl Pgbench<'_> {
    /// Runs it to its end. Panics where a transaction fails.
    pub async fn run(&self) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script.sql");
        fs::write(&script, self.script).unwrap();
        let mut command = Command::new("pgbench");
        command
            .args(["--no-vacuum", "--protocol=prepared", "--file"])
            .arg(&script)
            .arg(format!("--client={}", self.clients))
            .arg(format!("--jobs={}", THREADS.min(self.clients)))
            .arg(format!("--time={}", self.seconds));
        for (name, value) in self.variables {
            command.arg(format!("--define={name}={value}"));
        }
        command.arg(self.url).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().expect("pgbench can be run");
        assert!(output.status.success(), "{output:?}");
        Report::read(&String::from_utf8(output.stdout).unwrap())
    }
}

impl Report {
    fn read(printed: &str) -> Self {
        let mut lines = printed.lines();
        let failed = lines.find(|line| line.starts_with("number of failed transactions"));
        assert!(failed.is_none_or(|line| line.contains(": 0 ")), "{printed}");
        let transactions: usize = figure(printed, "number of transactions actually processed");
        assert!(transactions > 0, "{printed}");
        Self {
            transactions,
            per_second: figure(printed, "tps"),
            milliseconds: figure(printed, "latency average"),
        }
    }
}

/// The figure of a line such as `latency average = 1.234 ms`.
fn figure<T: FromStr>(printed: &str, name: &str) -> T {
    let found = printed.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim_start_matches([' ', ':', '=']);
        rest.split_whitespace().next()?.parse().ok()
    });
    found.unwrap_or_else(|| panic!("no {name}: {printed}"))
}
