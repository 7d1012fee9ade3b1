//! Figures that tests measure, for people to read.

use std::{env, fs, path::PathBuf};

/// Prints a text, and leaves it in `AUDIT_EXPORT_TEST_REPORT_DIR`, where `tests/run.sh` collects what
/// it shows after the tests. Without that variable it is printed only.
#[allow(clippy::print_stdout, reason = "for --nocapture")]
pub fn write(name: &str, text: &str) {
    println!("{}", text.trim_end());
    if let Some(dir) = env::var_os("AUDIT_EXPORT_TEST_REPORT_DIR") {
        let path = PathBuf::from(dir).join(format!("{name}.txt"));
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
