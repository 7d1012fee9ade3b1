//! The command line. Every setting is an environment variable, documented here and nowhere else;
//! `--help` shows them all.

mod limits;

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use common::{cli::with_default_command, db, ids::OrgId, queue, telemetry::LogFormat};
use secrecy::{ExposeSecret, SecretString};

pub use limits::Limits;

use crate::{
    auth::{JwksUrl, MIN_SECRET_BYTES, Role},
    setup::PrincipalArn,
};

/// The REST API of audit-export, which exports audit logs to the customers' own S3 buckets.
#[derive(Debug, Parser)]
#[command(name = "audit-export-api", version, flatten_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look: text or json.
    #[arg(
        long,
        global = true,
        env = "AUDIT_EXPORT_LOG_FORMAT",
        value_name = "AUDIT_EXPORT_LOG_FORMAT",
        hide_env = true,
        default_value_t
    )]
    pub log_format: LogFormat,
}

const AFTER_HELP: &str = "Each option can be given by the environment variable that stands beside it. \
RUST_LOG chooses what is logged, such as info or api=debug.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API and schedule exports (the default).
    Serve(Box<Config>),
    /// Bring the database's schema up to date.
    Migrate(MigrateArgs),
    /// Print the OpenAPI document.
    Openapi,
    /// Print a token that is signed with the shared secret.
    Token(TokenArgs),
}

/// The settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Postgres, as a URL (postgres://user:password@host:port/name?sslmode=verify-full). LISTEN needs a
    /// direct connection or a session pooler.
    #[arg(long, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env = true, value_parser = secret)]
    pub database_url: SecretString,
    /// RabbitMQ, as a URL (amqps://user:password@host:port/vhost).
    #[arg(long, env = "AMQP_URL", value_name = "AMQP_URL", hide_env = true, value_parser = secret)]
    pub amqp_url: SecretString,
    /// Address of the REST API.
    #[arg(
        long,
        env = "AUDIT_EXPORT_LISTEN",
        value_name = "AUDIT_EXPORT_LISTEN",
        hide_env = true,
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics; not served where it is not set.
    #[arg(
        long,
        env = "AUDIT_EXPORT_ADMIN_LISTEN",
        value_name = "AUDIT_EXPORT_ADMIN_LISTEN",
        hide_env = true
    )]
    pub admin_listen: Option<SocketAddr>,
    /// The secret that HS256 tokens are signed with, 32 bytes or longer.
    #[arg(
        long,
        env = "AUDIT_EXPORT_JWT_SECRET",
        value_name = "AUDIT_EXPORT_JWT_SECRET",
        hide_env = true,
        value_parser = secret
    )]
    pub jwt_secret: Option<SecretString>,
    /// Where the keys are that RS256, ES256 and EdDSA tokens are signed with (a JWKS; https).
    #[arg(
        long,
        env = "AUDIT_EXPORT_JWT_JWKS_URL",
        value_name = "AUDIT_EXPORT_JWT_JWKS_URL",
        hide_env = true
    )]
    pub jwks_url: Option<JwksUrl>,
    /// Whose tokens are good, and which of them.
    #[command(flatten)]
    pub tokens: TokenRules,
    /// How old the oldest pending event may get before a run is queued, in seconds.
    #[arg(
        long,
        env = "AUDIT_EXPORT_INTERVAL_SECONDS",
        value_name = "AUDIT_EXPORT_INTERVAL_SECONDS",
        hide_env = true,
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub interval_seconds: u32,
    /// Whether what the system itself does for an organisation (configurations saved and deleted, tests,
    /// pauses) is appended to that organisation's audit log.
    #[arg(
        long,
        env = "AUDIT_EXPORT_SYSTEM_EVENTS",
        value_name = "AUDIT_EXPORT_SYSTEM_EVENTS",
        hide_env = true,
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub system_events: bool,
    /// How many proxies stand before the API, each of which adds its peer to X-Forwarded-For. It tells
    /// which address the audit log names.
    #[arg(
        long,
        env = "AUDIT_EXPORT_TRUSTED_PROXIES",
        value_name = "AUDIT_EXPORT_TRUSTED_PROXIES",
        hide_env = true,
        default_value_t = 0
    )]
    pub trusted_proxies: u8,
    /// After how long a job that no worker has taken is published again, in seconds.
    #[arg(
        long,
        env = "AUDIT_EXPORT_REPUBLISH_SECONDS",
        value_name = "AUDIT_EXPORT_REPUBLISH_SECONDS",
        hide_env = true,
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=3_600)
    )]
    pub republish_seconds: u32,
    /// How long test-connection waits for a worker's result, in seconds.
    #[arg(
        long,
        env = "AUDIT_EXPORT_TEST_TIMEOUT_SECONDS",
        value_name = "AUDIT_EXPORT_TEST_TIMEOUT_SECONDS",
        hide_env = true,
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=300)
    )]
    pub test_timeout_seconds: u32,
    /// The exporter's own AWS identity, the ARN of a role or user, which the customers' trust policies
    /// name. Without it nobody is told how to set their side up.
    #[arg(
        long,
        env = "AUDIT_EXPORT_PRINCIPAL_ARN",
        value_name = "AUDIT_EXPORT_PRINCIPAL_ARN",
        hide_env = true
    )]
    pub principal_arn: Option<PrincipalArn>,
    /// How long requests may go on after SIGTERM, in seconds.
    #[arg(
        long,
        env = "AUDIT_EXPORT_DRAIN_SECONDS",
        value_name = "AUDIT_EXPORT_DRAIN_SECONDS",
        hide_env = true,
        default_value_t = 25,
        value_parser = clap::value_parser!(u32).range(0..=3_600)
    )]
    pub drain_seconds: u32,
    /// How much is allowed.
    #[command(flatten)]
    pub limits: Limits,
}

