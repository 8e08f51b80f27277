//! The inputs that are kept in `tests/__fuzz__/TARGET/corpus`, which each run of a target tries before random ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, path::Path};

/// An input says what it is by its name; what is larger than this was not minimised.
const MAX_INPUT: u64 = 16 * 1024;

#[test]
fn every_target_has_inputs_and_all_inputs_have_a_target() {
    let source = [include_str!("decoders.rs"), include_str!("network.rs")].concat();
    let targets: BTreeSet<String> = source
        .split("#[test]\nfn ")
        .skip(1)
        .map(|rest| rest.split_once('(').expect("a function").0.to_owned())
        .collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__");
    let kept = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(kept.collect::<BTreeSet<_>>(), targets);
    for target in targets {
        let inputs: Vec<_> = std::fs::read_dir(directory.join(&target).join("corpus")).unwrap().flatten().collect();
        assert!(!inputs.is_empty(), "{target} has no input");
        for input in inputs {
            assert!(input.metadata().unwrap().len() <= MAX_INPUT, "{} is too large", input.path().display());
        }
    }
}
