//! A data directory that an earlier version wrote is opened and served by this one.
//!
//! `cargo test -p starling-rendezvous -- --ignored write_a_fixture` writes such a directory with the present version: see the README there.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use starling_keys::{InviteTicket, username_key};
use starling_wire::{
    LogKey,
    rendezvous::{
        Behind, ClaimedKeyPackages, Devices, InviteRecord, KeyPackages, LogEntry, Refusal, RequestBody, ResponseBody,
        Snapshot,
    },
};

use crate::{
    config::{Config, RegistrationMode},
    local::LocalServer,
    testing::{Client, Person, SERVER_KEY, entry, refusal},
};

const TOKEN: InviteTicket = InviteTicket([5; 12]);
const OPERATORS_TOKEN: &str = "operator";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn config(dir: &Path) -> Config {
    let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
    config.registration.work_bits = 0;
    config.limits.inbox_work_bits = 0;
    // The fixture is to be read for years.
    config.limits.keep_days = 3650;
    config
}

fn alice() -> Person {
    Person::new(1, 2)
}

fn bob() -> Person {
    Person::new(2, 1)
}

/// Banned.
fn mallory() -> Person {
    Person::new(3, 1)
}

/// Not registered.
fn carol() -> Person {
    Person::new(4, 1)
}

fn log(n: u8) -> LogKey {
    LogKey::from_secret(&[n; 32])
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Writes `rendezvous.redb` into the directory that the variable `FIXTURE` names.
#[tokio::test]
#[ignore = "writes a directory"]
async fn write_a_fixture() {
    let dir = PathBuf::from(std::env::var_os("FIXTURE").unwrap());
    let server = LocalServer::open(&config(&dir), SERVER_KEY).unwrap();
    let mut phone = Client::registered(&server, &alice(), 0).await;
    let mut bob_s = Client::registered(&server, &bob(), 0).await;
    Client::registered(&server, &mallory(), 0).await;
    server.ban(mallory().id()).await;
    server.put_registration(OPERATORS_TOKEN, 2).await;

    for (client, name) in [(&mut phone, "alice"), (&mut bob_s, "bob")] {
        assert_eq!(client.ask(RequestBody::ClaimName(name.into())).await, ResponseBody::Done(true));
    }
    let one_time = vec![bytes("package 1"), bytes("package 2")];
    let packages = KeyPackages { one_time, last_resort: bytes("last resort") };
    assert_eq!(phone.ask(RequestBody::PublishKeyPackages(packages)).await, ResponseBody::KeyPackagesLeft(2));
    let token_hash = Bytes::copy_from_slice(&TOKEN.hash());
    let invite = InviteRecord { token_hash, uses: 1, expires_at: u64::MAX };
    assert_eq!(phone.ask(RequestBody::RegisterInvite(invite)).await, ResponseBody::Done(true));
    let snapshot = Snapshot { version: 3, sealed: bytes("snapshot") };
    assert_eq!(phone.ask(RequestBody::PutSnapshot(snapshot)).await, ResponseBody::Done(true));

    phone.open(&log(1)).await;
    assert_eq!(phone.append(&log(1), &[b"one", b"two", b"three"]).await, ResponseBody::Appended(3));
    assert_eq!(phone.trim(&log(1), &[2]).await, ResponseBody::Done(true));
    phone.open(&log(2)).await;
    assert_eq!(bob_s.append(&log(2), &[b"first", b"second"]).await, ResponseBody::Appended(2));
    assert_eq!(bob_s.commit(&log(2), b"the end", 2, false).await, ResponseBody::Appended(3));

    assert_eq!(bob_s.leave_item(alice().device(0), b"by invite", &TOKEN.0).await, ResponseBody::Appended(1));
    assert_eq!(phone.leave_item(bob().device(0), b"by work", &[]).await, ResponseBody::Appended(1));
    assert_eq!(phone.leave_item(bob().device(0), b"by work, too", &[]).await, ResponseBody::Appended(2));
}

/// A copy of a fixture, as opening it may change it.
fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join(name).join("rendezvous.redb"), dir.path().join("rendezvous.redb")).unwrap();
    dir
}

