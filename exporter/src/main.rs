//! The exporter's command line.

use std::process::ExitCode;

use aws_config::BehaviorVersion;
use clap::{Parser, Subcommand};
use exporter::Config;
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

/// Delivers audit events to customers' buckets.
#[derive(Parser)]
#[command(name = "audit-export-exporter", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Works on jobs until SIGTERM (the default).
    Run,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments {
        command: None | Some(Command::Run),
        config,
    } = Arguments::parse();
    if let Err(error) = common::telemetry::init(config.log_format) {
        return refuse(&error);
    }
    #[cfg(feature = "failpoints")]
    let _asked_for = exporter::crash::asked_for();
    match serve(config).await {
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
