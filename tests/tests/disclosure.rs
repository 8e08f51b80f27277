//! What a server keeps and logs, compared with the table "What others can learn" of docs/operators.md: two people with a server each write to one
//! another, and then everything that the servers have stored and logged is searched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use libp2p::{PeerId, identity};
use serde_json::Value;
use starling_keys::{AccountId, DeviceId};
use starling_tests::{Process, World, bytes_below, program, until, until_none};

/// A server that logs all that it can.
struct Server {
    name: &'static str,
    process: Process,
    address: String,
    /// Where its metrics are.
    http: String,
}

impl Server {
    fn start(world: &World, name: &'static str) -> Self {
        Self::listening(world, name, "/ip4/127.0.0.1/udp/0/quic-v1")
    }

    fn listening(world: &World, name: &'static str, listen: &str) -> Self {
        let log = std::fs::File::create(world.dir.path().join(format!("{name}.log"))).unwrap();
        let process = Process::start(
            Command::new(program("starling-rendezvous"))
                .args(["--listen", listen, "--http", "127.0.0.1:0", "--json", "--data-dir"])
                .arg(world.dir.path().join(name))
                .env("STARLING_RENDEZVOUS_LOG_LEVEL", "debug")
                .stderr(log),
        );
        let ready = process.json();
        let address = ready["addresses"][0].as_str().unwrap().to_owned();
        Self { name, process, address, http: ready["http"].as_str().unwrap().to_owned() }
    }

    /// One of its metrics.
    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {answer}"))
    }

    /// Waits until one of its metrics is what it is to be.
    fn wait_for(&self, name: &str, fits: impl Fn(u64) -> bool) {
        until_none(&format!("{name} of {}", self.name), || {
            let value = self.metric(name);
            (!fits(value)).then(|| value.to_string())
        });
    }

    /// The file in shared memory that outlives it if it is killed: its name follows from the server's key.
    fn in_shared_memory(&self, world: &World) -> PathBuf {
        let seed = std::fs::read(world.dir.path().join(self.name).join("identity")).unwrap();
        let name = blake3::derive_key("starling 2026 rendezvous last seen v1", &seed);
        Path::new("/dev/shm").join(format!("starling-{}", hex(&name[..16])))
    }

    /// Ends it: what it has stored, and what it has logged.
    fn end(mut self, world: &World) -> (Vec<u8>, String) {
        assert_eq!(self.process.terminate(), 0);
        let stored = bytes_below(&world.dir.path().join(self.name));
        (stored, std::fs::read_to_string(world.dir.path().join(format!("{}.log", self.name))).unwrap())
    }
}

/// Somebody with secrets and habits, and what stands for them in bytes and in text.
struct Person {
    profile: &'static str,
    account: AccountId,
    device: DeviceId,
}

impl Person {
    fn new(world: &World, profile: &'static str, name: &str, home: &Server) -> Self {
        world.json(profile, &["init", "--name", name, "--rendezvous", &home.address]);
        let whoami = world.json(profile, &["whoami"]);
        let id = |field: &str| whoami[field].as_str().unwrap().to_owned();
        Self { profile, account: id("account").parse().unwrap(), device: id("device").parse().unwrap() }
    }

