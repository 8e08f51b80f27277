//! The secret of an account's recovery phrase is nowhere once the phrase was shown: not in a file, not in a log, not in the memory of the program that
//! goes on, and so not in its core dump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs::File, io::BufRead as _, os::unix::fs::FileExt as _, process::Stdio};

use starling_keys::{KeyFile, RecoveryPhrase};
use starling_tests::{World, bytes_below};

/// What somebody would look for who wants the account.
struct Secret(Vec<(&'static str, Vec<u8>)>);

impl Secret {
    fn of(words: &str) -> Self {
        let phrase = RecoveryPhrase::parse(words).unwrap();
        let key = phrase.account_key();
        let mut forms = vec![
            ("the words", phrase.words().as_bytes().to_vec()),
            ("the seed of the root", key.seed().to_vec()),
            ("the seed of the recovery key", key.recovery_seed().to_vec()),
        ];
        // Also where the words were drawn, or kept one by one.
        let several: Vec<&str> = words.split_whitespace().take(6).collect();
        forms.push(("words with other spaces", several.join("  ").into_bytes()));
        Self(forms)
    }

    fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let holds = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        self.0.iter().find(|(_, form)| holds(form)).map(|(name, _)| *name)
    }
}

/// Everything that a process has in its memory, without the code: what a core dump would have of it.
fn memory_of(pid: u32) -> Vec<u8> {
    let maps = std::io::BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().map_while(Result::ok) {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().unwrap(), parts.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut part = vec![0; 4096];
        for at in (from..to).step_by(part.len()) {
            // Guard pages, and what was unmapped meanwhile.
            if memory.read_exact_at(&mut part, at).is_ok() {
                all.extend_from_slice(&part);
            }
        }
    }
    all
}

fn assert_gone(world: &World, pid: u32, words: &str) {
    let secret = Secret::of(words);
    assert_eq!(secret.found_in(words.as_bytes()), Some("the words"), "the test looks for the wrong bytes");
    let memory = memory_of(pid);
    assert!(memory.len() > 1_000_000, "{} bytes of memory were read", memory.len());
    assert_eq!(secret.found_in(&memory), None, "in the memory of the program");
    assert_eq!(secret.found_in(&bytes_below(world.dir.path())), None, "in the files of profiles, server and logs");
}

/// Pages of a database.
const PAGE: usize = 4096;

/// Keys and values in a page of a database if it is a leaf: a type, a number of pairs, and where each key and each value ends.
fn pairs_of(page: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let number = |at: usize| page.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap()) as usize);
    let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
    if page[0] != 1 || count == 0 {
        return None;
    }
    let ends: Vec<usize> = (0..2 * count).map(|n| number(4 + 4 * n)).collect::<Option<_>>()?;
    let starts = std::iter::once(4 + 8 * count).chain(ends.iter().copied());
    let parts: Vec<&[u8]> = starts.zip(&ends).map(|(from, to)| page.get(from..*to)).collect::<Option<_>>()?;
    let (keys, values) = parts.split_at(count);
    Some(keys.iter().copied().zip(values.iter().copied()).collect())
}

/// Who we were, in all versions that a thief of a profile's directory finds: also in pages of the database that are free.
fn identities(world: &World, profile: &str) -> Vec<Vec<u8>> {
    let dir = world.dir.path().join("profiles").join(profile);
    let key =
        KeyFile::from_bytes(&std::fs::read(dir.join("key")).unwrap()).unwrap().open_plain().unwrap().derive("rows");
    let file = std::fs::read(dir.join("profile.redb")).unwrap();
    let leaves = (0..file.len()).step_by(PAGE).filter_map(|at| pairs_of(&file[at..]));
    let rows = leaves.flatten().filter(|(name, _)| *name == b"identity");
    rows.filter_map(|(name, sealed)| key.open(&[b"meta\0", name].concat(), sealed).ok())
        .map(|row| row.to_vec())
        .collect()
}

#[test]
fn a_profile_that_was_made_on_the_command_line_has_no_root() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let words = made["recovery_phrase"].as_str().unwrap();
    let daemon = world.daemon("alice");
    starling_tests::until("the registration", || {
        (world.json("alice", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
    });
    world.json("alice", &["invite"]);
    assert_gone(&world, daemon.id(), words);
}

#[test]
fn a_restored_profile_has_no_root() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let words = made["recovery_phrase"].as_str().unwrap();
    {
        let _daemon = world.daemon("alice");
        starling_tests::until("the registration", || {
            (world.json("alice", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
        });
    }
    let mut restore = world.starling("again");
    restore.args(["init", "--restore", "--name", "alice", "--rendezvous", &world.address, "--json"]);
    let mut child = restore.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{words}\n").as_bytes()).unwrap();
    // Pages that are free are used again: all that was in the file while it was restored.
    let mut found = std::collections::BTreeSet::new();
    while child.try_wait().unwrap().is_none() {
        if world.dir.path().join("profiles/again/profile.redb").exists() {
            found.extend(identities(&world, "again"));
        }
    }
    assert!(child.wait().unwrap().success());
    found.extend(identities(&world, "again"));
    assert!(found.len() > 1, "the test reads no pages that are free");
    let secret = Secret::of(words);
    assert!(found.iter().all(|row| secret.found_in(row).is_none()), "in a page of the database");
    let daemon = world.daemon("again");
    starling_tests::until("the registration", || {
        (world.json("again", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
    });
    assert_gone(&world, daemon.id(), words);
    assert!(!world.dir.path().join("profiles/again/root-key").exists());
}