/// Whose tokens are good.
#[derive(Debug, Clone, Args)]
pub struct TokenRules {
    /// The issuer (iss) of good tokens.
    #[arg(
        id = "jwt_issuer",
        long = "jwt-issuer",
        env = "AUDIT_EXPORT_JWT_ISSUER",
        value_name = "AUDIT_EXPORT_JWT_ISSUER",
        hide_env = true
    )]
    pub issuer: String,
    /// The audience (aud) that good tokens are meant for.
    #[arg(
        id = "jwt_audience",
        long = "jwt-audience",
        env = "AUDIT_EXPORT_JWT_AUDIENCE",
        value_name = "AUDIT_EXPORT_JWT_AUDIENCE",
        hide_env = true
    )]
    pub audience: String,
}

/// The settings of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Postgres, as a URL, as the owner of the tables; where it is not set, DATABASE_URL.
    #[arg(
        long,
        env = "DATABASE_OWNER_URL",
        value_name = "DATABASE_OWNER_URL",
        hide_env = true,
        value_parser = secret
    )]
    pub database_owner_url: Option<SecretString>,
    /// Postgres, as a URL, as the user that the services log in as, which is granted what it needs.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "DATABASE_URL",
        hide_env = true,
        value_parser = secret,
        required_unless_present = "database_owner_url"
    )]
    pub database_url: Option<SecretString>,
}

impl MigrateArgs {
    /// The URL to migrate with.
    #[must_use]
    pub fn owner_url(&self) -> Option<&SecretString> {
        self.database_owner_url
            .as_ref()
            .or(self.database_url.as_ref())
    }
}

/// The settings of `token`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("grant").required(true).multiple(true))]
pub struct TokenArgs {
    /// The organisation that the token gives access to.
    #[arg(long, requires = "role", group = "grant", value_name = "ID")]
    pub org: Option<OrgId>,
    /// The role in it: owner, admin or member.
    #[arg(long, requires = "org", value_name = "ROLE")]
    pub role: Option<Role>,
    /// What a platform token may do: "orgs:write audit-events:write".
    #[arg(long, group = "grant", value_name = "SCOPES")]
    pub scope: Option<String>,
    /// Whom the token is for (sub), as limits and the organisation's own log tell callers apart.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// How long the token is good, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub lifetime_seconds: u32,
    /// The secret to sign with, 32 bytes or longer.
    #[arg(
        long,
        env = "AUDIT_EXPORT_JWT_SECRET",
        value_name = "AUDIT_EXPORT_JWT_SECRET",
        hide_env = true,
        value_parser = secret
    )]
    pub jwt_secret: SecretString,
    /// Whose token it is and for whom.
    #[command(flatten)]
    pub tokens: TokenRules,
}

