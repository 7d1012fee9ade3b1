//! The exporter's settings, all from the environment; `--help` shows them. `AWS_*` variables are the
//! AWS SDK's own.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::Parser;
use common::{
    db::{export_runs::GiveBackPauses, export_state::ProbePauses},
    telemetry::LogFormat,
};
use secrecy::SecretString;

/// What a check of the other side's abilities leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// A destination without the ability fails its test.
    Require,
    /// The operator does without it: `warn` or `off`.
    Relax,
}

/// The exporter's settings.
#[derive(Debug, Clone, Parser)]
pub struct Config {
    /// Postgres, with the rights of the service's own role.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "DATABASE_URL",
        hide_env = true
    )]
    pub database_url: SecretString,

    /// RabbitMQ; amqps:// for TLS.
    #[arg(long, env = "AMQP_URL", value_name = "AMQP_URL", hide_env = true)]
    pub amqp_url: SecretString,

    /// Address of /healthz and /readyz; none where it is not set.
    #[arg(
        long,
        env = "AUDIT_EXPORT_ADMIN_LISTEN",
        value_name = "AUDIT_EXPORT_ADMIN_LISTEN",
        hide_env = true
    )]
    pub admin_listen: Option<SocketAddr>,

    /// Export jobs at once; half of them (one at least) may be runs that were given back because of a
    /// failure.
    #[arg(long, env = "AUDIT_EXPORT_CONCURRENCY", value_name = "AUDIT_EXPORT_CONCURRENCY", hide_env = true, default_value = "4",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Seconds that jobs in progress get to finish after SIGTERM before they are given back.
    #[arg(long, env = "AUDIT_EXPORT_DRAIN_SECONDS", value_name = "AUDIT_EXPORT_DRAIN_SECONDS", hide_env = true, default_value = "25", value_parser = seconds)]
    pub drain: Duration,

    /// Seconds after which the work of a worker that fell silent is taken from it.
    #[arg(long, env = "AUDIT_EXPORT_LEASE_SECONDS", value_name = "AUDIT_EXPORT_LEASE_SECONDS", hide_env = true, default_value = "60", value_parser = seconds)]
    pub lease: Duration,

    /// true: buckets are addressed by path, for S3-compatible servers without virtual hosts.
    #[arg(long, env = "AUDIT_EXPORT_S3_PATH_STYLE", value_name = "AUDIT_EXPORT_S3_PATH_STYLE", hide_env = true, default_value = "false",
          action = clap::ArgAction::Set)]
    pub s3_path_style: bool,

    /// Seconds that one request to S3 may take.
    #[arg(long, env = "AUDIT_EXPORT_S3_TIMEOUT_SECONDS", value_name = "AUDIT_EXPORT_S3_TIMEOUT_SECONDS", hide_env = true, default_value = "60",
          value_parser = seconds)]
    pub s3_timeout: Duration,

    /// require, or warn: for servers whose STS does not know external ids. Shown as a warning in
    /// every test result.
    #[arg(long, env = "AUDIT_EXPORT_EXTERNAL_ID_CHECK", value_name = "AUDIT_EXPORT_EXTERNAL_ID_CHECK", hide_env = true, default_value = "require",
          value_parser = |text: &str| strictness(text, "warn"))]
    pub external_id_check: Strictness,

    /// require, or off: for servers that do not honour If-None-Match.
    #[arg(long, env = "AUDIT_EXPORT_CONDITIONAL_WRITES", value_name = "AUDIT_EXPORT_CONDITIONAL_WRITES", hide_env = true, default_value = "require",
          value_parser = |text: &str| strictness(text, "off"))]
    pub conditional_writes: Strictness,

    /// Events that one run delivers at most; what is left goes to the next run.
    #[arg(long, env = "AUDIT_EXPORT_RUN_MAX_EVENTS", value_name = "AUDIT_EXPORT_RUN_MAX_EVENTS", hide_env = true, default_value = "250000",
          value_parser = clap::value_parser!(i64).range(1..))]
    pub run_max_events: i64,

    /// Bytes of uncompressed lines that one run delivers at most.
    #[arg(long, env = "AUDIT_EXPORT_RUN_MAX_BYTES", value_name = "AUDIT_EXPORT_RUN_MAX_BYTES", hide_env = true, default_value = "536870912",
          value_parser = clap::value_parser!(i64).range(1..))]
    pub run_max_bytes: i64,

    /// Seconds that one job may sleep between attempts, or wait in vain for answers, before it is given
    /// back.
    #[arg(long, env = "AUDIT_EXPORT_RETRY_SECONDS", value_name = "AUDIT_EXPORT_RETRY_SECONDS", hide_env = true, default_value = "15", value_parser = retry)]
    pub retry_budget: Duration,

    /// Seconds before a run that was given back is tried again; doubled every time, up to 10 minutes.
    #[arg(long, env = "AUDIT_EXPORT_GIVE_BACK_SECONDS", value_name = "AUDIT_EXPORT_GIVE_BACK_SECONDS", hide_env = true, default_value = "15",
          value_parser = seconds)]
    pub give_back: Duration,

    /// Seconds from pausing a destination to its first probe.
    #[arg(long, env = "AUDIT_EXPORT_PROBE_FIRST_SECONDS", value_name = "AUDIT_EXPORT_PROBE_FIRST_SECONDS", hide_env = true, default_value = "60",
          value_parser = seconds)]
    pub probe_first: Duration,

    /// Seconds between the probes of a paused destination at most.
    #[arg(long, env = "AUDIT_EXPORT_PROBE_LONGEST_SECONDS", value_name = "AUDIT_EXPORT_PROBE_LONGEST_SECONDS", hide_env = true, default_value = "3600",
          value_parser = seconds)]
    pub probe_longest: Duration,

    /// text or json.
    #[arg(
        long,
        env = "AUDIT_EXPORT_LOG_FORMAT",
        value_name = "AUDIT_EXPORT_LOG_FORMAT",
        hide_env = true,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

impl Config {
    /// How long runs that were given back wait.
    pub fn give_back_pauses(&self) -> GiveBackPauses {
        GiveBackPauses {
            first: self.give_back,
            longest: LONGEST_GIVE_BACK.max(self.give_back),
        }
    }

    /// How probes are spaced.
    pub fn probe_pauses(&self) -> ProbePauses {
        ProbePauses {
            first: self.probe_first,
            longest: self.probe_longest,
        }
    }
}

/// The longest that a run which was given back waits.
const LONGEST_GIVE_BACK: Duration = Duration::from_mins(10);

/// No job sleeps in a slot for longer.
const LONGEST_RETRY_BUDGET: Duration = Duration::from_secs(30);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = f64::from_str(text).map_err(|_| "is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "must be more than 0 seconds".to_owned())
}

fn retry(text: &str) -> Result<Duration, String> {
    let budget = seconds(text)?;
    if budget > LONGEST_RETRY_BUDGET {
        return Err(format!(
            "must be at most {} seconds",
            LONGEST_RETRY_BUDGET.as_secs()
        ));
    }
    Ok(budget)
}

fn strictness(text: &str, relaxed: &str) -> Result<Strictness, String> {
    match text {
        "require" => Ok(Strictness::Require),
        _ if text == relaxed => Ok(Strictness::Relax),
        _ => Err(format!("must be require or {relaxed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_refused() {
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("x").is_err());
        assert!(seconds("NaN").is_err() && seconds("inf").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(retry("31").is_err());
        assert_eq!(strictness("off", "off"), Ok(Strictness::Relax));
        assert!(strictness("warn", "off").is_err());
    }
}
