//! A migration is killed at each of many places, as a power cut or `kill -9` does it; the next start completes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    cell::Cell,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use starling_keys::{KeyFile, StorageKey};

use super::*;

/// Where the child finds the profile that it opens.
const PROFILE: &str = "STARLING_MIGRATE_PROFILE";
/// The schema that the profile had.
const FROM: &str = "STARLING_MIGRATE_FROM";
/// How many writes it is let through.
const WRITES: &str = "STARLING_MIGRATE_WRITES";
/// What it prints when it is to be killed.
const STOPPED: &str = "stopped in the migration";

thread_local! {
    /// Writes that are left until this thread stops for good, if it is to; without a limit they are counted.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static DONE: Cell<u64> = const { Cell::new(0) };
}

/// Called before each write and each commit.
pub fn before_write() {
    DONE.set(DONE.get() + 1);
    match LEFT.get() {
        Some(0) => {
            println!("{STOPPED}");
            std::io::stdout().flush().unwrap();
            loop {
                std::thread::park();
            }
        }
        Some(left) => LEFT.set(Some(left - 1)),
        None => {}
    }
}

/// A profile as an older version has left it.
#[derive(Clone, Copy)]
struct Fixture(u32);

/// One of each schema before the present one.
const FIXTURES: [Fixture; 2] = [Fixture(1), Fixture(2)];

impl Fixture {
    fn dir(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/schema-{}/alice", self.0))
    }

    fn key(self) -> StorageKey {
        KeyFile::from_bytes(&fs::read(self.dir().join("key")).unwrap()).unwrap().open_plain().unwrap()
    }

    fn copy(self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        fs::copy(self.dir().join("profile.redb"), to.join("profile.redb")).unwrap();
    }

    fn open(self, path: &Path) -> Store {
        Store::open(ProfileDir::lock(path).unwrap(), &self.key()).unwrap()
    }

    fn is_migrated(self, path: &Path) -> bool {
        let dir = ProfileDir::lock(path).unwrap();
        let store = Store::open_file(dir, &self.key(), &path.join("profile.redb")).unwrap();
        store.read().unwrap().get_raw(META, b"schema").unwrap().unwrap() == SCHEMA.to_be_bytes()
    }

    /// Opens a copy of it in a process of its own, and kills that after so many writes.
    fn killed_after(self, writes: u64, path: &Path) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::migrate_tests::the_process_that_migrates"])
            .env(PROFILE, path)
            .env(FROM, self.0.to_string())
            .env(WRITES, writes.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(STOPPED)), "it did not come to write {writes}");
        // SIGKILL: nothing of the process runs after it.
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Every row of every table, as it is before it is sealed.
fn contents(store: &Store) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let read = store.read().unwrap();
    let mut rows = Vec::new();
    for table in TABLES {
        for (key, sealed) in read.all_raw(table).unwrap() {
            let plain = store.unseal(table, &key, &sealed).map_or(sealed, |plain| plain.to_vec());
            rows.push((table.name(), key, plain));
        }
    }
    rows
}

#[test]
#[ignore = "the process that the test below kills"]
fn the_process_that_migrates() {
    let Some(path) = env::var_os(PROFILE) else { return };
    LEFT.set(env::var(WRITES).unwrap().parse().ok());
    let from = Fixture(env::var(FROM).unwrap().parse().unwrap());
    drop(from.open(Path::new(&path)));
}

#[test]
fn a_migration_that_is_killed_anywhere_is_completed_at_the_next_start() {
    for fixture in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        fixture.copy(&whole);
        DONE.set(0);
        let store = fixture.open(&whole);
        let writes = DONE.get();
        let expected = contents(&store);
        drop(store);
        // The first write, some between, the last, and the commit.
        let mut places: Vec<u64> = (0..writes).step_by((writes / 8).max(1) as usize).collect();
        places.extend([writes - 2, writes - 1]);
        for place in places {
            let path = dir.path().join(format!("killed-{place}"));
            fixture.copy(&path);
            fixture.killed_after(place, &path);
            assert!(!fixture.is_migrated(&path), "killed before write {place}: nothing of the migration is there");
            assert!(contents(&fixture.open(&path)) == expected, "killed before write {place}");
        }
    }
}

#[test]
fn a_profile_of_this_schema_is_opened_without_a_write() {
    let (dir, fixture) = (tempfile::tempdir().unwrap(), Fixture(1));
    fixture.copy(dir.path());
    let before = contents(&fixture.open(dir.path()));
    DONE.set(0);
    assert!(contents(&fixture.open(dir.path())) == before);
    assert_eq!(DONE.get(), 1, "the commit of nothing");
}
