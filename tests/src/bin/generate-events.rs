//! Prints audit events, one a line, in the form in which the API takes them.

use std::io::{BufWriter, ErrorKind, Write};

use clap::Parser;
use harness::events::Generator;

/// Prints audit events, one a line, in the form in which the API takes them. The same seed gives the
/// same events.
#[derive(Parser)]
struct Arguments {
    /// How many events.
    #[arg(long)]
    count: usize,
    /// Which events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How large each is at least, about, in bytes.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
}

fn main() -> std::io::Result<()> {
    let Arguments { count, seed, bytes } = Arguments::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for event in Generator::new(seed).bytes(bytes).take(count) {
        if let Err(error) = writeln!(out, "{}", event.json()) {
            // Whoever reads has seen enough.
            return match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            };
        }
    }
    out.flush()
}