async fn open(name: &str) -> (tempfile::TempDir, LocalServer) {
    let dir = copy_of(name);
    let server = LocalServer::open(&config(dir.path()), SERVER_KEY).unwrap();
    (dir, server)
}

const FIXTURES: [&str; 2] = ["rendezvous-1", "rendezvous-2"];

#[tokio::test]
async fn accounts_names_and_snapshots_of_an_earlier_version_are_served() {
    for fixture in FIXTURES {
        let (_dir, server) = open(fixture).await;
        let mut phone = Client::connect(&server, alice().device(0)).await;
        let list = ResponseBody::DeviceList(alice().old_list(1));
        assert_eq!(phone.ask(RequestBody::LookUp(Bytes::copy_from_slice(&alice().id()))).await, list);
        assert_eq!(phone.ask(RequestBody::LookUpName("alice".into())).await, list);
        assert_eq!(phone.ask(RequestBody::LookUpName("bob".into())).await, ResponseBody::DeviceList(bob().old_list(1)));
        assert_eq!(phone.refused(RequestBody::ClaimName("bob".into())).await, Refusal::Taken);
        let snapshot = Snapshot { version: 3, sealed: bytes("snapshot") };
        assert_eq!(phone.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(snapshot.clone()));
        assert_eq!(phone.refused(RequestBody::PutSnapshot(snapshot)).await, Refusal::Stale);

        // The account's other device belongs to it, too.
        let mut laptop = Client::connect(&server, alice().device(1)).await;
        assert!(
            matches!(laptop.ask(RequestBody::GetSnapshot(true)).await, ResponseBody::Snapshot(s) if s.version == 3)
        );

        let mut banned = Client::connect(&server, mallory().device(0)).await;
        assert_eq!(banned.refused(RequestBody::GetSnapshot(true)).await, Refusal::Banned);
        assert_eq!(
            phone.refused(RequestBody::LookUp(Bytes::copy_from_slice(&mallory().id()))).await,
            Refusal::NotFound
        );
    }
}

#[tokio::test]
async fn user_names_that_an_earlier_version_has_seen_move_to_their_keys_when_they_are_claimed() {
    for fixture in FIXTURES {
        let (_dir, server) = open(fixture).await;
        let key = |name: &str| Bytes::copy_from_slice(&username_key(&SERVER_KEY, name));
        let mut phone = Client::connect(&server, alice().device(0)).await;
        let mut bob_s = Client::connect(&server, bob().device(0)).await;
        assert_eq!(phone.refused(RequestBody::LookUpNameKey(key("alice"))).await, Refusal::NotFound);
        assert_eq!(phone.ask(RequestBody::ClaimNameKey(key("alice"))).await, ResponseBody::Done(true));
        // A program of before says the name.
        assert_eq!(bob_s.ask(RequestBody::ClaimName("bob".into())).await, ResponseBody::Done(true));
        server.sweep().await;
        for (name, person) in [("alice", alice()), ("bob", bob())] {
            let list = ResponseBody::DeviceList(person.old_list(1));
            assert_eq!(phone.ask(RequestBody::LookUpNameKey(key(name))).await, list);
            assert_eq!(phone.ask(RequestBody::LookUpName(name.into())).await, list);
        }
        for ask in [RequestBody::ClaimNameKey(key("alice")), RequestBody::ClaimName("alice".into())] {
            assert_eq!(bob_s.refused(ask).await, Refusal::Taken);
        }
        assert_eq!(phone.refused(RequestBody::ClaimNameKey(bytes("alice"))).await, Refusal::Malformed);
    }
}

