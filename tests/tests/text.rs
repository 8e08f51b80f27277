//! Text in and out of the command line: what others have written is shown and not obeyed, names and words are compared as people do, times are local.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use starling_tests::{Process, World, program};

/// Nothing in a program's output that a terminal obeys or hides.
fn assert_harmless(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes).unwrap();
        let bad = |c: char| {
            c.is_control() && c != '\n'
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(bad), "{what}: {text:?}");
    }
}

const HOSTILE: &str = "bo\u{1b}]0;pwned\u{7}\u{1b}[2J\u{9b}31m\u{202e}x";

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // It may have ended before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn no_byte_of_others_reaches_a_terminal_unshown() {
    let world = World::new();
    world.person("alice");
    world.json("bob", &["init", "--name", HOSTILE, "--rendezvous", &world.address]);
    let address = world.json("alice", &["whoami"])["address"].as_str().unwrap().to_owned();
    let _alice = world.daemon("alice");
    let listener = world.listen("alice", "all");
    listener.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("bob", &["contacts", "add", &address, "--greeting", HOSTILE, "--name", "al"]);
    let request = listener.wait_for("the request", |e| e["type"] == "contact.requested");
    let account = request["contact"]["account"].as_str().unwrap().to_owned();
    assert_harmless("a request", &world.run("alice", &["contacts", "list"]));
    world.json("alice", &["contacts", "accept", &account]);
    world.json("alice", &["contacts", "rename", &account, &format!("b{HOSTILE}")]);
    world.json("bob", &["send", "@al", HOSTILE, "--wait", "delivered"]);
    for verb in [
        &["contacts", "list"][..],
        &["contacts", "rename", "@nobody\u{1b}[2J", "x"],
        &["contacts", "add", HOSTILE],
        &["contacts", "add", "starling:\u{1b}[2J"],
        &["contacts", "add", "a@/ip4/\u{1b}[2J"],
        &["chats", "list"],
        &["chats", "show", &account],
        &["history", &account],
        &["search", "pwned"],
        &["listen", "--since", "all", "--count", "2"],
        &["send", "@bbo", "hi"],
        &["send", HOSTILE, "hi"],
        &["whoami"],
        &["doctor"],
        &["rpc", "history\u{1b}[2J"],
        &["frobnicate\u{1b}[2J"],
        &["send", "--no-such\u{9b}2J"],
        &["--color", "\u{1b}]0;x\u{7}", "whoami"],
        &["call", "list"],
    ] {
        assert_harmless(&format!("{verb:?}"), &world.run("alice", verb));
        assert_harmless(&format!("{verb:?} --json"), &world.run("alice", &[verb, &["--json"]].concat()));
    }
}

#[test]
fn seventy_five_long_lines_are_sent_and_a_line_that_is_too_long_is_named() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    let send = |args: &[&str], input: &[u8]| {
        let mut command = world.starling("alice");
        command.args(["send", "@bob"]).args(args);
        with_input(command, input)
    };
    let lines = format!("{}\n", "x".repeat(60_000)).repeat(75);
    let output = send(&["--lines", "--json"], lines.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ids: std::collections::HashSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 75, "the id of every message");

    let bad = [b"one\n".as_slice(), "y".repeat(70_000).as_bytes(), b"\ntwo\nthr\xffee\nfour\n"].concat();
    let output = send(&["--lines"], &bad);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 2 has 69 KB") && said.contains("line 4 is not UTF-8 (byte 4)"), "{said}");
    let texts = world.texts("alice", "@bob", 100);
    assert_eq!(texts[texts.len() - 3..], ["one", "two", "four"], "the others are sent");

    let output = send(&[], "漢".repeat(700_000).as_bytes());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("at most 64 KB"), "{said}");
    let output = send(&[], b"ok\nnot \xff\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("line 2, byte 5"), "{said}");
}

#[test]
fn a_phrase_is_restored_from_what_init_has_printed() {
    let world = World::new();
    let made = world.run("one", &["init", "--name", "one", "--rendezvous", &world.address]);
    assert!(made.status.success());
    let account = world.json("one", &["whoami"])["account"].clone();
    let mut command = world.starling("two");
    command.args(["init", "--name", "two", "--restore", "--json", "--rendezvous", &format!("<{}>,", world.address)]);
    let restored = with_input(command, &made.stdout);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let restored: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(restored["account"], account);
}

#[test]
fn an_invite_and_a_code_are_read_however_they_were_pasted() {
    let world = World::new();
    for person in ["alice", "bob", "carol"] {
        world.person(person);
    }
    let _alice = world.daemon("alice");
    let invite = world.json("alice", &["invite"])["link"].as_str().unwrap().to_owned();
    let (a, b) = invite.split_at(70);
    let added = world.json("bob", &["contacts", "add", &format!("<{a}\n {b}>.")]);
    assert_eq!(added["account"], world.json("alice", &["whoami"])["account"]);
    let code = Process::start(world.starling("alice").args(["invite", "--code", "--json"]));
    let code = code.json()["code"].as_str().unwrap().replace('-', "‑").to_uppercase();
    world.json("carol", &["contacts", "add", &format!("“{code}”")]);
}