/// Keeps a secret from being repeated: clap shows a value that its parser refuses, so this one
/// refuses none and [`Config::check`] looks at it.
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

/// Takes the value out of an error about the one setting that may hold a secret and that clap parses.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let argument = error.get(ContextKind::InvalidArg);
    if argument.is_some_and(|argument| argument.to_string().contains("--jwks-url")) {
        let hidden = ContextValue::String("…".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
    error
}

/// A setting is wrong. The text names the variable, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing could check a token.
    #[error(
        "set AUDIT_EXPORT_JWT_SECRET, AUDIT_EXPORT_JWT_JWKS_URL or both: without them no token could be checked"
    )]
    NoKeys,
    /// The secret could be guessed.
    #[error("AUDIT_EXPORT_JWT_SECRET must be at least {MIN_SECRET_BYTES} bytes long")]
    ShortSecret,
    /// Issuer or audience says nothing.
    #[error("{0} must not be blank")]
    Blank(&'static str),
    /// Not a URL of Postgres.
    #[error(transparent)]
    Database(#[from] db::ConnectError),
    /// Not a URL of RabbitMQ.
    #[error(transparent)]
    Broker(#[from] queue::ConnectError),
}

/// Checks the length of the shared secret.
///
/// # Errors
/// It is too short.
pub fn check_secret(secret: &SecretString) -> Result<(), ConfigError> {
    if secret.expose_secret().len() < MIN_SECRET_BYTES {
        Err(ConfigError::ShortSecret)
    } else {
        Ok(())
    }
}

impl TokenRules {
    /// Checks what clap could not.
    ///
    /// # Errors
    /// A field is blank.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("AUDIT_EXPORT_JWT_ISSUER", &self.issuer),
            ("AUDIT_EXPORT_JWT_AUDIENCE", &self.audience),
        ] {
            if value.trim().is_empty() {
                return Err(ConfigError::Blank(name));
            }
        }
        Ok(())
    }
}

impl Config {
    /// Checks what clap could not.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        db::Server::parse(self.database_url.expose_secret(), "check")?;
        queue::parse_url(self.amqp_url.expose_secret())?;
        self.tokens.check()?;
        match &self.jwt_secret {
            Some(secret) => check_secret(secret),
            None if self.jwks_url.is_none() => Err(ConfigError::NoKeys),
            None => Ok(()),
        }
    }

    /// How long requests may go on after the signal to stop.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// How long test-connection waits.
    #[must_use]
    pub fn test_timeout(&self) -> Duration {
        Duration::from_secs(self.test_timeout_seconds.into())
    }

    /// How old the oldest pending event may get before a run is queued.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.into())
    }

    /// After how long a job that no worker has taken is published again.
    #[must_use]
    pub fn republish_after(&self) -> Duration {
        Duration::from_secs(self.republish_seconds.into())
    }
}

impl Cli {
    /// Reads the command line and the environment; without a command, `serve` is meant.
    ///
    /// # Errors
    /// What is wrong, or the help that was asked for: print it and exit with its code.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let commands = ["serve", "migrate", "openapi", "token"];
        let arguments = with_default_command("audit-export-api", &commands, arguments);
        let cli = Self::try_parse_from(arguments).map_err(without_secrets)?;
        let checked = match &cli.command {
            Command::Serve(config) => config.check(),
            Command::Token(token) => token
                .tokens
                .check()
                .and_then(|()| check_secret(&token.jwt_secret)),
            Command::Migrate(_) | Command::Openapi => Ok(()),
        };
        checked
            .map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))?;
        Ok(cli)
    }
}

#[cfg(test)]
mod tests;
