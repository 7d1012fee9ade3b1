//! The servers and programs that the tests are given, by environment variable.

use std::path::{Path, PathBuf};

/// The value of a variable that `tests/run.sh` sets.
///
/// Where it is missing the test fails: a test that passes without its server shows nothing.
pub fn required(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: run the tests by tests/run.sh, which starts the servers"),
    }
}

/// A program of `tests/tools.txt`, which `tests/run.sh` installs.
pub fn tool(name: &str) -> PathBuf {
    let program = Path::new(&required("AUDIT_EXPORT_TEST_TOOLS")).join(name);
    assert!(
        program.is_file(),
        "there is no {}: run the tests by tests/run.sh, which installs it",
        program.display()
    );
    program
}
