//! The exporter's command line.

use std::{ffi::OsString, process::ExitCode};

use aws_config::BehaviorVersion;
use clap::{Parser, Subcommand};
use common::cli::with_default_command;
use exporter::{Config, dead_letters};
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

/// Delivers audit events to customers' buckets.
#[derive(Parser)]
#[command(name = "audit-export-exporter", version, flatten_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Each option can be given by the environment variable that stands beside it. \
RUST_LOG chooses what is logged, such as info or exporter=debug.";

#[derive(Subcommand)]
enum Command {
    /// Work on jobs until SIGTERM (the default).
    Run(Box<Config>),
    /// Look at the messages that nobody could work on, and submit them again.
    #[command(flatten_help = true)]
    DeadLetters {
        #[command(subcommand)]
        command: dead_letters::Command,
    },
}

impl Cli {
    /// Reads the command line and the environment; without a command, `run` is meant.
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let commands = ["run", "dead-letters"];
        let arguments = with_default_command("audit-export-exporter", &commands, arguments);
        Self::try_parse_from(arguments)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let config = match cli.command {
        Command::Run(config) => config,
        Command::DeadLetters { command } => {
            return match dead_letters::run(command).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refuse(&error.to_string()),
            };
        }
    };
    if let Err(error) = common::telemetry::init(config.log_format) {
        return refuse(&error);
    }
    #[cfg(feature = "failpoints")]
    let _asked_for = exporter::crash::asked_for();
    match serve(*config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the exporter cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let admin = match config.admin_listen {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    let shutdown = CancellationToken::new();
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let asked = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
    Ok(exporter::run(config, aws, admin, shutdown).await?)
}

#[allow(clippy::print_stderr, reason = "logging is not set up")]
fn refuse(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMQP: [&str; 2] = ["--amqp-url", "amqp://localhost"];
    const DATABASE: [&str; 2] = ["--database-url", "postgres://localhost/x"];

    fn read(arguments: &[&[&str]]) -> Result<Command, String> {
        let program: &[&str] = &["audit-export-exporter"];
        let all = [program].into_iter().chain(arguments.iter().copied());
        let cli = Cli::read(all.flatten().map(OsString::from));
        cli.map(|cli| cli.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_command_run_is_meant() {
        for command in [&[][..], &["run"]] {
            let read = read(&[command, &AMQP, &DATABASE, &["--concurrency", "7"]]);
            assert!(
                matches!(read, Ok(Command::Run(config)) if config.concurrency == 7),
                "{command:?}"
            );
        }
    }

    #[test]
    fn dead_letters_need_the_broker_only() {
        for command in ["list", "redrive"] {
            let read = read(&[&["dead-letters", command], &AMQP, &["--org", "acme"]]);
            assert!(
                matches!(read, Ok(Command::DeadLetters { .. })),
                "{:?}",
                read.err()
            );
        }
        for bad in [
            &["list", "--limit", "0"][..],
            &["list", "--org", "a/b"],
            &["redrive", "--all", "--limit", "3"],
            &["purge"],
            &[],
        ] {
            assert!(read(&[&["dead-letters"], bad, &AMQP]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_help_shows_the_settings_and_the_commands() {
        let help = read(&[&["--help"]]).err().unwrap_or_default();
        for word in ["DATABASE_URL", "AMQP_URL", "list", "redrive", "--all"] {
            assert!(help.contains(word), "{word}: {help}");
        }
    }
}
