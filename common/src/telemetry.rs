//! Logging, set up the same way by both services.
//!
//! Policy: one span a request or job carries its ids (`org`, `run`, `test`), so that no line repeats
//! them. `error`: somebody must act on our side. `warn`: something failed and will be tried again, or
//! a customer must act. `info`: a job's or a process's milestones. `debug`: the rest. A failure is
//! logged once, where it is handled. Never logged: tokens, secrets, whole role ARNs, events.

use std::{fmt, io::IsTerminal, str::FromStr};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is neither text nor json".into()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,lapin=error,aws_config=error,refinery_core=warn";

/// Starts logging to standard error, filtered by `RUST_LOG`.
///
/// # Errors
/// `RUST_LOG` is set to something that is not a filter.
pub fn init(format: LogFormat) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(text).map_err(|e| format!("RUST_LOG: {e}"))?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
