//! Logging, set up the same way by both services, and the one page on how to log.
//!
//! **Levels.** `error`: somebody must act on our side. `warn`: something failed and will be tried
//! again, or a customer must act. `info`: a milestone of a job or of the process. `debug` and `trace`:
//! the rest. A failure is logged once, where it is handled; whoever passes it on is silent.
//!
//! **Fields.** One span a request or job carries its ids (`org`, `run`, `test`; of a request also `id`,
//! `method` and `route`), so that no line repeats them. `error` is a failure in a sentence, `reason`
//! why something was refused; counts are `events`, `bytes`, `jobs`; durations name their unit. The
//! message is a constant, what varies is a field.
//!
//! **Never logged**, at any level, and never in an error, a message, a metric or a span:
//! - passwords and keys: URLs of Postgres and RabbitMQ, AWS secret keys and session tokens, the secret
//!   that signs tokens; they are `SecretString`s from where they come in;
//! - tokens of callers, headers, queries and bodies of requests;
//! - whole role ARNs, and the account, path and name in them: [`RoleArn`](crate::destination::RoleArn)
//!   formats as its mask, and AWS's own messages are cleaned where they come in;
//! - audit events, or any part of one but its number;
//! - what others say about values: details of Postgres ([`db::describe`](crate::db::describe) leaves
//!   them out), what a parser quotes, URLs in errors of HTTP clients.
//!
//! **Other crates** cannot know this list. Below `warn` they log requests, frames and parameters, so
//! that is where they are capped, and `RUST_LOG` cannot lift it.

use std::{
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

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
const DEFAULT_FILTER: &str = "info,lapin=error,refinery_core=warn";

/// The crates that keep to the list above: the libraries and the two programs.
const OURS: [&str; 5] = [
    "api",
    "audit_export_api",
    "audit_export_exporter",
    "common",
    "exporter",
];

/// The most that a crate may log, whatever `RUST_LOG` says.
fn ceiling(target: &str) -> LevelFilter {
    let name = target.split("::").next().unwrap_or_default();
    match name {
        _ if OURS.contains(&name) => LevelFilter::TRACE,
        // Names of migrations.
        "refinery_core" => LevelFilter::INFO,
        // Certificates that cannot be read, and connections that break.
        "aws_smithy_http_client" => LevelFilter::WARN,
        // Errors with the role in them, and lines of credentials files that cannot be read. What goes
        // wrong there comes back to us, and is logged by us.
        _ if name.starts_with("aws_") => LevelFilter::OFF,
        // Messages that come back, with their bodies.
        "lapin" => LevelFilter::ERROR,
        _ => LevelFilter::WARN,
    }
}

/// Starts logging to standard error, filtered by `RUST_LOG` below the ceiling.
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
    let colours = io::stderr().is_terminal();
    tracing_subscriber::registry()
        .with(lines(format, filter, io::stderr, colours))
        .init();
    Ok(())
}

/// What writes lines.
fn lines<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
    colours: bool,
) -> impl Layer<Registry> + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let capped = filter_fn(|metadata| *metadata.level() <= ceiling(metadata.target()))
        .with_max_level_hint(LevelFilter::TRACE);
    lines.with_filter(filter.and(capped))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of what `say` says.
    fn written(format: LogFormat, filter: &str, say: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = {
            let sink = sink.clone();
            move || sink.clone()
        };
        let lines = lines(format, EnvFilter::new(filter), writer, false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), say);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_filter_lifts_the_ceiling() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for filter in [
                "trace",
                "off,exporter=trace,hyper=trace,lapin=trace,aws_smithy_runtime=trace,deadpool=trace",
            ] {
                let said = written(format, filter, || {
                    tracing::trace!(target: "aws_smithy_runtime::client::http", "secret 1");
                    tracing::error!(target: "aws_smithy_runtime_api::client", "secret 2");
                    tracing::info!(target: "hyper::proto", "secret 3");
                    tracing::warn!(target: "lapin::returned_messages", "secret 4");
                    let _span =
                        tracing::info_span!(target: "hyper", "secret 5", role = "x").entered();
                    tracing::trace!(target: "exporter::s3", "ours");
                    tracing::warn!(target: "deadpool.postgres", "theirs");
                });
                assert!(!said.contains("secret"), "{filter}: {said}");
                assert!(
                    said.contains("ours") && said.contains("theirs"),
                    "{filter}: {said}"
                );
            }
        }
    }

    #[test]
    fn below_the_ceiling_the_filter_decides() {
        let said = written(LogFormat::Text, "api=info", || {
            tracing::debug!(target: "api::server", "too much");
            tracing::info!(target: "api::server", "enough");
            tracing::error!(target: "common", "not asked for");
        });
        assert!(said.contains("enough"), "{said}");
        assert!(
            !said.contains("too much") && !said.contains("not asked for"),
            "{said}"
        );
    }

    #[test]
    fn a_crate_is_known_by_its_whole_name() {
        for ours in [
            "api",
            "api::server",
            "audit_export_exporter",
            "common::queue",
        ] {
            assert_eq!(ceiling(ours), LevelFilter::TRACE, "{ours}");
        }
        for other in ["apis", "api_client::wire", "exporters", "h2", "", "log"] {
            assert_eq!(ceiling(other), LevelFilter::WARN, "{other}");
        }
        assert_eq!(ceiling("aws_sigv4::http_request"), LevelFilter::OFF);
        assert_eq!(ceiling("refinery_core::traits::async"), LevelFilter::INFO);
    }
}