    fn ids(&self) -> [(&'static str, [u8; 32]); 2] {
        [("the account", *self.account.as_bytes()), ("the device", *self.device.as_bytes())]
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a key may stand in a text: whole, or as much of it as tells it from others.
fn in_text(key: &[u8; 32]) -> Vec<String> {
    let base32 = DeviceId::from_bytes(key).unwrap().to_string();
    let public = identity::ed25519::PublicKey::try_from_bytes(key).unwrap();
    let peer = PeerId::from_public_key(&public.into()).to_base58();
    let decimal = format!("{}, {}, {}, {}", key[0], key[1], key[2], key[3]);
    vec![base32[..12].to_owned(), hex(&key[..6]), hex(&key[..6]).to_uppercase(), peer[16..28].to_owned(), decimal]
}

/// Every text that nobody but the two may read.
const SECRETS: [&str; 10] = [
    "Quarterstaff",
    "Bellwether",
    "a-greeting-to-nobody",
    "nickname-of-bob",
    "sealed-words-of-alice",
    "sealed-words-of-bob",
    "quarterstaff-the-user",
    "codename-of-the-group",
    "topic-of-the-group",
    "words-to-the-group",
];

fn assert_unknown(who: &str, stored: &[u8], log: &str) {
    for secret in SECRETS {
        for (form, text) in [("as it is", secret.to_owned()), ("in lower case", secret.to_lowercase())] {
            assert!(!contains(stored, text.as_bytes()), "{who} has stored {secret:?} {form}");
            assert!(!log.contains(&text), "{who} has logged {secret:?} {form}");
        }
    }
}

/// No key of anybody, and no address but its own, is in a log.
fn assert_log_is_clean(who: &str, log: &str, own_address: &str, people: &[&Person]) {
    for person in people {
        for (what, key) in person.ids() {
            for text in in_text(&key) {
                assert!(!log.contains(&text), "{who} has logged {what} of {} as {text}", person.profile);
            }
        }
    }
    // Of the server itself it may: what it listens on, with its key.
    let port = own_address.split('/').nth(4).unwrap();
    for line in log.lines().filter(|line| line.contains("127.0.0.1")) {
        let of_itself = line.contains(port) || line.contains("listening") || line.contains("http");
        assert!(of_itself, "{who} has logged an address: {line}");
    }
}

/// Two people with a server each, who have written to one another directly and past one another, and used what there is.
fn acquainted(world: &World, homes: [&Server; 2]) -> [Person; 2] {
    let alice = Person::new(world, "alice", "Alicia Quarterstaff", homes[0]);
    let bob = Person::new(world, "bob", "Bob Bellwether", homes[1]);
    world.json("alice", &["profile", "username", "quarterstaff-the-user"]);
    let invite = world.json("alice", &["invite"]);
    let link = invite["link"].as_str().unwrap();
    {
        let listener = world.listen("alice", "now");
        listener.wait_for("the listener", |e| e["type"] == "stream.ready");
        world.json("bob", &["contacts", "add", link, "--greeting", "a-greeting-to-nobody"]);
        listener.wait_for("the contact", |e| e["type"] == "contact.accepted");
        world.listen("bob", "all").wait_for("the acceptance", |e| e["type"] == "contact.accepted");
        world.json("alice", &["contacts", "rename", "Bob Bellwether", "nickname-of-bob"]);
        world.json("bob", &["send", "Alicia Quarterstaff", "sealed-words-of-bob, while both are there"]);
        listener.wait_for("the message", |e| has_text(e, "sealed-words-of-bob, while both are there"));
    }
    // And while the other is away, by way of the server.
    world.json("alice", &["send", "nickname-of-bob", "sealed-words-of-alice"]);
    let later = world.listen("bob", "all");
    later.wait_for("the message", |e| has_text(e, "sealed-words-of-alice"));
    [alice, bob]
}

fn has_text(event: &Value, text: &str) -> bool {
    event["message"]["text"] == text || event["text"] == text
}

#[test]
fn servers_store_and_log_what_the_operators_table_says_and_nothing_else() {
    let world = World::new();
    let (ours, theirs) = (Server::start(&world, "home-of-alice"), Server::start(&world, "home-of-bob"));
    let [alice, bob] = acquainted(&world, [&ours, &theirs]);
    let people = [&alice, &bob];
    for (server, member, stranger) in [(ours, &alice, &bob), (theirs, &bob, &alice)] {
        let (who, address) = (server.name, server.address.clone());
        let (stored, log) = server.end(&world);
        assert!(log.contains("session"), "the log has not what is to be searched: {log}");
        // The account and its devices are what it is the home of.
        for (what, key) in member.ids() {
            assert!(
                contains(&stored, &key),
                "{who} does not know {what} of its member: the test looks for the wrong bytes"
            );
        }
        // Of others, who leave something or read, nothing is kept.
        for (what, key) in stranger.ids() {
            assert!(!contains(&stored, &key), "{who} has stored {what} of somebody who is a stranger to it");
        }
        assert_unknown(who, &stored, &log);
        assert_log_is_clean(who, &log, &address, &people);
    }
}

/// What a device is in the group.
fn standing(world: &World, profile: &str) -> Value {
    let shown = world.run(profile, &["group", "show", GROUP, "--json"]).stdout;
    serde_json::from_slice::<Value>(&shown).map(|group| group["standing"].clone()).unwrap_or_default()
}

const GROUP: &str = "#codename-of-the-group";
const APPENDED: &str = "starling_log_entries_appended_total ";
const RELAYED: &str = "starling_turn_bytes_total ";
const CIRCUITS: &str = "starling_relay_circuits ";

/// The home of who has made a group is that of the group.
#[test]
fn the_home_of_a_group_keeps_nothing_of_members_who_are_strangers_to_it() {
    let world = World::new();
    let (ours, theirs) = (Server::start(&world, "home-of-alice"), Server::start(&world, "home-of-bob"));
    let [alice, bob] = acquainted(&world, [&ours, &theirs]);
    let people = [&alice, &bob];
    let mut running = vec![world.daemon("alice"), world.daemon("bob")];
    let logged = ours.metric(APPENDED);
    world.json("alice", &["group", "new", &GROUP[1..], "nickname-of-bob"]);
    until("the invitation", || (standing(&world, "bob") == "invited").then_some(()));
    world.json("bob", &["group", "accept", GROUP]);
    until("bob is in", || (standing(&world, "bob") == "member").then_some(()));
    world.json("alice", &["group", "topic", GROUP, "topic-of-the-group"]);
    world.json("bob", &["send", GROUP, "words-to-the-group", "--wait", "delivered"]);
    assert!(ours.metric(APPENDED) > logged, "the group is not here");
    for process in &mut running {
        process.terminate();
    }
    drop(running);
    for (server, stranger) in [(ours, &bob), (theirs, &alice)] {
        let (who, address) = (server.name, server.address.clone());
        let (stored, log) = server.end(&world);
        for (what, key) in stranger.ids() {
            assert!(!contains(&stored, &key), "{who} has stored {what} of a member who is a stranger to it");
        }
        assert_unknown(who, &stored, &log);
        assert_log_is_clean(who, &log, &address, &people);
    }
}

#[test]
fn who_relays_a_call_logs_neither_who_talks_nor_from_where() {
    let world = World::new();
    let server = Server::start(&world, "home-of-both");
    let [alice, bob] = acquainted(&world, [&server, &server]);
    let quiet = ["--audio-in", "tone", "--audio-out", "none", "--relay-only", "--json"];
    let mut called = world.starling("bob");
    called.args(["call", "answer", "--auto"]).args(quiet);
    let called = Process::start(&mut called);
    called.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut caller = world.starling("alice");
    caller.args(["call", "start", "nickname-of-bob"]).args(quiet);
    let mut caller = Process::start(&mut caller);
    caller.wait_for("the connection", |e| e["call"]["state"] == "connected");
    called.wait_for("the connection", |e| e["call"]["state"] == "connected");
    until("the call is relayed", || (server.metric(RELAYED) > 0).then_some(()));
    assert_eq!(caller.terminate(), 0);
    drop(called);
    let address = server.address.clone();
    let (stored, log) = server.end(&world);
    assert_unknown("the relay", &stored, &log);
    assert_log_is_clean("the relay", &log, &address, &[&alice, &bob]);
}

/// A proxy in this process, which does what HTTP's `CONNECT` says: who has one reaches devices through a relay alone. Its address.
fn proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || pass_on(client));
        }
    });
    address
}

