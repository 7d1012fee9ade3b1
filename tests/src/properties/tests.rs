//! Every property, for the committed corpora and for some thousands of inputs made from them.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestError, TestRunner},
};

use super::{ALL, Property};

/// Inputs made for each property.
const CASES: u32 = 1_500;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs that are kept for a property, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz().join("corpus").join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "{}", dir.display());
    inputs
}

#[test]
fn properties_hold_for_the_corpora() {
    for (name, property) in ALL {
        for (file, input) in corpus(name) {
            let held = catch_unwind(|| property(&input));
            assert!(held.is_ok(), "corpus/{name}/{file}");
        }
    }
}

#[test]
fn there_is_a_target_and_a_corpus_for_each() {
    let names: Vec<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        let target = fs::read_to_string(fuzz().join(format!("targets/{name}.rs"))).unwrap();
        assert!(
            target.contains(&format!("fuzz::properties::{name}(")),
            "{target}"
        );
        assert!(
            manifest.contains(&format!(
                "\nname = \"{name}\"\npath = \"targets/{name}.rs\"\n"
            )),
            "{name}"
        );
    }
    for dir in ["corpus", "targets"] {
        let entries = fs::read_dir(fuzz().join(dir)).unwrap();
        let stems = entries.map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        });
        let mut stems: Vec<_> = stems.collect();
        stems.sort();
        assert_eq!(stems, names, "{dir}");
    }
}

/// What is done to an input of the corpus.
#[derive(Debug, Clone)]
enum Change {
    Insert(Index, Vec<u8>),
    Overwrite(Index, u8),
    Remove(Index, Index),
    /// Its end becomes that of another one.
    Cross(Index, Index, Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let byte = prop_oneof![any::<u8>(), b' '..=b'~'];
    let telling = select(vec![
        "\"", "\\", "\\ud800", "\\u0000", "{", "[", ",", ":", ".", "..", "//", "%", "\0", "null",
        "é",
    ]);
    let piece = prop_oneof![
        vec(byte.clone(), 1..4),
        telling.prop_map(|text| text.as_bytes().to_vec()),
    ];
    let index = any::<Index>;
    let change = prop_oneof![
        (index(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (index(), byte).prop_map(|(at, byte)| Change::Overwrite(at, byte)),
        (index(), index()).prop_map(|(from, to)| Change::Remove(from, to)),
        (index(), index(), index()).prop_map(|(at, other, from)| Change::Cross(at, other, from)),
    ];
    vec(change, 0..6)
}

fn changed(inputs: &[(String, Vec<u8>)], first: &Index, changes: &[Change]) -> Vec<u8> {
    let mut input = first.get(inputs).1.clone();
    for change in changes {
        match change {
            Change::Insert(at, piece) => {
                let at = at.index(input.len() + 1);
                drop(input.splice(at..at, piece.iter().copied()));
            }
            Change::Overwrite(at, byte) if !input.is_empty() => *at.get_mut(&mut input) = *byte,
            Change::Overwrite(..) => {}
            Change::Remove(from, to) => {
                let (from, to) = (from.index(input.len() + 1), to.index(input.len() + 1));
                drop(input.drain(from.min(to)..from.max(to)));
            }
            Change::Cross(at, other, from) => {
                let other = &other.get(inputs).1;
                input.truncate(at.index(input.len() + 1));
                input.extend(&other[from.index(other.len() + 1)..]);
            }
        }
    }
    input
}

fn holds_for_what_is_made_of_the_corpus((name, property): Property) {
    let inputs = corpus(name);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let made = (any::<Index>(), changes());
    let outcome = TestRunner::new(config).run(&made, |(first, changes)| {
        let input = changed(&inputs, &first, &changes);
        catch_unwind(AssertUnwindSafe(|| property(&input)))
            .map_err(|_| TestCaseError::fail(input.escape_ascii().to_string()))
    });
    if let Err(TestError::Fail(input, _)) = outcome {
        panic!("{name} does not hold for b\"{input}\"");
    }
    outcome.unwrap();
}

macro_rules! for_what_is_made {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let property = ALL.into_iter().find(|(name, _)| *name == stringify!($name));
            holds_for_what_is_made_of_the_corpus(property.unwrap());
        }
    )*};
}

for_what_is_made!(config destination events headers jobs keys tokens urls);
