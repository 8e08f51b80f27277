//! A test that hangs fails with the last lines of its processes, and leaves none of them behind: with processes of the test world
//! by the world's own limit, and in any other way by the test runner's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{path::Path, process::Command};

use starling_tests::{Process, run_to_end, skip, until};

/// Says something, starts a process, and does not end. The marker, a number, finds these processes again.
fn hanging(marker: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo still here; sleep 1000.{marker} & sleep 1000.{marker}; echo over")]);
    command
}

fn marked(marker: &str) -> usize {
    let argument = format!("1000.{marker}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.windows(argument.len()).any(|part| part == argument.as_bytes())).count()
}

#[test]
#[ignore = "hangs, until the watchdog ends it: run by the test below"]
fn hangs_with_a_process() {
    let marker = std::env::var("MARKER").unwrap();
    let mut process = Process::start(&mut hanging(&marker));
    assert_eq!(process.wait(), 0, "it was killed");
}

#[test]
#[ignore = "hangs, until the watchdog ends it: run by the test below"]
fn hangs_with_a_process_that_nobody_watches() {
    let _watched = Process::start(&mut hanging(&std::env::var("MARKER").unwrap()));
    assert!(hanging(&std::env::var("MARKER").unwrap()).status().unwrap().success(), "it was killed");
}

/// Runs one of the tests above with a limit of a second; what it printed.
fn killed(test: &str, marker: &str, runner: bool) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]);
    command.env("MARKER", marker).env("STARLING_TEST_LIMIT", "1").env_remove("NEXTEST_TEST_NAME");
    if runner {
        command.env("NEXTEST_TEST_NAME", test);
    }
    let output = run_to_end(&mut command);
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "a test that hung has passed:\n{printed}");
    until("the end of its processes", || (marked(marker) == 0).then_some(()));
    printed
}

#[test]
fn a_hanging_process_is_killed_with_its_children_and_its_last_lines_are_shown() {
    for (runner, n) in [(true, 1), (false, 2)] {
        let printed = killed("hangs_with_a_process", &format!("{}{n}", std::process::id()), runner);
        assert!(printed.contains("hangs_with_a_process took longer than 1s"), "{printed}");
        assert!(printed.contains("\nstill here\n"), "{printed}");
    }
}

#[test]
fn what_a_hanging_test_started_by_itself_is_killed_too() {
    killed("hangs_with_a_process_that_nobody_watches", &format!("{}3", std::process::id()), true);
}

#[test]
fn the_test_runner_kills_what_hangs_in_any_other_way() {
    let has_runner = Command::new("cargo").args(["nextest", "--version"]).output();
    if !has_runner.is_ok_and(|output| output.status.success()) {
        return skip("cargo-nextest");
    }
    let crate_dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = crate_dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let marker = format!("{}4", std::process::id());
    write("Cargo.toml", "[package]\nname = \"hanging\"\nedition = \"2024\"\n[workspace]\n");
    let hangs = format!(
        "#[test] fn works() {{}}
         #[test] fn hangs() {{
             println!(\"still here\");
             std::process::Command::new(\"sleep\").arg(\"1000.{marker}\").status().unwrap();
         }}"
    );
    write("src/lib.rs", &hangs);
    // The settings name these.
    for name in ["networks", "roaming", "laboratory", "group_nats", "sound"] {
        write(&format!("tests/{name}.rs"), "");
    }
    // The project's own settings, with a shorter time.
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.config/nextest.toml");
    let settings = std::fs::read_to_string(settings).unwrap();
    let shorter = settings.replace("period = \"60s\", terminate-after = 10", "period = \"1s\", terminate-after = 1");
    assert_ne!(shorter, settings, "the limit has another form: adapt this test");
    write(".config/nextest.toml", &shorter);
    let mut command = Command::new("cargo");
    command.args(["nextest", "run", "--offline"]).current_dir(crate_dir.path());
    command.env("CARGO_TARGET_DIR", crate_dir.path().join("target"));
    // What the runner that runs this test has set.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NEXTEST") {
            command.env_remove(name);
        }
    }
    let output = run_to_end(&mut command);
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && printed.contains("1 passed, 1 timed out"), "{printed}");
    assert!(printed.contains("still here"), "{printed}");
    until("the end of its processes", || (marked(&marker) == 0).then_some(()));
}