fn pass_on(client: TcpStream) -> Option<()> {
    let mut input = BufReader::new(client.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        input.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let server = TcpStream::connect(head.split(' ').nth(1)?).ok()?;
    let mut output = client;
    output.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut from_server, mut to_server) = (server.try_clone().ok()?, server);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut output);
        let _ = output.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut input, &mut to_server);
    let _ = to_server.shutdown(Shutdown::Both);
    Some(())
}

#[test]
fn who_relays_a_conversation_logs_neither_who_talks_nor_from_where() {
    let world = World::new();
    let server = Server::listening(&world, "home-of-both", "/ip4/127.0.0.1/tcp/0");
    let [alice, bob] = acquainted(&world, [&server, &server]);
    let (mut command, proxy) = (world.starling("alice"), proxy());
    let mut proxied = Process::start(command.args(["--proxy", proxy.as_str(), "daemon", "--json"]));
    assert_eq!(proxied.json()["type"], "daemon.ready");
    let mut direct = world.daemon("bob");
    until("a relayed connection", || (world.json("alice", &["contacts", "list"])["path"] == "relay").then_some(()));
    server.wait_for(CIRCUITS, |circuits| circuits > 0);
    let text = "sealed-words-of-bob, by way of the relay";
    world.json("bob", &["send", "Alicia Quarterstaff", text, "--wait", "delivered"]);
    world.listen("alice", "all").wait_for("the message", |e| has_text(e, text));
    proxied.terminate();
    server.wait_for(CIRCUITS, |circuits| circuits == 0);
    direct.terminate();
    let address = server.address.clone();
    let (stored, log) = server.end(&world);
    assert!(log.contains("session"), "the log has not what is to be searched: {log}");
    assert_unknown("the relay", &stored, &log);
    assert_log_is_clean("the relay", &log, &address, &[&alice, &bob]);
}