#[test]
fn a_name_needs_something_visible_and_may_have_64_characters() {
    let world = World::new();
    for nothing in ["", " ", "\u{200b}", "\u{202e}", "\u{301}", "\u{2060}\u{3164}"] {
        let (exit, message) = world.error("x", &["init", "--name", nothing]);
        assert_eq!((exit, message.contains("can be seen")), (2, true), "{nothing:?}: {message}");
    }
    let long = "🇨🇦 🏴‍☠️ Poρїŋѕҡi 🏴‍☠️ 🇨🇦 -The-Mandalorian";
    world.person("alice");
    world.json("bob", &["init", "--name", long, "--rendezvous", &world.address]);
    world.befriend("alice", "bob");
    assert_eq!(world.json("alice", &["contacts", "list"])["name"], long);
    world.json("alice", &["contacts", "rename", &format!("@{long}"), "Bo"]);
    for (verb, exit) in [(&["contacts", "rename", "@Bo", " "][..], 2), (&["profile", "name", "\u{200b}"], 2)] {
        assert_eq!(world.error("alice", verb).0, exit, "{verb:?}");
    }
    assert_eq!(world.error("alice", &["profile", "name", &"x".repeat(65)]).0, 2);
    world.json("alice", &["profile", "name", &"🇨🇦".repeat(64)]);
}

#[test]
fn names_and_words_are_the_same_however_their_letters_are_composed() {
    let world = World::of_friends();
    world.json("alice", &["contacts", "rename", "@bob", "Jos\u{e9} Gro\u{df}"]);
    world.json("alice", &["send", "@JOSE\u{301} GROSS", "Cafe\u{301} in K\u{f6}ln"]);
    let found = world.json("alice", &["search", "CAF\u{c9} ko\u{308}ln", "--chat", "jos\u{e9} gross"]);
    assert_eq!(found["chat"]["name"], "José Groß");
}

#[test]
fn times_are_local_in_text_and_utc_in_json() {
    let world = World::of_friends();
    let sent = world.json("alice", &["send", "@bob", "hi"]);
    let sent_at = sent["sent_at"].as_str().unwrap();
    assert!(sent_at.ends_with('Z'));
    let hour: u32 = sent_at[11..13].parse().unwrap();
    let history = |zone: &str| {
        let mut command = world.starling("alice");
        let output = command.args(["history", "@bob"]).env("TZ", zone).stdin(Stdio::null()).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (zone, ahead) in [("JST-9", 9), ("UTC", 0), ("<+0545>-5:45", 5), ("XYZ3", 21)] {
        let (text, _) = history(zone);
        let minutes: u32 = sent_at[14..16].parse().unwrap();
        let carried = if zone.contains(":45") { (minutes + 45) / 60 } else { 0 };
        assert_eq!(text[11..13].parse::<u32>().unwrap(), (hour + ahead + carried) % 24, "{zone}: {text} of {sent_at}");
    }
    let (text, said) = history("Nowhere/Nothing");
    assert_eq!(text[11..13].parse::<u32>().unwrap(), hour);
    assert_eq!(said.matches("TZ=Nowhere/Nothing").count(), 1, "{said}");
}

#[test]
fn a_reader_that_has_gone_ends_the_program_quietly() {
    let world = World::new();
    world.person("alice");
    for args in [&["completions", "bash"][..], &["man"], &["--help"], &["whoami"], &["doctor"], &["call", "devices"]] {
        let mut child =
            world.starling("alice").args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.contains("panic")), (Some(0), false), "{args:?}: {said}");
    }
    // The same for errors that nobody reads.
    let mut child = world.starling("alice").args(["history", "@nobody"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn the_answer_of_a_command_is_sent_when_the_command_itself_has_ended() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    let _bob = world.daemon("bob");
    let exec = "case $(cat) in *fail*) echo wrong; exit 3;; *) sleep 1000 & echo pong;; esac";
    let answering = Process::start(world.starling("bob").args(["listen", "--json", "--exec", exec]));
    answering.wait_for("the listener", |e| e["type"] == "stream.ready");
    let alice = world.listen("alice", "now");
    alice.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("alice", &["send", "@bob", "fail"]);
    world.json("alice", &["send", "@bob", "ping"]);
    let answer = alice.wait_for("the answer", |e| e["type"] == "message.new" && e["message"]["from"]["self"] != true);
    assert_eq!(answer["message"]["text"], "pong", "what a command that fails has printed is not sent");
}

#[test]
fn a_passphrase_file_that_others_can_read_is_refused() {
    let world = World::new();
    let file = world.dir.path().join("passphrase");
    std::fs::write(&file, "correct horse\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let init = ["--passphrase-file", file.to_str().unwrap(), "init", "--name", "p", "--rendezvous", &world.address];
    mode(0o644);
    let output = world.run("p", &init);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("0644") && said.contains("chmod 600"), "{said}");
    mode(0o600);
    world.json("p", &init);
}

#[test]
fn an_argument_that_is_missing_is_named_in_the_error_object() {
    let output = Command::new(program("starling")).args(["send", "--json"]).output().unwrap();
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), error["error"]["exit"].as_u64()), (Some(2), Some(2)));
    assert!(error["error"]["message"].as_str().unwrap().contains("<TO>"), "{error}");
}

#[test]
fn the_plain_chat_works_in_a_dumb_terminal_and_a_plain_locale() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    for terminal in ["dumb", "linux", "vt100", ""] {
        let mut command = world.starling("alice");
        command.args(["chat", "--plain", "@bob"]).env("TERM", terminal).env("LC_ALL", "C");
        let output = with_input(command, b"hello\n/quit\n");
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success() && text.contains("written"), "{terminal}: {text}");
        assert_harmless(terminal, &output);
    }
}

#[test]
fn the_plain_chat_reads_lines_of_any_length_and_bytes() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    let mut command = world.starling("alice");
    command.args(["chat", "--plain", "@bob"]);
    let endless = vec![b'x'; 50 * 1024 * 1024];
    let input = [b"before\nab\xff\n".as_slice(), &endless, b"\nafter\n/quit\n"].concat();
    let output = with_input(command, &input);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text.matches("written").count(), 2, "{text}");
    for told in ["is not UTF-8 (byte 3)", "has 51200 KB"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}
