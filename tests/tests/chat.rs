//! Two people talk, through the programs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use starling_tests::{Process, World, bytes_below, until};

#[test]
fn two_people_become_contacts_and_talk() {
    let world = World::of_friends();
    let alice = world.listen("alice", "now");
    alice.wait_for("the listener", |e| e["type"] == "stream.ready");
    let sent = world.json("bob", &["send", "@alice", "hello there", "--wait", "delivered"]);
    assert!(matches!(sent["state"].as_str(), Some("delivered" | "read")));
    let got = alice.wait_for("the message", |e| e["type"] == "message.new");
    assert_eq!(got["message"]["text"], "hello there");
    assert_eq!(got["message"]["from"]["name"], "bob");
    assert_eq!(got["message"]["id"], sent["id"]);
}

#[test]
fn offline_device_receives_everything_in_order() {
    let world = World::of_friends();
    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert_eq!(world.send_lines("alice", "@bob", &lines), 0);
    // As it comes, and all at once.
    for _ in 0..5 {
        let bob = world.listen("bob", "all");
        for n in 1..=1000 {
            let got = bob.wait_for("a message", |e| e["type"] == "message.new");
            assert_eq!(got["message"]["text"], n.to_string());
        }
    }
    assert_eq!(world.texts("bob", "@alice", 2000), world.texts("alice", "@bob", 2000));
}

#[test]
fn a_stranger_delivers_one_request_until_accepted() {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    let address = world.json("alice", &["whoami"])["address"].as_str().unwrap().to_owned();
    let alice = world.listen("alice", "all");
    alice.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("bob", &["contacts", "add", &address, "--greeting", "it is me", "--name", "al"]);
    alice.wait_for("the request", |e| e["type"] == "contact.requested");
    world.run("bob", &["send", "@al", "too early"]);
    assert!(world.error("alice", &["history", "@bob"]).0 == 5, "not a contact yet");
    world.json("alice", &["contacts", "accept", "bob"]);
    let got = alice.wait_for("the message", |e| e["type"] == "message.new");
    assert_eq!(got["message"]["text"], "too early");
}

#[test]
fn who_is_blocked_is_shut_out_and_comes_back_when_unblocked() {
    let world = World::of_friends();
    world.json("alice", &["contacts", "block", "@bob"]);
    assert_eq!(world.error("alice", &["send", "@bob", "hi"]).0, 6);
    world.run("bob", &["send", "@alice", "are you there?"]);
    assert!(world.texts("alice", "@bob", 10).is_empty());
    world.json("alice", &["contacts", "unblock", "@bob"]);
    let alice = world.listen("alice", "all");
    alice.wait_for("what was sent meanwhile", |e| e["message"]["text"] == "are you there?");
}

#[test]
fn several_processes_share_one_profile() {
    let world = World::of_friends();
    let _daemon = world.daemon("alice");
    let (one, two) = (world.listen("alice", "now"), world.listen("alice", "now"));
    one.wait_for("the first", |e| e["type"] == "stream.ready");
    two.wait_for("the second", |e| e["type"] == "stream.ready");
    world.json("alice", &["send", "@bob", "from a third"]);
    for listener in [one, two] {
        listener.wait_for("the echo", |e| e["message"]["text"] == "from a third");
    }
}

#[test]
fn a_short_code_makes_contacts_and_a_wrong_one_does_not() {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    let _alice = world.daemon("alice");
    let code = Process::start(world.starling("alice").args(["invite", "--code", "--json"]));
    let code = code.json()["code"].as_str().unwrap().to_owned();
    let place = code.split('-').next().unwrap();
    let wrong = format!("{place}-zoo-zoo");
    let (exit, message) = world.error("bob", &["contacts", "add", &wrong]);
    assert_eq!((exit, message.contains("wrong")), (6, true), "{message}");
    world.json("bob", &["contacts", "add", &code]);
}

fn has_direct_path(world: &World, who: &str) {
    until("a direct path", || (world.json(who, &["contacts", "list"])["path"] == "direct").then_some(()));
}

#[test]
fn the_rendezvous_goes_away_and_direct_peers_keep_talking() {
    let mut world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    let (_a, _b) = (world.daemon("alice"), world.daemon("bob"));
    let bob = world.listen("bob", "now");
    bob.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("alice", &["send", "@bob", "one", "--wait", "delivered"]);
    // Only once they have a direct path does it go on without the server.
    has_direct_path(&world, "alice");
    world.rendezvous = None;
    world.json("alice", &["send", "@bob", "two", "--wait", "delivered"]);
    bob.wait_for("the message", |e| e["message"]["text"] == "two");
    world.restart_rendezvous();
}

#[test]
fn messages_queue_while_the_rendezvous_is_down_and_flow_on_return() {
    let mut world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    world.rendezvous = None;
    let (exit, _) = world.error("alice", &["send", "@bob", "later", "--wait", "sent", "--timeout", "1s"]);
    assert_eq!(exit, 9);
    world.restart_rendezvous();
    let _alice = world.daemon("alice");
    let bob = world.listen("bob", "all");
    bob.wait_for("the message", |e| e["message"]["text"] == "later");
}

