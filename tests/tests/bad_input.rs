//! Each mistake gets its own message and exit code.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_tests::World;

#[test]
fn mistakes_are_told_apart() {
    let world = World::new();
    let (exit, message) = world.error("nobody", &["whoami"]);
    assert_eq!(exit, 4, "{message}");
    world.person("alice");
    let (exit, message) = world.error("alice", &["contacts", "add", "starling:AEADB"]);
    assert_eq!((exit, message.contains("damaged")), (2, true), "{message}");
    let (exit, message) = world.error("alice", &["contacts", "add", "7-unicornn-quiver"]);
    assert_eq!(exit, 2, "{message}");
    let (exit, _) = world.error("alice", &["send", "@nobody", "hi"]);
    assert_eq!(exit, 5);
    let (exit, message) = world.error("alice", &["contacts", "add", &format!("nobody@{}", world.address)]);
    assert_eq!((exit, message.contains("nobody")), (5, true), "{message}");
    let (exit, _) = world.error("alice", &["--no-spawn", "whoami"]);
    assert_eq!(exit, 10);
    let (exit, message) = world.error("x", &["init", "--name", "x", "--rendezvous", "/ip4/127.0.0.1/udp/1/quic-v1"]);
    assert_eq!((exit, message.contains("/p2p/PEER")), (2, true), "{message}");
    let (exit, _) = world.error("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    assert_eq!(exit, 2, "a profile is never overwritten");
}

#[test]
fn a_wrong_passphrase_and_a_wrong_phrase_are_refused() {
    let world = World::new();
    let (good, bad) = (world.dir.path().join("good"), world.dir.path().join("bad"));
    std::fs::write(&good, "correct horse\n").unwrap();
    std::fs::write(&bad, "battery staple\n").unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    world.json("p", &["--passphrase-file", good, "init", "--name", "p", "--rendezvous", &world.address]);
    let (exit, message) = world.error("p", &["--passphrase-file", bad, "whoami"]);
    assert_eq!((exit, message.as_str()), (4, "the passphrase is wrong"));
    assert_eq!(world.error("p", &["--no-input", "whoami"]).0, 4);
    world.json("p", &["--passphrase-file", good, "whoami"]);
    let (exit, message) = world.error("r", &["init", "--name", "r", "--restore", "--rendezvous", &world.address]);
    assert_eq!((exit, message.contains("24 words")), (2, true), "{message}");
}

#[test]
fn a_rendezvous_on_a_used_port_says_so() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let output = std::process::Command::new(starling_tests::program("starling-rendezvous"))
        .args(["--listen", &listen, "--http", "127.0.0.1:0", "--data-dir"])
        .arg(world.dir.path().join("other"))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("in use") && error.contains("hint"), "{error}");
}
