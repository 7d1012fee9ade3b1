//! What cargo-deny does not check of the dependencies, and that no crate of ours opts out of the lints.

use std::{fs, path::Path};

use harness::project::{files, root};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

const RULES: &str = include_str!("../../deny.toml");
const LOCK: &str = include_str!("../../Cargo.lock");
/// The one file that may know the `backoff` crate, as its exception says.
const KNOWS_BACKOFF: &str = "exporter/src/retry.rs";

/// An advisory that is put up with for a while.
struct Exception {
    advisory: &'static str,
    krate: &'static str,
    review_by: Date,
}

fn exceptions() -> Vec<Exception> {
    let (_, list) = RULES.split_once("\nignore = [\n").expect("a list");
    let (list, _) = list.split_once("\n]").expect("the end of the list");
    let read = |line: &'static str| {
        let (advisory, reason) = line
            .strip_prefix("    { id = \"")?
            .strip_suffix("\" },")?
            .split_once("\", reason = \"")?;
        let (krate, rest) = reason.split_once(", review by ")?;
        let (date, why) = rest.split_once(": ")?;
        assert!(!why.is_empty(), "{line}");
        Some(Exception {
            advisory,
            krate,
            review_by: date.parse().ok()?,
        })
    };
    list.lines()
        .map(|line| read(line).unwrap_or_else(|| panic!("not in the form of an exception: {line}")))
        .collect()
}

#[test]
fn every_exception_is_needed_and_not_overdue() {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let exceptions = exceptions();
    assert!(!exceptions.is_empty());
    for exception in exceptions {
        let Exception {
            advisory,
            krate,
            review_by,
        } = exception;
        assert!(
            LOCK.contains(&format!("\nname = \"{krate}\"\n")),
            "{advisory}: {krate} is no longer used, so deny.toml need not except it"
        );
        assert!(
            today <= review_by,
            "{advisory}: {krate} was to be looked at again by {review_by}"
        );
    }
}

#[test]
fn one_file_knows_the_crate_that_is_not_maintained() {
    let knows = |path: &Path| fs::read_to_string(path).unwrap().contains("backoff::");
    let found = files(&root(), &|name| name.ends_with(".rs"));
    let found: Vec<_> = found
        .into_iter()
        .filter(|path| !path.ends_with(file!()) && knows(path))
        .collect();
    assert_eq!(found, [root().join(KNOWS_BACKOFF)]);
}

#[test]
fn no_crate_of_ours_may_hold_unsafe_code() {
    let manifests = files(&root(), &|name| name == "Cargo.toml");
    assert!(manifests.len() > 5, "{manifests:?}");
    for path in manifests {
        let manifest = fs::read_to_string(&path).unwrap();
        let of_workspace =
            "\n[workspace.lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"forbid\"\n";
        let of_package = "\n[lints]\nworkspace = true\n";
        // The fuzz targets are a package, and a workspace of their own.
        let rules = [("[workspace]\n", of_workspace), ("[package]\n", of_package)];
        for (_, rule) in rules.iter().filter(|(table, _)| manifest.contains(table)) {
            assert!(manifest.contains(rule), "{} lacks{rule}", path.display());
        }
    }
}
