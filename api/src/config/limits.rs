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
