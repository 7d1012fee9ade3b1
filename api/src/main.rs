//! `audit-export-api`: see `--help`.

use std::{error::Error, io::Write, process::ExitCode, time::Duration};

use api::{
    auth::{NewToken, sign},
    config::{Cli, Command, Config, MigrateArgs, TokenArgs},
};
use common::telemetry;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let done = match telemetry::init(cli.log_format) {
        Ok(()) => run(cli.command).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("audit-export-api: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve(config) => serve(*config).await,
        Command::Migrate(args) => migrate(&args).await,
        Command::Openapi => print(&api::routes::openapi().to_pretty_json()?),
        Command::Token(args) => print(&token(&args)?),
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let bind = async |address: std::net::SocketAddr| {
        TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    let listener = bind(config.listen).await?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        }
    });
    api::serve(config, listener, admin, shutdown).await?;
    Ok(())
}

async fn migrate(args: &MigrateArgs) -> Result<(), Box<dyn Error>> {
    let url = args
        .owner_url()
        .ok_or("DATABASE_OWNER_URL and DATABASE_URL are not set")?;
    for applied in api::migrate::migrate(url, args.database_url.as_ref()).await? {
        tracing::info!(migration = applied, "applied");
    }
    tracing::info!("the schema is up to date");
    Ok(())
}

fn token(args: &TokenArgs) -> Result<String, Box<dyn Error>> {
    let org = args.org.as_ref().map(|org| org.as_str());
    Ok(sign(
        &args.jwt_secret,
        &NewToken {
            issuer: &args.tokens.issuer,
            audience: &args.tokens.audience,
            lifetime: Duration::from_secs(args.lifetime_seconds.into()),
            org: org.zip(args.role),
            scope: args.scope.as_deref(),
            subject: args.subject.as_deref(),
        },
    )?)
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
