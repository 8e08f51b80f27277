//! The last line of `./test`: a skipped test is named and never counted as passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{path::Path, process::Command};

const DOCUMENTATION: &str =
    "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";

/// The summary of a run with these numbers of tests: whether it counts as successful, and its lines.
fn summary(tests: usize, failures: usize, errors: usize, skipped: &str, ci: bool) -> (bool, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let report = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"nextest-run\" tests=\"{tests}\" skipped=\"0\" failures=\"{failures}\" errors=\"{errors}\" uuid=\"a\">\n    \
         <testsuite name=\"starling-keys\" tests=\"1\" skipped=\"0\" errors=\"0\" failures=\"0\">\n"
    );
    let files = [write("report", &report), write("documentation", DOCUMENTATION), write("skipped", skipped)];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-summary");
    let output = Command::new(script).args(files).env("CI", if ci { "true" } else { "" }).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.success(), lines)
}

#[test]
fn tests_of_code_and_of_documentation_are_counted_together() {
    assert_eq!(summary(10, 0, 0, "", true), (true, vec!["12 passed, 0 failed, 0 skipped".to_owned()]));
}

#[test]
fn failures_and_errors_fail_the_run() {
    assert_eq!(summary(10, 1, 2, "", false), (false, vec!["9 passed, 3 failed, 0 skipped".to_owned()]));
}

#[test]
fn a_skipped_test_is_named_and_is_not_passed() {
    // One test may say it more than once.
    let (success, lines) = summary(10, 0, 0, "nat: needs root\nnat: needs root\nsound: needs pulseaudio\n", false);
    let expected = ["SKIPPED nat: needs root", "SKIPPED sound: needs pulseaudio", "10 passed, 0 failed, 2 skipped"];
    assert_eq!((success, lines), (true, expected.map(str::to_owned).to_vec()));
}

#[test]
fn on_ci_a_skipped_test_fails_the_run() {
    assert!(!summary(10, 0, 0, "nat: needs root\n", true).0);
}

#[test]
fn a_run_of_no_test_is_no_success() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-summary");
    let output = Command::new(script).args(["/nonexistent", "/dev/null", "/dev/null"]).output().unwrap();
    assert!(!output.status.success());
}
