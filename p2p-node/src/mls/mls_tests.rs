use starling_keys::{AccountKey, RecoveryPhrase};

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn account() -> AccountKey {
    RecoveryPhrase::generate().account_key()
}

fn device(account: &AccountKey) -> Mls {
    let key = DeviceKey::generate();
    let certificate = Certificate::issue(account, key.id(), 1);
    Mls::new(&certificate, &key, KeyPackages::default()).unwrap()
}

fn package(mls: &Mls) -> bytes::Bytes {
    mls.key_package(false, NOW_MS).unwrap().into()
}

#[test]
fn two_devices_talk_and_a_stored_state_goes_on() {
    let (alice, bob) = (device(&account()), device(&account()));
    let (mut a, welcome) = alice.create(b"group", &[package(&bob)], NOW_MS).unwrap();
    let mut b = bob.join(&welcome).unwrap();
    let one = a.encrypt(b"one").unwrap();
    let value = b.value().unwrap();
    assert!(matches!(b.process(&one), Processed::Application { data, .. } if &*data == b"one"));
    assert!(matches!(b.process(&one), Processed::Duplicate));
    // The state before the message decrypts it again: what was not stored has not happened.
    let mut b = bob.load(b"group", value).unwrap();
    assert!(matches!(b.process(&one), Processed::Application { .. }));
    assert!(matches!(b.process(b"garbage"), Processed::Garbage));
    assert_eq!(*a.export("x").unwrap(), *b.export("x").unwrap());
    assert!(matches!(a.process(&one), Processed::Own), "our own");
}

#[test]
fn a_commit_moves_both_and_late_messages_still_decrypt() {
    let (alice, bob) = (device(&account()), device(&account()));
    let (mut a, welcome) = alice.create(b"group", &[package(&bob)], NOW_MS).unwrap();
    let mut b = bob.join(&welcome).unwrap();
    let late = a.encrypt(b"late").unwrap();
    let (commit, mut after) = a.prepare_update(NOW_MS).unwrap();
    let future = after.encrypt(b"future").unwrap();
    assert!(matches!(b.process(&future), Processed::Future));
    assert!(matches!(b.process(&commit), Processed::Commit));
    assert!(matches!(b.process_commit(&commit), Processed::Commit));
    assert!(matches!(b.process(&late), Processed::Application { .. }));
    assert!(matches!(b.process(&future), Processed::Application { .. }));
    assert_eq!(*after.export("x").unwrap(), *b.export("x").unwrap());
    assert_ne!(*a.export("x").unwrap(), *b.export("x").unwrap());
    // Through storage, too.
    let value = b.value().unwrap();
    let mut b = bob.load(b"group", value).unwrap();
    let again = after.encrypt(b"again").unwrap();
    assert!(matches!(b.process(&again), Processed::Application { .. }));
}

#[test]
fn a_third_account_cannot_be_added() {
    let (alice, bob, carol) = (device(&account()), device(&account()), device(&account()));
    let both = [package(&bob), package(&carol)];
    assert!(alice.create(b"group", &both, NOW_MS).is_err());
}

#[test]
fn several_devices_of_one_account_share_a_conversation() {
    let bob = account();
    let (alice, phone, laptop) = (device(&account()), device(&bob), device(&bob));
    let (mut a, welcome) = alice.create(b"g", &[package(&phone), package(&laptop)], NOW_MS).unwrap();
    let (mut p, mut l) = (phone.join(&welcome).unwrap(), laptop.join(&welcome).unwrap());
    let hi = a.encrypt(b"hi").unwrap();
    assert!(matches!(p.process(&hi), Processed::Application { .. }));
    assert!(matches!(l.process(&hi), Processed::Application { .. }));
    assert_eq!(a.members().len(), 3);
}

#[test]
fn a_last_resort_package_serves_twice() {
    let (alice, bob) = (device(&account()), device(&account()));
    let last: bytes::Bytes = bob.key_package(true, NOW_MS).unwrap().into();
    for id in [b"g1", b"g2"] {
        let (_, welcome) = alice.create(id, std::slice::from_ref(&last), NOW_MS).unwrap();
        bob.join(&welcome).unwrap().value().unwrap();
    }
    let once = package(&bob);
    let (_, welcome) = alice.create(b"g3", std::slice::from_ref(&once), NOW_MS).unwrap();
    bob.join(&welcome).unwrap().value().unwrap();
    let (_, welcome) = alice.create(b"g4", &[once], NOW_MS).unwrap();
    assert!(bob.join(&welcome).is_err(), "a one-time package was used twice");
}

#[test]
fn an_inbox_item_opens_only_for_its_device() {
    let alice = device(&account());
    let (secret, public) = alice.new_seal_key().unwrap();
    let sealed = alice.seal_to(&public, b"info", b"hello").unwrap();
    assert_eq!(&*alice.open_sealed(&secret, &public, b"info", &sealed).unwrap(), b"hello");
    let (other, other_public) = alice.new_seal_key().unwrap();
    assert!(alice.open_sealed(&other, &other_public, b"info", &sealed).is_err());
    assert!(alice.open_sealed(&secret, &public, b"info", b"x").is_err());
}
