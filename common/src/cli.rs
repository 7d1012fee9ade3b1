//! Command lines on which the usual command need not be named.

use std::ffi::OsString;

/// What asks for help or the version, whatever the command.
const HELP: [&str; 5] = ["help", "-h", "--help", "-V", "--version"];

/// The arguments, the program's name first, with the first of the commands put in where none is named
/// and no help is asked for.
pub fn with_default_command(
    program: &str,
    commands: &[&str],
    arguments: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.is_empty() {
        arguments.push(program.into());
    }
    let known = |argument: &OsString| commands.iter().chain(&HELP).any(|word| argument == word);
    if !arguments[1..].iter().any(known) {
        arguments.insert(1, commands[0].into());
    }
    arguments
}
