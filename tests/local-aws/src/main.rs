//! The server as a program, for the demo: state from a file, address into a file.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use local_aws::{LocalAws, Options, StateSource};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A local S3 and STS that refuses where AWS refuses. Logs to stderr; RUST_LOG sets how much.
#[derive(Parser)]
#[command(name = "local-aws", version)]
struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder of the objects, as DIR/bucket/key; made if it is missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// JSON file of users, buckets and roles; read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Where to write the endpoint (http://…) once it listens.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// Append every accepted write to this file, as a line of JSON.
    #[arg(long, value_name = "FILE")]
    write_log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // s3s logs every refusal as an error of its own; the call log says it better.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,s3s=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    // Before anybody can learn the address, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = LocalAws::start(Options {
        listen: args.listen,
        data_dir: args.data,
        state: StateSource::File(args.state),
        write_log: args.write_log,
    })
    .await?;
    tracing::info!(endpoint = server.endpoint(), "listening");
    if let Some(path) = args.address_file {
        write_atomically(&path, &server.endpoint())?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.shutdown().await;
    Ok(())
}

/// Whoever waits for the file never reads half an address.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}
