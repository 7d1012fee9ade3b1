//! The table of attacks and mistakes that tests have tried, for people to read.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The file of rows, in `AUDIT_EXPORT_TEST_REPORT_DIR`. `tests/run.sh` makes the table of it.
const FILE: &str = "attacks.tsv";

/// Says that something was tried and refused: what kind of attack or mistake it is, by which the
/// table is sorted; what was tried; and how it was refused. Call it after the assertions, so that
/// a row stands only for what was seen.
#[allow(clippy::print_stdout, reason = "for --nocapture")]
pub fn record(attack: &str, tried: &str, refused: &str) {
    println!("refused: {attack}: {tried}: {refused}");
    if let Some(dir) = env::var_os("AUDIT_EXPORT_TEST_REPORT_DIR") {
        let path = PathBuf::from(dir).join(FILE);
        append(&path, [attack, tried, refused])
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Tests run beside each other, in two programs: a row is appended by one write, so that none is
/// torn.
fn append(path: &Path, row: [&str; 3]) -> io::Result<()> {
    for cell in row {
        let plain = !cell.trim().is_empty() && !cell.contains(char::is_control);
        assert!(plain, "not a cell of the table: {cell:?}");
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{}\n", row.join("\t")).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, thread};

    use super::*;

    #[test]
    fn rows_of_many_threads_are_all_there_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        thread::scope(|scope| {
            for n in 0..50 {
                let path = &path;
                scope.spawn(move || {
                    append(path, ["confused deputy", &format!("{n}"), "by STS"]).unwrap();
                });
            }
        });
        let text = fs::read_to_string(path).unwrap();
        let expected: HashSet<_> = (0..50)
            .map(|n| format!("confused deputy\t{n}\tby STS"))
            .collect();
        assert_eq!(text.lines().count(), 50);
        assert_eq!(
            text.lines().map(str::to_owned).collect::<HashSet<_>>(),
            expected
        );
    }

    #[test]
    #[should_panic(expected = "not a cell")]
    fn a_row_is_one_line() {
        append(Path::new("never-made"), ["a", "b\tc", "d"]).unwrap();
    }
}