#[tokio::test]
async fn logs_and_inboxes_of_an_earlier_version_are_served_and_go_on() {
    for fixture in FIXTURES {
        let (_dir, server) = open(fixture).await;
        let mut phone = Client::connect(&server, alice().device(0)).await;
        let mut bob_s = Client::connect(&server, bob().device(0)).await;
        assert_eq!(phone.read(&log(1)).await, [entry(1, "one"), entry(3, "three")]);
        assert_eq!(bob_s.append(&log(1), &[b"four"]).await, ResponseBody::Appended(4));
        assert_eq!(phone.read(&log(1)).await, [entry(1, "one"), entry(3, "three"), entry(4, "four")]);

        // What closed a log is a candidate now, and stays.
        let end = LogEntry { sequence: 3, sealed: bytes("the end"), stays: true };
        let behind = Behind { last: 4, candidates: vec![end], more: false };
        assert_eq!(phone.append(&log(2), &[b"late"]).await, ResponseBody::Behind(behind));
        phone.trim(&log(2), &[3, 4]).await;
        assert_eq!(phone.read(&log(2)).await, [entry(1, "first"), entry(2, "second"), entry(3, "the end")]);
        assert_eq!(phone.read(&log(3)).await, []);
        assert_eq!(phone.append(&log(3), &[b"next"]).await, ResponseBody::Appended(1));

        assert_eq!(phone.inbox().await, [entry(1, "by invite")]);
        assert_eq!(bob_s.inbox().await, [entry(1, "by work"), entry(2, "by work, too")]);
        assert_eq!(phone.leave_item(bob().device(0), b"more", &[]).await, ResponseBody::Appended(3));
    }
}

#[tokio::test]
async fn what_an_earlier_version_stored_counts_for_its_owner() {
    for fixture in FIXTURES {
        let (_dir, server) = open(fixture).await;
        let (streams, entries) = (|n: u64| n * 256, |n: u64| n * 64);
        // "one", "three"; "first", "second", "the end"; the log after it; "by invite"; two key packages.
        let alices = streams(5) + entries(2 + 3 + 1 + 2) + 8 + 18 + 9 + 18;
        assert_eq!(server.stored(alice().id()).await, alices);
        assert_eq!(server.stored(bob().id()).await, streams(1) + entries(2) + 19);
        let mut phone = Client::connect(&server, alice().device(0)).await;
        assert_eq!(phone.trim(&log(1), &[1, 3]).await, ResponseBody::Done(true));
        assert_eq!(server.stored(alice().id()).await, alices - entries(2) - 8);
    }
}

#[tokio::test]
async fn invites_tokens_and_key_packages_of_an_earlier_version_can_be_used() {
    for fixture in FIXTURES {
        let (_dir, server) = open(fixture).await;
        let mut bob_s = Client::connect(&server, bob().device(0)).await;
        // One use for each of two devices; the first was used up.
        assert_eq!(bob_s.leave_item(alice().device(1), b"hello", &TOKEN.0).await, ResponseBody::Appended(1));
        assert_eq!(refusal(&bob_s.leave_item(alice().device(1), b"again", &TOKEN.0).await), Refusal::Denied);

        let mut claimed = Vec::new();
        for _ in 0..3 {
            let devices = Devices { devices: vec![Bytes::copy_from_slice(&alice().device(0))] };
            let ResponseBody::KeyPackages(ClaimedKeyPackages { packages }) =
                bob_s.ask(RequestBody::ClaimKeyPackages(devices)).await
            else {
                unreachable!("no packages")
            };
            claimed.extend(packages);
        }
        assert_eq!(claimed, ["package 1", "package 2", "last resort"]);

        let mut invited = config(_dir.path());
        invited.registration.mode = RegistrationMode::Invite;
        server.reload(&invited);
        let mut client = Client::connect(&server, carol().device(0)).await;
        assert_eq!(refusal(&client.publish(&carol(), 1, "wrong").await), Refusal::Denied);
        assert_eq!(client.publish(&carol(), 1, OPERATORS_TOKEN).await, ResponseBody::Done(true));
    }
}
