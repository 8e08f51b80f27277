//! A signal ends a program at once, whatever it is doing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use starling_tests::{PATIENCE, World, program, until};

/// Sends a signal; the exit code, or nothing when the program did not end. One that has missed the signal goes on for much longer than this waits, or
/// for ever.
fn end_with(signal: &str, child: &mut Child) -> Option<i32> {
    Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Waits for the first byte of output, and leaves everything else in the pipe.
fn said_something(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert!(!out.fill_buf().unwrap().is_empty(), "the program ended before it said anything");
    out
}

/// A world where two know each other, and `bob` has sent so much that a pipe cannot hold it.
fn world_with_news() -> World {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("bob", "alice");
    let lines = format!("{}\n", "x".repeat(1_000)).repeat(500);
    assert_eq!(world.send_lines("bob", "@alice", &lines), 0);
    world
}

#[test]
fn a_listener_ends_with_a_signal_while_events_flow_and_when_nobody_reads_them() {
    let world = world_with_news();
    let mut listen = world.starling("bob");
    listen.args(["listen", "--since", "all", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    // Nobody reads what comes after the first lines: the pipe fills, and the listener waits for its reader.
    let mut blocked = listen.spawn().unwrap();
    let _out = said_something(&mut blocked);
    assert_eq!(end_with("TERM", &mut blocked), Some(0), "with a standard output that is blocked");
    for attempt in 0..5 {
        let mut child = listen.spawn().unwrap();
        let mut out = said_something(&mut child);
        let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        assert_eq!(end_with("TERM", &mut child), Some(0), "while events flow, attempt {attempt}");
        reader.join().unwrap().unwrap();
    }
    let mut child = listen.spawn().unwrap();
    let _out = said_something(&mut child);
    assert_eq!(end_with("INT", &mut child), Some(130));
}

#[test]
fn a_daemon_ends_with_a_signal_that_comes_right_after_its_ready_line() {
    let world = World::new();
    world.person("alice");
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "XCPU"] {
        let mut daemon = world.starling("alice").args(["daemon", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let _out = said_something(&mut daemon);
        assert_eq!(end_with(signal, &mut daemon), Some(0), "{signal}");
        assert!(!world.dir.path().join("profiles/alice/control-socket").exists(), "{signal}");
    }
}

#[test]
fn a_daemon_that_was_started_with_nohup_stays_when_the_terminal_goes() {
    let world = World::new();
    world.person("alice");
    let starling = world.starling("alice");
    let mut command = Command::new("nohup");
    command
        .arg(starling.get_program())
        .args(starling.get_args())
        .args(["daemon", "--json"])
        .env("XDG_RUNTIME_DIR", world.dir.path());
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _out = said_something(&mut daemon);
    Command::new("kill").args(["-HUP", &daemon.id().to_string()]).status().unwrap();
    assert!(world.run("alice", &["--no-spawn", "whoami"]).status.success());
    assert_eq!(end_with("TERM", &mut daemon), Some(0));
}

#[test]
fn a_file_that_grows_too_large_is_an_error_and_ends_nothing_at_once() {
    let world = World::new();
    let starling = world.starling("alice");
    let mut command = Command::new("sh");
    // In blocks of 512 bytes or 1 KiB: less than a new profile has.
    command.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(starling.get_program()).args(starling.get_args());
    let output =
        command.args(["init", "--name", "alice", "--json"]).env("XDG_RUNTIME_DIR", world.dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("File too large"), "{output:?}");
}

#[test]
fn verbs_that_wait_end_with_a_signal() {
    let world = world_with_news();
    // A node for all of them: its answers show that they have come as far as waiting.
    let mut daemon = world.starling("bob").args(["daemon", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let _ready = said_something(&mut daemon);
    let cases: [(&[&str], i32); 3] = [
        (&["chat", "--plain", "@alice"], 143),
        (&["call", "answer", "--auto", "--json"], 0),
        (&["invite", "--code"], 143),
    ];
    for (args, code) in cases {
        let mut command = world.starling("bob");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let _out = said_something(&mut child);
        assert_eq!(end_with("TERM", &mut child), Some(code), "{args:?}");
        drop(stdin);
    }
    // These say nothing before they wait; a message in the history shows how far they are.
    let count = || world.texts("bob", "@alice", 5_000).len();
    for args in [&["send", "@alice", "--lines"][..], &["send", "@alice", "hi", "--wait", "read", "--timeout", "600s"]] {
        let before = count();
        let mut command = world.starling("bob");
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"hello\n").unwrap();
        until("the message", || (count() > before).then_some(()));
        assert_eq!(end_with("TERM", &mut child), Some(143), "{args:?}");
        drop(stdin);
    }
    assert_eq!(end_with("TERM", &mut daemon), Some(0));
}

#[test]
fn a_trial_that_is_terminated_leaves_no_processes_and_no_files() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("starling"));
    command.args(["try", "--headless"]).env("TMPDIR", temporary.path()).env("XDG_RUNTIME_DIR", temporary.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _out = said_something(&mut child);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    assert_eq!(end_with("TERM", &mut child), Some(143));
    for id in children.split_whitespace() {
        let cmdline = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&cmdline).contains("starling"), "process {id} is left");
    }
    let left = std::fs::read_dir(temporary.path()).unwrap().flatten().map(|e| e.file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("starling-try-")).count(), 0);
}
