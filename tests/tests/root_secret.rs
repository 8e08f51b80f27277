//! The secret of an account's recovery phrase is nowhere once the phrase was shown: not in a file, not in a log, not in the memory of the program that
//! goes on, and so not in its core dump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod memory;
mod terminal;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use memory::{Secret, core_limit_of, memory_of};
use starling_keys::{KeyFile, RecoveryPhrase};
use starling_tests::{World, bytes_below, can_look_into, until};
use terminal::{Terminal, confirm, words_of};

const ENTER: &str = "\r";
const SHIFT_TAB: &str = "\u{1b}[Z";

fn assert_gone(world: &World, pid: u32, words: &str) {
    // At once: the program may be about to end.
    assert_eq!(core_limit_of(pid), "0");
    let memory = can_look_into(pid).then(|| memory_of(pid));
    let secret = Secret::of(words);
    assert_eq!(secret.found_in(words.as_bytes()), Some("the words"), "the test looks for the wrong bytes");
    assert_eq!(memory.and_then(|memory| secret.found_in(&memory)), None, "in the memory of the program");
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
    until("the registration", || {
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
        until("the registration", || {
            (world.json("alice", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
        });
    }
    let mut restore = world.starling("again");
    restore.args(["init", "--restore", "--name", "alice", "--rendezvous", &world.address, "--json"]);
    let mut child = restore.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{words}\n").as_bytes()).unwrap();
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
    until("the registration", || {
        (world.json("again", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
    });
    assert_gone(&world, daemon.id(), words);
    assert!(!world.dir.path().join("profiles/again/root-key").exists());
}

#[test]
fn words_are_found_in_every_layout() {
    let phrase = RecoveryPhrase::generate().words();
    let secret = Secret::of(&phrase);
    let words: Vec<&str> = phrase.split(' ').collect();
    let numbered = |width: usize, between: &str| -> String {
        let entries = words.iter().enumerate().map(|(i, word)| format!("{:>2} {word:<width$}", i + 1));
        entries.collect::<Vec<_>>().join(between)
    };
    let layouts = [
        words.join("\n"),
        words[5..9].join("  "),
        words.join("\", \""),
        numbered(10, " "),
        numbered(9, ""),
        numbered(0, "\u{1b}[38;2;136;192;208m"),
    ];
    for text in layouts {
        assert_eq!(secret.found_in(text.as_bytes()), Some("words in a row"), "{text}");
        // Each letter in a cell of its own.
        let cells: Vec<u8> = text.bytes().flat_map(|byte| [&[byte][..], &[0; 39]].concat()).collect();
        assert_eq!(secret.found_in(&[&[0; 16][..], cells.as_slice()].concat()), Some("words in a row"), "{text}");
    }
    let other = RecoveryPhrase::generate().words();
    assert_eq!(secret.found_in(other.as_bytes()), None);
}

#[test]
fn init_has_no_phrase_any_more_when_its_words_were_confirmed() {
    let world = World::new();
    // So that it waits for an answer, and can be looked at.
    world.rendezvous.as_ref().unwrap().signal("STOP");
    let mut init = Terminal::verb(&world, "alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let text = init.sees("what is word ");
    let words = words_of(text.split("So that it is written down").next().unwrap());
    let pid = init.pid();
    if !can_look_into(pid) {
        return;
    }
    let phrase = words.values().cloned().collect::<Vec<_>>().join(" ");
    assert!(Secret::of(&phrase).found_in(&memory_of(pid)).is_some(), "the words are still needed");
    confirm(&mut init, &words);
    let is_profile = |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("profile.redb"));
    let node_runs = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().any(is_profile);
    until("the node", || node_runs().then_some(()));
    assert_gone(&world, pid, &phrase);
}

#[test]
fn init_has_no_phrase_any_more_while_it_takes_an_account_back() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let words = made["recovery_phrase"].as_str().unwrap();
    world.rendezvous.as_ref().unwrap().signal("STOP");
    let mut restore = world.starling("again");
    restore.args(["init", "--restore", "--name", "alice", "--rendezvous", &world.address]);
    let mut child = restore.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{words}\n").as_bytes()).unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.by_ref().map_while(Result::ok).any(|line| line.contains("Taking the account back")));
    if can_look_into(child.id()) {
        let found = Secret::of_phrase(words).found_in(&memory_of(child.id()));
        assert_eq!(found, None, "in the memory of the program");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_screen_has_no_phrase_any_more_after_the_first_run() {
    let world = World::new();
    let mut screen = Terminal::start(&world, "new", 80, 24);
    screen.sees("What shall it be?");
    screen.type_keys(ENTER);
    screen.sees("What shall others call you?");
    screen.type_keys("alice\r");
    screen.sees("Where do you want to meet?");
    screen.type_keys(&format!("{}\r", world.address));
    screen.sees("A passphrase for this device?");
    screen.type_keys(ENTER);
    screen.sees("I have written it down");
    // What is drawn moves in memory when the window grows.
    screen.resize(120, 40);
    let is_centred = |text: &str| text.lines().any(|line| line.starts_with(&format!("{}╭", " ".repeat(22))));
    let text = screen.waits("the larger window", |text| is_centred(text) && text.contains("I have written it down"));
    let words = words_of(&text);
    let phrase = words.values().cloned().collect::<Vec<_>>().join(" ");
    screen.type_keys(ENTER);
    screen.sees("What is word");
    screen.type_keys("wrong\r");
    screen.sees("not what was shown");
    screen.type_keys(SHIFT_TAB);
    screen.sees("I have written it down");
    screen.type_keys(ENTER);
    confirm(&mut screen, &words);
    screen.sees("Nobody here yet.");
    assert_gone(&world, screen.pid(), &phrase);
}

#[test]
fn the_screen_has_no_phrase_any_more_that_was_typed_or_pasted() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let words = made["recovery_phrase"].as_str().unwrap();
    let end = words.rsplit(' ').next().unwrap();
    for (profile, keys) in [("typed", words.to_owned()), ("pasted", format!("\u{1b}[200~{words}\u{1b}[201~"))] {
        let mut screen = Terminal::start(&world, profile, 80, 24);
        screen.sees("What shall it be?");
        screen.type_keys("3");
        screen.sees("What is the recovery phrase?");
        screen.type_keys(&keys);
        screen.sees(&format!(" {end}"));
        screen.type_keys(ENTER);
        screen.sees("What shall others call you?");
        screen.type_keys("alice\r");
        screen.sees("Which rendezvous has the account?");
        screen.type_keys(&format!("{}\r", world.address));
        screen.sees("A passphrase for this device?");
        screen.type_keys(ENTER);
        screen.sees("Nobody here yet.");
        assert_gone(&world, screen.pid(), words);
    }
}
