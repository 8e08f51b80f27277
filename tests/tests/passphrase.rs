//! The passphrase of a profile is set, changed and taken away; what is in the profile stays.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use starling_tests::World;

/// A file with a passphrase, which only its owner can read.
fn file(world: &World, passphrase: &str) -> String {
    let path = world.dir.path().join(passphrase);
    fs::write(&path, passphrase).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn key_of(world: &World) -> PathBuf {
    world.dir.path().join("profiles/alice/key")
}

#[test]
fn a_passphrase_is_set_changed_and_taken_away() {
    let world = World::new();
    world.person("alice");
    let (first, second) = (file(&world, "first"), file(&world, "second"));
    let account = world.json("alice", &["whoami"])["account"].clone();

    world.json("alice", &["profile", "passphrase", "--new-file", &first]);
    let (exit, error) = world.error("alice", &["whoami"]);
    assert_eq!(exit, 4, "{error}");
    assert_eq!(world.error("alice", &["whoami", "--passphrase-file", &second]).0, 4);
    assert_eq!(world.json("alice", &["whoami", "--passphrase-file", &first])["account"], account);

    // Who does not know it changes nothing.
    let before = fs::read(key_of(&world)).unwrap();
    assert_eq!(world.error("alice", &["profile", "passphrase", "--none"]).0, 4);
    assert_eq!(
        world.error("alice", &["profile", "passphrase", "--new-file", &second, "--passphrase-file", &second]).0,
        4
    );
    let empty = file(&world, "empty");
    fs::write(&empty, "\n").unwrap();
    assert_eq!(
        world.error("alice", &["profile", "passphrase", "--new-file", &empty, "--passphrase-file", &first]).0,
        2
    );
    assert_eq!(fs::read(key_of(&world)).unwrap(), before);

    world.json("alice", &["profile", "passphrase", "--new-file", &second, "--passphrase-file", &first]);
    assert_eq!(world.error("alice", &["whoami", "--passphrase-file", &first]).0, 4);
    world.json("alice", &["profile", "passphrase", "--none", "--passphrase-file", &second]);
    assert_eq!(world.json("alice", &["whoami"])["account"], account);
    assert_eq!(fs::metadata(key_of(&world)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_key_file_that_a_passphrase_replaces_is_overwritten() {
    let world = World::new();
    world.person("alice");
    // Another name of the file shows what is written over it.
    let kept = world.dir.path().join("kept");
    fs::hard_link(key_of(&world), &kept).unwrap();
    let passphrase = file(&world, "first");
    world.json("alice", &["profile", "passphrase", "--new-file", &passphrase]);
    let old = fs::read(&kept).unwrap();
    assert!(
        !old.is_empty() && old.iter().all(|byte| *byte == 0),
        "what opens the profile without a passphrase is still there"
    );
    world.json("alice", &["whoami", "--passphrase-file", &passphrase]);
}

#[test]
fn a_profile_that_others_could_read_is_private_once_it_was_opened() {
    let world = World::new();
    world.person("alice");
    let dir = world.dir.path().join("profiles/alice");
    for (path, mode) in [(dir.clone(), 0o755), (dir.join("key"), 0o644), (dir.join("profile.redb"), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    world.json("alice", &["whoami"]);
    for (path, mode) in [(dir.clone(), 0o700), (dir.join("key"), 0o600), (dir.join("profile.redb"), 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}
