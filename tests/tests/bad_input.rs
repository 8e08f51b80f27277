//! Each mistake gets its own message and exit code.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_tests::{World, program};

#[test]
fn mistakes_are_told_apart() {
    let world = World::new();
    let (exit, message) = world.error("nobody", &["whoami"]);
    assert_eq!(exit, 4, "{message}");
    world.person("alice");
    let (exit, message) = world.error("alice", &["contacts", "add", "starling:AEADB"]);
    assert_eq!((exit, message.contains("damaged")), (2, true), "{message}");
    let (exit, message) = world.error("alice", &["contacts", "add", "7-uniformm-quiz"]);
    assert_eq!(exit, 2, "{message}");
    let (exit, _) = world.error("alice", &["send", "@nobody", "hi"]);
    assert_eq!(exit, 5);
    let (exit, message) = world.error("alice", &["contacts", "add", &format!("nobody@{}", world.address)]);
    assert_eq!((exit, message.contains("nobody")), (5, true), "{message}");
    // The same server, by its short address.
    let parts: Vec<&str> = world.address.split('/').collect();
    let short = format!("nobody@starling-server:{}:{}/{}", parts[2], parts[4], parts[7]);
    let (exit, message) = world.error("alice", &["contacts", "add", &short]);
    assert_eq!((exit, message.contains("nobody")), (5, true), "{message}");
    let (exit, _) = world.error("alice", &["--no-spawn", "whoami"]);
    assert_eq!(exit, 10);
    let (exit, message) = world.error("x", &["init", "--name", "x", "--rendezvous", "/ip4/127.0.0.1/udp/1/quic-v1"]);
    assert_eq!((exit, message.contains("/p2p/PEER")), (2, true), "{message}");
    let (exit, _) = world.error("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    assert_eq!(exit, 2, "a profile is never overwritten");
}

#[test]
fn no_number_and_no_time_of_none_at_all_is_taken() {
    let world = World::new();
    for args in [
        &["send", "@bob", "hi", "--timeout", "0"][..],
        &["send", "@bob", "hi", "--timeout", "0ms"],
        &["history", "@bob", "--limit", "0"],
        &["search", "hi", "--limit", "0"],
        &["listen", "--count", "0"],
        &["call", "answer", "--auto", "--count", "0"],
        &["invite", "--uses", "0"],
        &["invite", "--expires", "0d"],
    ] {
        let (exit, message) = world.error("nobody", args);
        assert_eq!(exit, 2, "{args:?}: {message}");
    }
}

#[test]
fn a_wrong_passphrase_and_a_wrong_phrase_are_refused() {
    let world = World::new();
    let (good, bad) = (world.dir.path().join("good"), world.dir.path().join("bad"));
    std::fs::write(&good, "correct horse\n").unwrap();
    std::fs::write(&bad, "battery staple\n").unwrap();
    for file in [&good, &bad] {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
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
    let output = std::process::Command::new(program("starling-rendezvous"))
        .args(["--listen", &listen, "--http", "127.0.0.1:0", "--data-dir"])
        .arg(world.dir.path().join("other"))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("in use") && error.contains("hint"), "{error}");
}

#[test]
fn a_rendezvous_that_is_down_is_named_and_what_was_written_waits() {
    let mut world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    world.rendezvous = None;
    let (exit, message) = world.error("alice", &["send", "@bob", "later", "--wait", "sent", "--timeout", "2s"]);
    assert_eq!((exit, message.contains("queued")), (9, true), "{message}");
    let (exit, message) = world.error("alice", &["contacts", "add", &format!("carol@{}", world.address)]);
    assert_eq!((exit, message.contains("cannot be reached")), (3, true), "{message}");
    let checked = world.run("alice", &["doctor"]);
    let found = String::from_utf8(checked.stdout).unwrap();
    assert!(found.contains("FAIL  rendezvous") && found.contains("is the server running"), "{found}");
}

#[test]
fn a_profile_of_a_newer_version_is_left_alone() {
    let world = World::new();
    world.person("alice");
    let key = world.dir.path().join("profiles/alice/key");
    let mut bytes = std::fs::read(&key).unwrap();
    let version = bytes.windows(1).position(|b| b[0].is_ascii_digit() || b[0] == 1).unwrap();
    bytes[version] = bytes[version].wrapping_add(7);
    std::fs::write(&key, bytes).unwrap();
    let (exit, message) = world.error("alice", &["whoami"]);
    assert_eq!((exit, message.contains("newer")), (11, true), "{message}");
    std::fs::remove_file(&key).unwrap();
    let (exit, message) = world.error("alice", &["whoami"]);
    assert_eq!((exit, message.contains("missing")), (4, true), "{message}");
}

/// A mounted file system of this size, or `None` where that is not allowed.
fn small_disk(world: &World, options: &str) -> Option<std::path::PathBuf> {
    let dir = world.dir.path().join("disk");
    std::fs::create_dir(&dir).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(&dir)
        .stderr(std::process::Stdio::null())
        .status();
    let mounted = mounted.is_ok_and(|s| s.success());
    if !mounted {
        starling_tests::skip("root, to mount a file system");
    }
    mounted.then_some(dir)
}

/// Takes a mount away when the test ends, however it ends.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_and_a_read_only_directory_say_what_they_are() {
    let world = World::new();
    let Some(disk) = small_disk(&world, "size=6m") else { return };
    let mounted = Mounted(disk.clone());
    let on_disk = |profile: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program("starling"));
        command.args(["--no-mdns", "--profile", profile, "--json", "--data-dir"]).arg(&disk).args(args);
        command.env("XDG_RUNTIME_DIR", world.dir.path()).stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
        (output.status.code().unwrap(), error["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(on_disk("full", &["init", "--name", "full", "--rendezvous", &world.address]).0, 0);
    // Nearly full: the next commits find no room.
    let filler = disk.join("filler");
    let mut size = 6 * 1024 * 1024;
    while size > 4096 {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
        if std::io::Write::write_all(&mut file, &vec![0; size]).is_err() {
            size /= 2;
        }
    }
    let (exit, message) = on_disk("full", &["invite"]);
    assert_eq!((exit, message.contains("full")), (1, true), "{message}");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(on_disk("full", &["whoami"]).0, 0, "with room it works again");
    let remounted = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
    assert!(remounted.success());
    let (exit, message) = on_disk("full", &["whoami"]);
    assert_eq!((exit, message.contains("read-only") || message.contains("Read-only")), (1, true), "{message}");
    let (exit, message) = on_disk("new", &["init", "--name", "new"]);
    assert_eq!((exit, message.contains("ead-only")), (1, true), "{message}");
    drop(mounted);
}

#[test]
fn an_account_that_no_rendezvous_registers_is_not_called_ready() {
    let mut world = World::new();
    world.rendezvous = None;
    let only_with_token = [("STARLING_RENDEZVOUS_REGISTRATION_MODE", "invite")];
    world.start_rendezvous_with("/ip4/127.0.0.1/udp/0/quic-v1", &only_with_token);
    let run = |world: &World, profile: &str, args: &[&str]| {
        let output = world.run(profile, args);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let init = ["init", "--name", "alice", "--rendezvous", &world.address];
    let (exit, shown, said) = run(&world, "alice", &init);
    assert_eq!(exit, 6, "{said}");
    assert!(shown.contains("Recovery phrase"), "the profile is kept, and its phrase shown");
    assert!(said.contains("token") && !said.contains("ready") && !said.contains("Next:"), "{said}");
    assert_eq!(run(&world, "alice", &["whoami"]).0, 0);
    let (exit, link, said) = run(&world, "alice", &["invite"]);
    assert_eq!((exit, link.as_str()), (6, ""), "{said}");
    assert!(said.contains("--invite-token"), "it says what to do: {said}");
    // The same of one that does not answer.
    world.rendezvous = None;
    let init = ["init", "--name", "bob", "--rendezvous", &world.address];
    let (exit, shown, said) = run(&world, "bob", &init);
    assert_eq!(exit, 3, "{said}");
    assert!(
        shown.contains("Recovery phrase") && said.contains("cannot be reached") && !said.contains("ready"),
        "{said}"
    );
    let (exit, link, _) = run(&world, "bob", &["invite"]);
    assert_eq!((exit, link.as_str()), (3, ""));
}

#[test]
fn a_server_without_room_is_named_as_that_with_what_to_do() {
    let mut world = World::new();
    world.rendezvous = None;
    // No disk has so much free.
    let full = [("STARLING_RENDEZVOUS_LIMITS_DISK_RESERVE_BYTES", "1000000000000")];
    world.start_rendezvous_with("/ip4/127.0.0.1/udp/0/quic-v1", &full);
    let output = world.run("alice", &["init", "--name", "alice", "--rendezvous", &world.address, "--json"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = &error["error"];
    assert_eq!(output.status.code(), Some(6), "{error}");
    assert!(error["message"].as_str().unwrap().contains("no room"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("make room"), "not that it does not run: {error}");
    let status = world.json("alice", &["whoami"]);
    assert_eq!(status["rendezvous"][0]["problem_code"], "full", "{status}");
}

#[test]
fn a_profile_that_is_damaged_is_named_with_what_can_be_done() {
    let world = World::new();
    world.person("alice");
    let dir = world.dir.path().join("profiles/alice");
    let database = dir.join("profile.redb");
    let whole = std::fs::read(&database).unwrap();
    for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec(), b"nonsense".repeat(10_000)] {
        std::fs::write(&database, damaged).unwrap();
        let output = world.run("alice", &["whoami", "--json"]);
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((output.status.code(), &error["error"]["code"]), (Some(1), &"damaged".into()), "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains("profile.redb"), "{error}");
        assert!(error["error"]["hint"].as_str().unwrap().contains("--restore"), "{error}");
    }
    std::fs::write(&database, whole).unwrap();
    // What is no file is not waited for.
    for name in ["key", "lock"] {
        let path = dir.join(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (exit, message) = world.error("alice", &["whoami"]);
        assert!(exit != 0 && message.contains(name), "{exit}: {message}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    world.json("alice", &["whoami"]);
}

#[test]
fn a_variable_that_is_empty_is_as_good_as_none() {
    let world = World::new();
    world.person("alice");
    let mut whoami = world.starling("alice");
    whoami.args(["whoami", "--json"]);
    for name in ["STARLING_PASSPHRASE_FILE", "STARLING_DATA_DIR", "STARLING_LISTEN", "STARLING_NO_MDNS"] {
        whoami.env(name, "");
    }
    assert!(whoami.output().unwrap().status.success());
    let mut check = std::process::Command::new(program("starling-rendezvous"));
    check.args(["config", "check"]).current_dir(world.dir.path());
    let names = ["LISTEN", "PUBLIC_ADDRESS", "HTTP", "STORE", "LOG_FORMAT", "CONFIG", "DATA_DIR", "LIMITS_LOG_ENTRIES"];
    for name in names {
        check.env(format!("STARLING_RENDEZVOUS_{name}"), "");
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_program_whose_output_nobody_reads_ends_quietly() {
    let world = World::new();
    world.person("alice");
    let bench = program("starling-bench").display().to_string();
    let rendezvous = format!("{} config print-default", program("starling-rendezvous").display());
    for (command, reader) in [(format!("{bench} chain"), "head -1"), (rendezvous, "true")] {
        let line = format!("{command} | {reader}; exit ${{PIPESTATUS[0]}}");
        let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // 141: ended by the signal that says so.
        assert!(matches!(output.status.code(), Some(0 | 141)), "{line}: {:?} {said}", output.status);
        assert!(said.is_empty(), "{line}: {said}");
    }
}
