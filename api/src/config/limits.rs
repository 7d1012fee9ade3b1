//! How much is allowed before something is refused.

use std::num::NonZeroU32;

use clap::Args;

/// How much is allowed, of one process of the API.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// How often an organisation may test its destination, or save it, in a minute; a caller may twice
    /// as often, over all organisations. Of each replica.
    #[arg(
        long,
        env = "AUDIT_EXPORT_TESTS_PER_MINUTE",
        value_name = "AUDIT_EXPORT_TESTS_PER_MINUTE",
        hide_env = true,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub tests_per_minute: u32,
    /// How often an organisation may ask for an export in a minute; a caller may twice as often, over
    /// all organisations. Of each replica.
    #[arg(
        long,
        env = "AUDIT_EXPORT_RUNS_PER_MINUTE",
        value_name = "AUDIT_EXPORT_RUNS_PER_MINUTE",
        hide_env = true,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub runs_per_minute: u32,
    /// Requests that are worked on at once, beside half as many that ingest and a quarter as many that
    /// wait for tests; of each an organisation's admins have a sixteenth. More are refused (503, 429).
    #[arg(
        long,
        env = "AUDIT_EXPORT_MAX_REQUESTS",
        value_name = "AUDIT_EXPORT_MAX_REQUESTS",
        hide_env = true,
        default_value_t = 1_024,
        value_parser = clap::value_parser!(u32).range(16..=65_536)
    )]
    pub max_requests: u32,
    /// Connections at once. Where they run out, the one that has asked nothing for the longest time
    /// makes room; as long as all are busy, more wait.
    #[arg(
        long,
        env = "AUDIT_EXPORT_MAX_CONNECTIONS",
        value_name = "AUDIT_EXPORT_MAX_CONNECTIONS",
        hide_env = true,
        default_value_t = 4_096,
        value_parser = clap::value_parser!(u32).range(16..=65_536)
    )]
    pub max_connections: u32,
}

impl Limits {
    /// The first, which is never 0.
    #[must_use]
    pub fn tests_per_minute(&self) -> NonZeroU32 {
        NonZeroU32::new(self.tests_per_minute).unwrap_or(NonZeroU32::MIN)
    }

    /// The second, which is never 0.
    #[must_use]
    pub fn runs_per_minute(&self) -> NonZeroU32 {
        NonZeroU32::new(self.runs_per_minute).unwrap_or(NonZeroU32::MIN)
    }
}