#[test]
fn nobody_stays_at_the_home_of_a_contact_where_there_is_nothing_to_do() {
    const SESSIONS: &str = "starling_sessions ";
    let world = World::new();
    let (ours, theirs) = (Server::start(&world, "home-of-alice"), Server::start(&world, "home-of-bob"));
    Person::new(&world, "alice", "Alicia Quarterstaff", &ours);
    Person::new(&world, "bob", "Bob Bellwether", &theirs);
    let invite = world.json("bob", &["invite"]);
    theirs.wait_for(SESSIONS, |sessions| sessions == 0);
    // Bob is away. She leaves what she has for him, and goes: what comes later to his home is not hers.
    let before = theirs.metric("starling_requests_total ");
    let alice = world.listen("alice", "now");
    alice.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("alice", &["contacts", "add", invite["link"].as_str().unwrap()]);
    // The look-up, the key packages and the item.
    theirs.wait_for("starling_requests_total ", |requests| requests >= before + 3);
    theirs.wait_for(SESSIONS, |sessions| sessions == 0);
    assert!(ours.metric(SESSIONS) >= 1);
    // They meet at her home, where the log is, and his has him alone.
    let bob = world.listen("bob", "all");
    bob.wait_for("the contact", |e| e["type"] == "contact.accepted");
    alice.wait_for("the answer", |e| e["type"] == "contact.accepted");
    world.json("alice", &["send", "Bob Bellwether", "here we are"]);
    bob.wait_for("the message", |e| has_text(e, "here we are"));
    theirs.wait_for(SESSIONS, |sessions| sessions == 1);
    drop(bob);
    theirs.wait_for(SESSIONS, |sessions| sessions == 0);
}

#[test]
fn a_server_that_is_killed_leaves_addresses_of_members_alone_and_one_that_is_stopped_nothing() {
    let world = World::new();
    let mut server = Server::start(&world, "home-of-alice");
    let alice = Person::new(&world, "alice", "Alicia Quarterstaff", &server);
    let mut running = world.daemon("alice");
    let file = server.in_shared_memory(&world);
    let left = until("the member's address", || std::fs::read(&file).ok());
    server.process.kill();
    let found = std::fs::symlink_metadata(&file).unwrap();
    assert!(found.is_file() && found.mode() & 0o777 == 0o600);
    // IPv4 addresses within IPv6, each with a port: nothing else.
    assert!(!left.is_empty() && left.len().is_multiple_of(18), "{left:?}");
    assert!(contains(&left, &[0xff, 0xff, 127, 0, 0, 1]), "{left:?}");
    for (what, key) in alice.ids() {
        assert!(!key.windows(4).any(|part| contains(&left, part)), "{what} is in {left:?}");
    }
    // The next process takes it, and leaves nothing when it is stopped.
    let next = Server::listening(&world, server.name, server.address.split("/p2p/").next().unwrap());
    until("the member's address again", || std::fs::read(&file).ok());
    running.terminate();
    next.end(&world);
    assert!(!file.exists());
}

#[test]
fn the_table_that_this_is_checked_against_is_there() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for said in [
        "## What others can learn",
        "display names, texts, who is whose contact by name",
        "under a key that Argon2id makes of it for this server",
        "never logged",
        "Each visit has a key of its own and is about one account",
        "`/dev/shm/starling-…`, with addresses and ports of up",
        "without their keys. Only the server's user can read it (mode 0600)",
    ] {
        assert!(
            docs.contains(said),
            "docs/operators.md does not say {said:?} any more: see what this test has to look for"
        );
    }
}

#[test]
fn the_tests_that_the_page_about_attacks_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let page = read("docs/attacks.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| S")).collect();
    assert_eq!(rows.len(), 30);
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        let mut file = String::new();
        for named in tests.split('`').skip(1).step_by(2) {
            match named.ends_with(".rs") {
                true => file = read(named),
                false => assert!(file.contains(&format!("fn {named}(")), "{named} is no test there"),
            }
        }
        assert!(!file.is_empty(), "an attack without a test: {row}");
    }
}
