//! The README's table of settings says what the programs say.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};

const README: &str = include_str!("../../README.md");
/// Read by a library, not by us.
const OF_LIBRARIES: [&str; 1] = ["RUST_LOG"];

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
    let rows = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    for (variable, _) in rows.filter(|(variable, _)| !OF_LIBRARIES.contains(variable)) {
        assert!(known.contains(variable), "no program reads {variable}");
    }
}
