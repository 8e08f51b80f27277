//! The control interface, as programs of others use it and misuse it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starling_tests::{PATIENCE, Process, World, program, until};

/// A connection that writes lines and reads lines.
struct Lines<S> {
    stream: S,
    read: BufReader<S>,
}

impl Lines<UnixStream> {
    fn unix(ready: &Value) -> Self {
        let stream = UnixStream::connect(ready["socket"].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { read: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

impl Lines<TcpStream> {
    fn tcp(ready: &Value) -> Self {
        let stream = TcpStream::connect(ready["listen"].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { read: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

impl<S: Read + Write> Lines<S> {
    fn write(&mut self, line: &str) {
        // The other side may have closed already.
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// The next line; nothing when the other side has closed.
    fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.read.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    fn ask(&mut self, line: &str) -> Value {
        self.write(line);
        self.read().expect("the connection was closed")
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string())
    }
}

/// A daemon, and its ready line.
fn daemon(world: &World, args: &[&str]) -> (Process, Value) {
    let daemon = Process::start(world.starling("alice").args(["daemon", "--json"]).args(args).stderr(Stdio::null()));
    let ready = daemon.json();
    (daemon, ready)
}

#[test]
fn requests_that_make_no_sense_are_refused_as_json_rpc_says() {
    let world = World::new();
    world.person("alice");
    let (_daemon, ready) = daemon(&world, &[]);
    let mut lines = Lines::unix(&ready);
    for (line, code) in [("nonsense", -32700), ("42", -32600), ("\"x\"", -32600), ("[]", -32600), ("{}", -32600)] {
        let answer = lines.ask(line);
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &Value::Null), "{line}");
    }
    assert_eq!(lines.call("no.such.method", json!({}))["error"]["code"], -32601);
    let me = lines.call("status", json!({}))["result"]["account"].clone();
    for (method, params, param) in [
        ("contacts.verify", json!({ "account": me, "verified": "false" }), "verified"),
        ("subscribe", json!({ "since": 5 }), "since"),
        ("subscribe", json!({ "since": "yesterday" }), "since"),
        ("subscribe", json!({ "chat": "@alice" }), "chat"),
        ("send", json!({ "chat": "x", "text": "hi", "reply_to": 5 }), "reply_to"),
        ("send", json!({ "chat": "x", "texts": ["a", 5, null] }), "texts[1]"),
        ("history", json!({ "chat": "@alice" }), "chat"),
        ("history", json!({ "chat": "aaaaaaaaaaaaaaaaaaaaaaaaaa", "limit": 100_000 }), "limit"),
    ] {
        let answer = lines.call(method, params.clone());
        assert_eq!(answer["error"]["code"], -32602, "{method} {params}: {answer}");
        assert_eq!(answer["error"]["data"]["param"], param, "{method} {params}: {answer}");
    }
    // Notifications have no answer: not alone, and not in a batch.
    lines.write(r#"{"jsonrpc":"2.0","method":"no.such.method"}"#);
    lines.write(r#"[{"jsonrpc":"2.0","method":"cursor"}]"#);
    let batch = lines.ask(r#"[1,{"jsonrpc":"2.0","id":"a","method":"cursor"},{"jsonrpc":"2.0","method":"cursor"}]"#);
    assert_eq!(batch.as_array().unwrap().len(), 2, "{batch}");
    assert_eq!((&batch[0]["error"]["code"], &batch[1]["id"]), (&json!(-32600), &json!("a")));
    let methods = lines.call("rpc.discover", json!({}))["result"]["methods"].clone();
    let names: Vec<&str> = methods.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"contacts.verify") && names.contains(&"rpc.discover"), "{names:?}");
    // A line that is too long says so, whatever it is made of.
    let long = format!("{}\n", "語".repeat(2 * 1024 * 1024));
    let mut other = Lines::unix(&ready);
    let mut writer = other.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || drop(writer.write_all(long.as_bytes())));
    let answer = other.read().unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("a line has at most 4 MiB"), "{answer}");
    drop(other);
    writing.join().unwrap();
}

#[test]
fn the_control_port_takes_nothing_without_its_token() {
    let world = World::new();
    world.person("alice");
    let (mut daemon, ready) = daemon(&world, &["--listen", "127.0.0.1:0"]);
    let file = ready["token_file"].as_str().unwrap();
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(file).unwrap();
    // What a browser sends for a page of somebody else: each line of the body is a request.
    let mut http = Lines::tcp(&ready);
    http.write("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 60\r\n\r");
    http.write(r#"{"jsonrpc":"2.0","id":1,"method":"stop"}"#);
    assert_eq!(http.read(), None);
    for first in [
        r#"{"id":1,"method":"stop"}"#.to_owned(),
        r#"[{"jsonrpc":"2.0","id":1,"method":"stop"}]"#.to_owned(),
        format!("{{\"x\":\"{}\"}}", "x".repeat(100_000)),
    ] {
        let mut lines = Lines::tcp(&ready);
        lines.write(&first);
        assert_eq!(lines.read(), None, "{first}");
    }
    for (method, params) in [("stop", json!({})), ("auth", json!({ "token": "0".repeat(64) })), ("auth", json!({}))] {
        let mut lines = Lines::tcp(&ready);
        let answer = lines.call(method, params);
        assert!(answer["error"].is_object(), "{answer}");
        lines.write(r#"{"jsonrpc":"2.0","id":1,"method":"stop"}"#);
        assert_eq!(lines.read(), None);
    }
    let mut lines = Lines::tcp(&ready);
    assert_eq!(lines.call("auth", json!({ "token": token.trim() }))["result"], json!({}));
    assert_eq!(lines.call("status", json!({}))["result"]["name"], "alice");
    // A line that is no JSON ends the connection later, too.
    lines.write("nonsense");
    assert_eq!(lines.read(), None);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn the_token_may_be_given_by_a_notification_which_has_no_answer() {
    let world = World::new();
    world.person("alice");
    let (_daemon, ready) = daemon(&world, &["--listen", "127.0.0.1:0"]);
    let token = std::fs::read_to_string(ready["token_file"].as_str().unwrap()).unwrap();
    let auth = |token: &str| json!({ "jsonrpc": "2.0", "method": "auth", "params": { "token": token } }).to_string();
    let mut lines = Lines::tcp(&ready);
    lines.write(&auth(token.trim()));
    assert_eq!(
        lines.call("status", json!({}))["result"]["name"],
        "alice",
        "the first answer is that to the first request"
    );
    let mut lines = Lines::tcp(&ready);
    lines.write(&auth("wrong"));
    assert_eq!(lines.read(), None);
}

#[test]
fn silent_connections_do_not_keep_a_client_with_the_token_waiting() {
    let world = World::new();
    world.person("alice");
    let (_daemon, ready) = daemon(&world, &["--listen", "127.0.0.1:0"]);
    let token = std::fs::read_to_string(ready["token_file"].as_str().unwrap()).unwrap();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(ready["listen"].as_str().unwrap()).unwrap()).collect();
    let began = Instant::now();
    let answer = Lines::tcp(&ready).call("auth", json!({ "token": token.trim() }));
    assert_eq!(answer["result"], json!({}), "{answer}");
    // Silent ones are given up after ten seconds, 64 at a time: behind all of them it would take forty.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn accepting_goes_on_when_there_were_too_many_connections() {
    let world = World::new();
    world.person("alice");
    let starling = world.starling("alice");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(program("starling")).args(starling.get_args());
    limited.envs(starling.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.args(["daemon", "--json", "--listen", "127.0.0.1:0"]).stderr(Stdio::null());
    let daemon = Process::start(&mut limited);
    let ready = daemon.json();
    let tcp: Vec<_> = (0..60).map(|_| TcpStream::connect(ready["listen"].as_str().unwrap()).unwrap()).collect();
    let unix: Vec<_> = (0..60).map(|_| UnixStream::connect(ready["socket"].as_str().unwrap()).unwrap()).collect();
    drop((tcp, unix));
    assert_eq!(Lines::unix(&ready).call("status", json!({}))["result"]["name"], "alice");
    let token = std::fs::read_to_string(ready["token_file"].as_str().unwrap()).unwrap();
    let answer = Lines::tcp(&ready).call("auth", json!({ "token": token.trim() }));
    assert_eq!(answer["result"], json!({}), "{answer}");
}

#[test]
fn a_daemon_is_found_by_every_name_of_its_directory_and_without_a_runtime_directory() {
    let world = World::new();
    world.person("alice");
    let (_daemon, _) = daemon(&world, &[]);
    let dir = world.dir.path().join("profiles");
    let link = world.dir.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let slash = format!("{}/", dir.display());
    let dotted = format!("{}/../profiles", dir.display());
    for name in [dir.to_str().unwrap(), &slash, &dotted, link.to_str().unwrap(), "profiles"] {
        for runtime in [Some(world.dir.path()), None] {
            let mut starling = Command::new(program("starling"));
            starling.args(["--no-spawn", "--profile", "alice", "whoami", "--data-dir", name]);
            starling.current_dir(world.dir.path()).env_remove("XDG_RUNTIME_DIR");
            if let Some(runtime) = runtime {
                starling.env("XDG_RUNTIME_DIR", runtime);
            }
            let output = starling.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "--data-dir {name}, runtime directory {runtime:?}: {said}");
        }
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_used_is_replaced_by_another() {
    let world = World::new();
    world.person("alice");
    let long = world.dir.path().join("x".repeat(120));
    let missing = world.dir.path().join("missing");
    let foreign = world.dir.path().join("foreign");
    std::fs::create_dir(&long).unwrap();
    std::fs::create_dir(&foreign).unwrap();
    // Only root can give a directory away; for others it is one that they may not write to.
    if std::os::unix::fs::chown(&foreign, Some(12_345), None).is_err() {
        std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    for runtime in [&long, &missing, &foreign] {
        let mut command = world.starling("alice");
        command.env("XDG_RUNTIME_DIR", runtime).env("TMPDIR", world.dir.path());
        let daemon = Process::start(command.args(["daemon", "--json"]));
        let ready = daemon.json();
        assert_eq!(Lines::unix(&ready).call("status", json!({}))["result"]["name"], "alice", "{}", runtime.display());
        let directory = std::path::Path::new(ready["socket"].as_str().unwrap()).parent().unwrap();
        assert_eq!(std::fs::metadata(directory).unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(!missing.exists() && std::fs::read_dir(&foreign).is_ok_and(|mut all| all.next().is_none()));
}

#[test]
fn a_node_that_does_not_answer_is_a_time_out() {
    let world = World::new();
    world.person("alice");
    let (daemon, _) = daemon(&world, &[]);
    let signal = |name: &str| {
        Command::new("kill").args([name, &daemon.id().to_string()]).status().unwrap();
    };
    signal("-STOP");
    let verbs: [&[&str]; 6] = [
        &["whoami"],
        &["send", "@bob", "hi", "--timeout", "3s"],
        &["listen"],
        &["doctor"],
        &["daemon"],
        &["daemon", "--stop"],
    ];
    let began = Instant::now();
    let running: Vec<_> = verbs
        .iter()
        .map(|args| {
            let mut command = world.starling("alice");
            command.args(*args).arg("--json").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            (args, command.spawn().unwrap())
        })
        .collect();
    for (args, child) in running {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(9), "{args:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("kill -CONT")), "{args:?}: {error}");
    }
    assert!(began.elapsed() < PATIENCE, "the verbs took {:?}", began.elapsed());
    signal("-CONT");
    assert_eq!(world.json("alice", &["whoami"])["name"], "alice");
}

#[test]
fn contacts_come_without_their_safety_numbers_if_that_is_asked() {
    let world = World::of_friends();
    let (_daemon, ready) = daemon(&world, &[]);
    let mut lines = Lines::unix(&ready);
    let whole = lines.call("contacts", json!({}));
    let short = lines.call("contacts", json!({ "safety_numbers": false }));
    let number = whole["result"][0]["safety_number"].as_str().unwrap();
    assert_eq!(world.json("alice", &["contacts", "verify", "bob"])["safety_number"], number);
    let mut expected = whole["result"].clone();
    expected[0].as_object_mut().unwrap().remove("safety_number");
    assert_eq!(short["result"], expected);
}

#[test]
fn a_history_of_any_length_is_given_in_full() {
    let world = World::of_friends();
    let daemon = world.daemon("alice");
    let lines: String = (1..=6_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(world.send_lines("alice", "@bob", &lines), 0);
    let numbers = |first: usize| (first..=6_000).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(world.texts("alice", "@bob", 100_000), numbers(1));
    assert_eq!(world.texts("alice", "@bob", 5_500), numbers(501));
    drop(daemon);
}

#[test]
fn verbs_do_not_wait_for_a_rendezvous_that_refuses_connections() {
    let mut world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    world.rendezvous = None;
    let quick = |args: &[&str]| {
        let began = Instant::now();
        let output = world.run("alice", args);
        let took = began.elapsed();
        // Less than a verb takes that waits for the rendezvous to register the profile (7.5 s) and then does its work.
        assert!(took < Duration::from_secs(8), "{args:?} took {took:?}");
        output
    };
    for args in [&["whoami"][..], &["contacts", "list"], &["history", "@bob"], &["chats", "list"], &["device", "list"]]
    {
        assert!(quick(args).status.success(), "{args:?}");
    }
    assert!(quick(&["send", "@bob", "hi"]).status.success());
    let invite = quick(&["invite", "--json"]);
    assert_eq!(invite.status.code(), Some(3), "a link that nobody could use");
    assert!(invite.stdout.is_empty());
    until("the message", || world.texts("alice", "@bob", 1).contains(&"hi".to_owned()).then_some(()));
}

#[test]
fn a_node_whose_runtime_directory_was_emptied_is_still_found() {
    let world = World::new();
    world.person("alice");
    let (mut daemon, ready) = daemon(&world, &[]);
    std::fs::remove_file(ready["socket"].as_str().unwrap()).unwrap();
    assert!(world.run("alice", &["--no-spawn", "whoami"]).status.success());
    std::fs::remove_file(world.dir.path().join("profiles/alice/control-socket")).unwrap();
    assert!(world.run("alice", &["--no-spawn", "whoami"]).status.success());
    assert_eq!(daemon.terminate(), 0);
    assert!(!world.dir.path().join("profiles/alice/control.sock").exists());
}

#[test]
fn conversations_and_messages_that_are_not_there_are_not_found() {
    let world = World::of_friends();
    let (_daemon, ready) = daemon(&world, &[]);
    let mut lines = Lines::unix(&ready);
    let chats = lines.call("chats", json!({}))["result"].clone();
    let chat = chats[0]["id"].clone();
    let sent = lines.call("send", json!({ "chat": chat, "text": "hi" }))["result"]["ids"][0].clone();
    let last = |id: &Value, c: char| json!(format!("{}{c}", &id.as_str().unwrap()[..id.as_str().unwrap().len() - 1]));
    let other = |id: &Value| [last(id, 'a'), last(id, 'q')].into_iter().find(|other| other != id).unwrap();
    let (no_chat, no_message) = (other(&chat), other(&sent));
    for (method, params) in [
        ("subscribe", json!({ "chat": no_chat })),
        ("history", json!({ "chat": no_chat })),
        ("history", json!({ "chat": chat, "before": no_message })),
        ("search", json!({ "chat": no_chat, "query": "hi" })),
        ("typing", json!({ "chat": no_chat })),
        ("read", json!({ "chat": no_chat })),
        ("read", json!({ "chat": chat, "message": no_message })),
        ("send", json!({ "chat": no_chat, "text": "hi" })),
        ("send", json!({ "chat": chat, "text": "hi", "reply_to": no_message })),
        ("react", json!({ "chat": chat, "message": no_message, "emoji": "👍" })),
        ("edit", json!({ "chat": chat, "message": no_message, "text": "hi" })),
        ("delete", json!({ "chat": chat, "message": no_message })),
    ] {
        let answer = lines.call(method, params.clone());
        assert_eq!(answer["error"]["data"]["code"], "not_found", "{method} {params}: {answer}");
    }
    for emoji in ["x", "\u{1b}", "\u{200b}", "😀😀", ":tada:"] {
        let answer = lines.call("react", json!({ "chat": chat, "message": sent, "emoji": emoji }));
        assert_eq!(answer["error"]["data"]["exit"], 2, "{emoji:?}: {answer}");
    }
    for text in [" ", "\n", "\u{200b}", "\u{3164}"] {
        let answer = lines.call("send", json!({ "chat": chat, "text": text }));
        assert_eq!(answer["error"]["data"]["exit"], 2, "{text:?}: {answer}");
    }
}
