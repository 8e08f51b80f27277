//! The examples do what they say, and the lines of a real session are those of the schema.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use starling_tests::{Process, World, program, skip, until};

#[test]
fn the_echo_bot_answers_each_message_once_also_what_it_missed() {
    let world = World::new();
    world.person("alice");
    world.json("echo", &["init", "--name", "echo", "--bot", "--rendezvous", &world.address]);
    world.befriend("echo", "alice");
    let daemon = Process::start(world.starling("echo").args(["daemon", "--json"]).stderr(Stdio::null()));
    let socket = daemon.json()["socket"].as_str().unwrap().to_owned();
    let _alice = world.daemon("alice");
    let listener = world.listen("alice", "now");
    listener.wait_for("the listener", |e| e["type"] == "stream.ready");
    let start = || {
        let mut command = Command::new(program("echo-bot"));
        let bot = Process::start(command.arg(&socket).arg(world.dir.path().join("cursor")));
        while bot.line() != "ready" {}
        bot
    };
    let answer =
        || listener.wait_for("an answer", |e| e["type"] == "message.new" && e["message"]["from"]["self"] == false);

    let mut bot = start();
    world.json("alice", &["send", "@echo", "one"]);
    assert_eq!(answer()["message"]["text"], "one");
    assert_eq!(bot.line(), "answered");
    bot.kill();
    // The daemon takes it while the bot is away.
    world.json("alice", &["send", "@echo", "two", "--wait", "delivered"]);
    let _bot = start();
    assert_eq!(answer()["message"]["text"], "two");
    world.json("alice", &["send", "@echo", "three"]);
    assert_eq!(answer()["message"]["text"], "three");
    assert_eq!(world.texts("alice", "@echo", 50), ["one", "one", "two", "two", "three", "three"]);
}

#[test]
fn two_nodes_in_one_program_write_to_each_other() {
    let world = World::new();
    let output = Command::new(program("two-nodes")).arg(&world.address).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "bob received: Hello from Alice\nalice received: Hello from Bob\n");
}

/// A Python that has the package: the first in `PATH`, or the system's. Otherwise what each of them says.
fn python_with_jsonschema() -> Result<&'static str, String> {
    let mut said = String::new();
    for python in ["python3", "/usr/bin/python3"] {
        match Command::new(python).args(["-c", "import jsonschema"]).output() {
            Ok(output) if output.status.success() => return Ok(python),
            Ok(output) => said += &format!("\n{python}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)),
            Err(error) => said += &format!("\n{python}: {error}"),
        }
    }
    Err(said)
}

#[test]
fn the_lines_of_a_session_with_messages_calls_and_devices_are_those_of_the_schema() {
    let python = match python_with_jsonschema() {
        Ok(python) => python,
        Err(said) => return skip(&format!("the Python package jsonschema{said}")),
    };
    let world = World::of_friends();
    world.link("alice", "tablet");
    let (_alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
    let sent = world.json("bob", &["send", "@alice", "hello", "--wait", "delivered"]);
    let bob = world.json("bob", &["contacts", "list"])["chat"].as_str().unwrap().to_owned();
    let rpc = |method: &str, params: serde_json::Value| {
        let output = world.run("bob", &["rpc", method, &params.to_string()]);
        assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let message = &sent["id"];
    rpc("react", serde_json::json!({ "chat": bob, "message": message, "emoji": "👍" }));
    rpc("edit", serde_json::json!({ "chat": bob, "message": message, "text": "hello!" }));
    rpc("typing", serde_json::json!({ "chat": bob }));
    rpc("delete", serde_json::json!({ "chat": bob, "message": message }));
    let is_deleted = || {
        let history = world.run("alice", &["history", "@bob", "--json"]).stdout;
        let history = String::from_utf8(history).unwrap();
        let mut messages = history.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        messages.any(|shown| shown["id"] == *message && shown["deleted"] == true)
    };
    until("the deletion, at alice", || is_deleted().then_some(()));
    let listener = world.listen("alice", "all");
    let mut lines: Vec<String> = Vec::new();
    let mut until_line = |what: &str, fits: &dyn Fn(&serde_json::Value) -> bool| loop {
        let line = listener.line();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        lines.push(line);
        if fits(&value) {
            break;
        }
        assert!(lines.len() < 1_000, "waited in vain for {what}");
    };
    until_line("the end of what was", &|e| e["type"] == "stream.ready");
    let media = ["--audio-in", "tone", "--audio-out", "none"];
    let call = world.starling("bob").args(["call", "start", "@alice", "--duration", "1s"]).args(media).spawn();
    until_line("the call", &|e| e["type"] == "call.incoming");
    let answered = world.run("alice", &[&["call", "answer"][..], &media].concat());
    assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    assert!(call.unwrap().wait().unwrap().success());
    until_line("the note of the call", &|e| e["type"] == "call.ended");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check-lines");
    let mut check = Command::new(python);
    check.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    for kind in ["message.new", "message.deleted", "device.linked", "contact.accepted", "call.state", "call.ended"] {
        assert!(said.contains(kind), "{kind} is not among {said}");
    }
}