/// Makes a profile from a recovery phrase.
fn restore(world: &World, profile: &str, phrase: &str) {
    use std::io::Write;
    let mut child = world
        .starling(profile)
        .args(["init", "--name", "alice", "--restore", "--rendezvous", &world.address, "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(phrase.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_restored_account_has_its_contacts_again() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    world.person("bob");
    world.befriend("alice", "bob");
    let bob = world.daemon("bob");
    let daemon = world.daemon("alice");
    until("the rendezvous", || (world.json("alice", &["rpc", "status"])["synced"] == true).then_some(()));
    until("the snapshot of contacts", || (world.json("alice", &["rpc", "flush"])["owes"] == false).then_some(()));
    drop(daemon);
    restore(&world, "again", made["recovery_phrase"].as_str().unwrap());
    let again = world.daemon("again");
    assert_eq!(world.json("again", &["whoami"])["account"], made["account"]);
    let listener = world.listen("again", "all");
    let send = || world.run("bob", &["send", "@alice", "welcome back", "--wait", "sent"]);
    until("a message that is sent", || send().status.success().then_some(()));
    listener.wait_for("a message to the new device", |e| e["message"]["text"] == "welcome back");
    drop((again, bob));
}

#[test]
fn the_server_sees_nothing() {
    let world = World::new();
    for name in ["alice-in-wonderland", "bob-the-builder"] {
        world.person(name);
    }
    world.befriend("alice-in-wonderland", "bob-the-builder");
    let text = "a-very-secret-plan";
    let _alice = world.daemon("alice-in-wonderland");
    world.json("bob-the-builder", &["send", "@alice-in-wonderland", text, "--wait", "delivered"]);
    world.json("alice-in-wonderland", &["send", "@bob-the-builder", text]);
    let own = world.json("alice-in-wonderland", &["whoami"]);
    let mut all = bytes_below(&world.dir.path().join("rendezvous"));
    all.extend(std::fs::read(world.dir.path().join("rendezvous.log")).unwrap());
    let mut secrets = vec![text.to_owned(), "alice-in-wonderland".into(), "bob-the-builder".into()];
    secrets.extend(own["addresses"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()));
    for secret in secrets {
        let found = all.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!found, "the server holds “{secret}”");
    }
}

#[test]
fn try_runs_a_whole_conversation_by_itself() {
    let output = std::process::Command::new(starling_tests::program("starling"))
        .args(["try", "--headless"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("delivered after"), "{text}");
}

#[test]
fn logs_hold_no_addresses() {
    let world = World::new();
    for name in ["alice", "bob"] {
        world.person(name);
    }
    world.befriend("alice", "bob");
    let log = world.dir.path().join("daemon.log");
    let file = std::fs::File::create(&log).unwrap();
    let daemon = Process::start(world.starling("alice").args(["-vvv", "daemon", "--json"]).stderr(file));
    assert_eq!(daemon.json()["type"], "daemon.ready");
    let bob = world.daemon("bob");
    world.json("bob", &["send", "@alice", "hello", "--wait", "delivered"]);
    drop((daemon, bob));
    for path in [log, world.dir.path().join("rendezvous.log")] {
        let text = std::fs::read_to_string(&path).unwrap();
        for address in ["/ip4/", "/ip6/", "127.0.0.1", "hello"] {
            assert!(!text.contains(address), "{} holds “{address}”:\n{text}", path.display());
        }
    }
}

#[test]
fn commands_at_the_same_time_share_one_node_until_the_last_is_done() {
    let world = World::of_friends();
    let all: Vec<std::process::Child> = (0..6)
        .map(|n| world.starling("alice").args(["send", "@bob", &format!("{n}"), "--wait", "sent"]).spawn().unwrap())
        .collect();
    for mut one in all {
        assert_eq!(one.wait().unwrap().code(), Some(0));
    }
    let mut texts = world.texts("bob", "@alice", 50);
    texts.sort();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn a_restarted_peer_is_talked_to_directly_again() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    let mut bob = world.daemon("bob");
    world.json("alice", &["send", "@bob", "before", "--wait", "delivered"]);
    bob.kill();
    let _bob = world.daemon("bob");
    let listener = world.listen("bob", "now");
    listener.wait_for("the listener", |e| e["type"] == "stream.ready");
    has_direct_path(&world, "bob");
    // The first may still go by the log: alice has yet to notice. What went to the dead process stayed there for a minute once.
    let direct = (0..20).any(|n| {
        world.json("alice", &["send", "@bob", &format!("after {n}"), "--wait", "delivered"]);
        listener.wait_for("the message", |e| e["type"] == "message.new")["via"] == "direct"
    });
    assert!(direct);
    world.json("bob", &["send", "@alice", "and back", "--wait", "delivered"]);
}

#[test]
fn a_superseded_device_says_so_and_can_only_be_read() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    world.person("bob");
    world.befriend("alice", "bob");
    world.json("bob", &["send", "@alice", "old times", "--wait", "sent"]);
    world.json("alice", &["history", "@bob"]);
    restore(&world, "again", made["recovery_phrase"].as_str().unwrap());
    world.json("again", &["whoami"]);
    world.json("alice", &["whoami"]);
    let (exit, message) = world.error("alice", &["send", "@bob", "it is still me"]);
    assert_eq!((exit, message.contains("restored on another device")), (6, true), "{message}");
    assert_eq!(world.error("alice", &["invite"]).0, 6);
    assert_eq!(world.texts("alice", "@bob", 5), ["old times"]);
}

#[test]
fn what_the_rendezvous_stores_is_listed_with_names_and_deleted_by_id() {
    let world = World::of_friends();
    world.json("alice", &["send", "@bob", "waits in the log"]);
    let stored = ["alice", "bob"].map(|who| world.json(who, &["profile", "storage"]));
    let whose = if stored[0]["conversations"][0].is_object() { 0 } else { 1 };
    let logs = &stored[whose]["conversations"][0];
    let (owner, other) = if whose == 0 { ("alice", "bob") } else { ("bob", "alice") };
    assert_eq!((&logs["name"], logs["bytes"].as_u64() > Some(500)), (&other.into(), true), "{logs}");
    let shown = world.run(owner, &["profile", "storage"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(other));
    let deleted = world.json(owner, &["profile", "storage", "--delete", logs["id"].as_str().unwrap()]);
    assert_eq!(deleted["conversations"][0]["unused"], 0, "{deleted}");
    let (exit, message) = world.error(owner, &["profile", "storage", "--delete", "nothing"]);
    assert_eq!((exit, message.contains("no rendezvous of yours")), (5, true), "{message}");
    assert_eq!(world.texts("bob", "@alice", 5).last().unwrap(), "waits in the log");
}

#[test]
fn a_user_name_leads_to_a_request_that_is_accepted() {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    let (exit, message) = world.error("alice", &["profile", "username", "Bad Name!"]);
    assert_eq!(exit, 2, "{message}");
    world.json("alice", &["profile", "username", "alice"]);
    let (exit, message) = world.error("bob", &["profile", "username", "alice"]);
    assert_eq!((exit, message.contains("taken")), (6, true), "{message}");
    let asked = world.json("bob", &["contacts", "add", "alice@127.0.0.1", "--greeting", "from the meetup"]);
    assert_eq!(asked["name"], "alice");
    world.json("bob", &["send", "@alice", "hello"]);
    // Nobody runs: one-off commands fetch what waits, and leave what is still to be sent.
    let request = world.json("alice", &["contacts", "list"]);
    assert_eq!((&request["state"], &request["greeting"]), (&"asks".into(), &"from the meetup".into()));
    world.json("alice", &["contacts", "accept", "bob"]);
    assert_eq!(world.texts("alice", "@bob", 5), ["hello"]);
    let (exit, message) = world.error("alice", &["contacts", "add", "alice@127.0.0.1"]);
    assert_eq!((exit, message.contains("your own")), (2, true), "{message}");
}

#[test]
fn a_bot_answers_what_it_missed_and_is_not_held_up_by_its_command() {
    let world = World::new();
    world.person("alice");
    world.json("bot", &["init", "--name", "bot", "--bot", "--rendezvous", &world.address]);
    world.befriend("alice", "bot");
    let bot = world.listen("bot", "all");
    let ready = bot.wait_for("the listener", |e| e["type"] == "stream.ready");
    drop(bot);
    world.json("alice", &["send", "@bot", "missed", "--wait", "sent"]);
    let alice = world.listen("alice", "now");
    alice.wait_for("the listener", |e| e["type"] == "stream.ready");
    let cursor = ready["cursor"].as_str().unwrap();
    let mut command = world.starling("bot");
    command.args(["listen", "--json", "--since", cursor, "--exec", "tr a-z A-Z | grep -o MISSED | head -1; sleep 0.1"]);
    let mut bot = Process::start(&mut command);
    let answer = alice.wait_for("the answer", |e| e["type"] == "message.new" && e["message"]["from"]["self"] != true);
    assert_eq!((&answer["message"]["text"], &answer["message"]["from"]["bot"]), (&"MISSED".into(), &true.into()));
    assert_eq!(bot.terminate(), 0);
    // A command that never ends holds up neither the listener nor its end.
    let mut bot = Process::start(world.starling("bot").args(["listen", "--json", "--exec", "sleep 1000"]));
    bot.wait_for("the listener", |e| e["type"] == "stream.ready");
    for text in ["one", "two"] {
        world.json("alice", &["send", "@bot", text]);
        bot.wait_for(text, |e| e["message"]["text"] == text);
    }
    assert_eq!(bot.terminate(), 0);
}
