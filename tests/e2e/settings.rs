//! Settings: the README's table says what the programs say, and what is missing is named.

use std::{collections::BTreeSet, path::Path, process::Command as Process};

use clap::{Command, CommandFactory};
use harness::required;

const README: &str = include_str!("../../README.md");
/// Read by a library, not by us.
const OF_LIBRARIES: [&str; 2] = ["RUST_LOG", "SSL_CERT_FILE"];

/// Each variable that a program or one of its commands reads, with its default.
fn variables(command: &Command, found: &mut Vec<(String, String)>) {
    for argument in command.get_arguments() {
        if let Some(variable) = argument.get_env() {
            let default = argument.get_default_values().first();
            let default = default
                .map(|d| d.to_string_lossy().into_owned())
                .unwrap_or_default();
            found.push((variable.to_string_lossy().into_owned(), default));
        }
    }
    command
        .get_subcommands()
        .for_each(|sub| variables(sub, found));
}

fn row(variable: &str) -> Option<&'static str> {
    README
        .lines()
        .find(|line| line.starts_with(&format!("| `{variable}` |")))
}

#[test]
fn every_variable_has_a_row_with_its_default_and_no_row_is_idle() {
    let mut known = Vec::new();
    variables(&api::config::Cli::command(), &mut known);
    variables(&exporter::Config::command(), &mut known);
    assert!(known.len() > 20, "{known:?}");
    for (variable, default) in &known {
        let row = row(variable).unwrap_or_else(|| panic!("the README does not name {variable}"));
        assert!(
            default.is_empty() || row.contains(&format!("`{default}`")),
            "{default}: {row}"
        );
    }

    let known: BTreeSet<_> = known
        .iter()
        .map(|(variable, _)| variable.as_str())
        .collect();
    // Other tables are of fields, which begin with a small letter.
    let rows = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .filter(|(variable, _)| variable.starts_with(|c: char| c.is_ascii_uppercase()));
    for (variable, _) in rows.filter(|(variable, _)| !OF_LIBRARIES.contains(variable)) {
        assert!(known.contains(variable), "no program reads {variable}");
    }
}

#[test]
fn a_missing_value_stops_the_start_with_its_name() {
    let of_both = ["DATABASE_URL", "AMQP_URL"];
    let of_api = ["AUDIT_EXPORT_JWT_ISSUER", "AUDIT_EXPORT_JWT_AUDIENCE"];
    for (program, more) in [
        ("audit-export-api", &of_api[..]),
        ("audit-export-exporter", &[]),
    ] {
        let path = Path::new(&required("AUDIT_EXPORT_TEST_BIN_DIR")).join(program);
        let output = Process::new(path).env_clear().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        for variable in of_both.iter().chain(more) {
            assert!(said.contains(variable), "{variable}: {said}");
        }
    }
}
