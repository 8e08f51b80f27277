use starling_keys::{AccountId, AccountKey, RecoveryPhrase};
use starling_wire::limits::{MAX_INBOX_ITEM, MAX_PADDED_ITEM};

use super::{
    modified::{entering, entering_as, modified, signing, with_doors},
    *,
};

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

/// Two members of a group.
fn two() -> (LiveGroup, LiveGroup) {
    let (alice, bob) = (device(&account()), device(&account()));
    let (a, welcome) = alice.create(b"group", &[package(&bob)], NOW_MS).unwrap();
    (a, bob.join(&welcome).unwrap())
}

/// A message that only a member can have made, and nobody can read.
fn broken(by: &LiveGroup) -> Vec<u8> {
    let mut message = by.clone().encrypt(b"broken").unwrap();
    *message.last_mut().unwrap() ^= 1;
    message
}

fn is_read(processed: &Processed, text: &[u8]) -> bool {
    matches!(processed, Processed::Application { data, .. } if data[..] == *text)
}

#[test]
fn a_broken_message_uses_up_no_key_and_takes_none_back() {
    let (mut a, mut b) = two();
    for n in [0, 1, 2, 3, 70_u8] {
        let bad = broken(&a);
        let good = a.encrypt(&[n]).unwrap();
        assert!(matches!(b.process(&bad), Processed::Garbage));
        assert!(is_read(&b.process(&good), &[n]), "{n}");
        assert!(matches!(b.process(&good), Processed::Duplicate), "{n}");
        assert!(matches!(b.process(&broken(&b)), Processed::Own));
        // Many good ones before the next broken one, too.
        for m in 0..n {
            let more = a.encrypt(&[n, m]).unwrap();
            assert!(is_read(&b.process(&more), &[n, m]), "{n} {m}");
        }
        assert!(matches!(b.process(&good), Processed::Duplicate), "{n}");
    }
}

#[test]
fn what_is_looked_at_is_taken_once_and_later() {
    let (mut a, mut b) = two();
    let messages: Vec<Vec<u8>> = (0..6_u8).map(|n| a.encrypt(&[n]).unwrap()).collect();
    let bad = broken(&a);
    assert!(matches!(b.preview(&bad), Processed::Garbage));
    for n in [1, 0, 0, 2] {
        assert!(is_read(&b.preview(&messages[n]), &[n as u8]));
    }
    // The newest that was looked at, one before it, one that nobody has looked at.
    for n in [2, 1, 5] {
        assert!(is_read(&b.process(&messages[n]), &[n as u8]));
        assert!(matches!(b.process(&messages[n]), Processed::Duplicate));
        assert!(matches!(b.preview(&messages[n]), Processed::Duplicate));
    }
    // What comes between a look and the taking is there after it.
    for (looked, between) in [(0, 3), (4, 0)] {
        assert!(is_read(&b.preview(&messages[looked]), &[looked as u8]));
        assert!(is_read(&b.process(&messages[between]), &[between as u8]));
        assert!(matches!(b.process(&bad), Processed::Garbage));
        assert!(matches!(b.process(&messages[between]), Processed::Duplicate));
    }
    assert!(is_read(&b.process(&messages[4]), &[4]));
    assert!(messages.iter().all(|message| matches!(b.process(message), Processed::Duplicate)));
    assert_eq!(*a.export("x").unwrap(), *b.export("x").unwrap());
}

#[test]
fn what_was_looked_at_decides_nothing_of_what_is_taken() {
    let (mut a, mut b) = two();
    let mut twin = a.clone();
    let (said, other) = (a.encrypt(b"said").unwrap(), twin.encrypt(b"to another").unwrap());
    // Two with one key: a neighbour has brought the one, and the log has the other, which all others take.
    assert!(is_read(&b.preview(&other), b"to another"));
    assert!(matches!(b.preview(&said), Processed::Duplicate));
    assert!(is_read(&b.process(&said), b"said"));
    assert!(matches!(b.process(&other), Processed::Duplicate));
    // A key that is too far ahead for those who have not looked at some between them.
    let ahead: Vec<Vec<u8>> = (0..1_500).map(|_| a.encrypt(b"ahead").unwrap()).collect();
    assert!(is_read(&b.preview(&ahead[700]), b"ahead") && is_read(&b.preview(&ahead[1_499]), b"ahead"));
    assert!(matches!(b.process(&ahead[1_499]), Processed::Garbage));
    assert!(is_read(&b.process(&ahead[0]), b"ahead"));
}

#[test]
fn many_are_looked_at_on_one_copy() {
    let (mut a, mut b) = two();
    for n in 0..200_u8 {
        let (message, next) = (a.encrypt(&[n]).unwrap(), a.encrypt(&[n, n]).unwrap());
        assert!(is_read(&b.preview(&next), &[n, n]) && is_read(&b.preview(&message), &[n]));
        assert!(is_read(&b.process(&message), &[n]) && is_read(&b.process(&next), &[n, n]));
        for message in [message, next] {
            assert!(matches!(b.preview(&message), Processed::Duplicate), "{n}");
        }
        assert!(b.copies() <= 3);
    }
}

#[test]
fn no_key_of_ours_is_used_twice_whatever_was_read_before_and_after() {
    let (mut a, mut b) = two();
    let mut sent = Vec::new();
    for n in 0..4_u8 {
        let (first, second) = (a.encrypt(&[n, 1]).unwrap(), a.encrypt(&[n, 2]).unwrap());
        assert!(is_read(&b.process(&first), &[n, 1]) && is_read(&b.preview(&second), &[n, 2]));
        sent.push(b.encrypt(&[n, 3]).unwrap());
        // The copies of before would go back over it.
        assert!(is_read(&b.process(&second), &[n, 2]));
        sent.push(b.encrypt(&[n, 4]).unwrap());
        assert!(matches!(b.process(&broken(&a)), Processed::Garbage));
        sent.push(b.encrypt(&[n, 5]).unwrap());
    }
    assert!(sent.iter().all(|message| matches!(a.process(message), Processed::Application { .. })));
}

#[test]
fn copies_end_when_a_state_is_stored() {
    let (mut a, mut b) = two();
    let (first, second) = (a.encrypt(b"1").unwrap(), a.encrypt(b"2").unwrap());
    assert!(is_read(&b.process(&first), b"1") && is_read(&b.preview(&second), b"2"));
    assert_eq!((b.copies(), b.clone().copies()), (3, 1));
    b.value().unwrap();
    assert_eq!(b.copies(), 1);
    assert!(is_read(&b.process(&second), b"2") && matches!(b.process(&first), Processed::Duplicate));
}

#[test]
fn a_commit_moves_both_and_late_messages_still_decrypt() {
    let (alice, bob) = (device(&account()), device(&account()));
    let (mut a, welcome) = alice.create(b"group", &[package(&bob)], NOW_MS).unwrap();
    let mut b = bob.join(&welcome).unwrap();
    let late = a.encrypt(b"late").unwrap();
    let (commit, mut after) = a.prepare_update(NOW_MS, Vec::new()).unwrap();
    let future = after.encrypt(b"future").unwrap();
    assert!(matches!(b.process(&future), Processed::Future));
    assert!(matches!(b.process(&commit), Processed::Commit));
    let Judged::Valid(b_after, _) = b.judge(&commit) else { panic!("not valid") };
    b = *b_after;
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

fn package_of(client: &Client<impl mls_rs::client_builder::MlsConfig>) -> bytes::Bytes {
    let package = client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), None);
    package.unwrap().to_bytes().unwrap().into()
}

#[test]
fn a_commit_cannot_make_a_leaf_another_accounts() {
    let (mallory, key) = (account(), DeviceKey::generate());
    let client = modified(&mallory, &key);
    let (a, welcome) = device(&account()).create(b"group", &[package_of(&client)], NOW_MS).unwrap();
    let (mut group, _) = client.join_group(None, &MlsMessage::from_bytes(&welcome).unwrap(), None).unwrap();
    // Another account has certified the same key: a device that it gave up, or the deed of a thief.
    let (secret, identity) = signing(&account(), &key);
    let commit = group.commit_builder().set_new_signing_identity(secret, identity).build().unwrap();
    assert!(matches!(a.judge(&commit.commit_message.to_bytes().unwrap()), Judged::Void));
    assert!(a.members().iter().any(|m| m.account() == mallory.id()));
    // With its own it may.
    group.clear_pending_commit();
    let (secret, identity) = signing(&mallory, &key);
    let commit = group.commit_builder().set_new_signing_identity(secret, identity).build().unwrap();
    assert!(matches!(a.judge(&commit.commit_message.to_bytes().unwrap()), Judged::Valid(..)));
}

#[test]
fn a_commit_that_changes_who_is_in_the_group_is_void_for_all_others() {
    let (bob, key) = (account(), DeviceKey::generate());
    let mallory = modified(&bob, &key);
    let phone = device(&bob);
    let packages = [package_of(&mallory), package(&phone)];
    let (a, welcome) = device(&account()).create(b"group", &packages, NOW_MS).unwrap();
    let b = phone.join(&welcome).unwrap();
    let (mut group, _) = mallory.join_group(None, &MlsMessage::from_bytes(&welcome).unwrap(), None).unwrap();
    // A device that the account has certified and that no chain may have; one of a third account; one that has left, as nobody removes others here.
    let unlisted = package_of(&modified(&bob, &DeviceKey::generate()));
    let third = package_of(&modified(&account(), &DeviceKey::generate()));
    for added in [Some(unlisted), Some(third), None] {
        let commit = group.commit_builder();
        let commit = match &added {
            Some(package) => commit.add_member(MlsMessage::from_bytes(package).unwrap()).unwrap(),
            None => commit.remove_member(a.leaf()).unwrap(),
        };
        let bytes = commit.build().unwrap().commit_message.to_bytes().unwrap();
        group.clear_pending_commit();
        for honest in [&a, &b] {
            assert!(matches!(honest.judge(&bytes), Judged::Void), "{}", added.is_some());
            assert_eq!((honest.members().len(), honest.epoch()), (3, 1));
        }
    }
    // One that renews keys alone is valid for both.
    let commit = group.commit_builder().build().unwrap().commit_message.to_bytes().unwrap();
    assert!(matches!(a.judge(&commit), Judged::Valid(..)) && matches!(b.judge(&commit), Judged::Valid(..)));
}

#[test]
fn garbage_is_void_and_only_a_members_commit_can_be_underivable() {
    let (alice, bob) = (device(&account()), device(&account()));
    let (mut a, welcome) = alice.create(b"group", &[package(&bob)], NOW_MS).unwrap();
    let b = bob.join(&welcome).unwrap();
    let (commit, _) = a.prepare_update(NOW_MS, Vec::new()).unwrap();
    for at in 0..commit.len() {
        let mut flipped = commit.clone();
        flipped[at] ^= 1;
        assert!(matches!(b.judge(&flipped), Judged::Void), "byte {at}");
        assert!(!matches!(b.judge(&commit[..at]), Judged::Valid(..)));
    }
    // Of what claims to be private nobody can say who has made it.
    let mut private = a.encrypt(b"hello").unwrap();
    assert!(matches!(b.judge(&private), Judged::Void));
    *private.last_mut().unwrap() ^= 1;
    assert!(matches!(b.judge(&private), Judged::Void));
    assert!(matches!(b.judge(&commit), Judged::Valid(..)));
    // One of its own that a device has lost: the others follow it, and it cannot.
    assert!(matches!(a.judge(&commit), Judged::Underivable));
}

/// Alice's group with bob's phone, and its door.
fn with_door(bob: &AccountKey) -> (LiveGroup, LiveGroup, Vec<u8>) {
    let (alice, phone) = (device(&account()), device(bob));
    let (a, welcome) = alice.create(GROUP, &[package(&phone)], NOW_MS).unwrap();
    let door = a.door().unwrap().unwrap();
    (a, phone.join(&welcome).unwrap(), door)
}

const GROUP: &GroupId = b"the group's name";

fn accounts(a: &LiveGroup) -> [AccountId; 2] {
    let accounts: Vec<AccountId> = a.members().iter().map(Certificate::account).collect();
    accounts.try_into().unwrap()
}

#[test]
fn a_new_device_enters_by_the_door_and_all_follow_it() {
    let bob = account();
    let (a, p, door) = with_door(&bob);
    let laptop = device(&bob);
    let entered =
        laptop.enter(&door, (GROUP, 1), Expected::Direct(accounts(&a)), b"who I am".to_vec(), NOW_MS).unwrap();
    let mut live = entered.live;
    let mut nexts = Vec::new();
    for member in [&a, &p] {
        let Judged::Valid(next, by) = member.judge(&entered.commit) else { panic!("not valid") };
        assert_eq!((by.place, by.note.as_slice()), (AFTER_MEMBERS, &b"who I am"[..]));
        assert_eq!(by.newcomer.unwrap().account(), bob.id());
        assert_eq!((next.epoch(), next.members().len()), (2, 3));
        assert_eq!(*next.export("x").unwrap(), *live.export("x").unwrap());
        nexts.push(next);
    }
    let hi = live.encrypt(b"hi").unwrap();
    for next in &mut nexts {
        assert!(matches!(next.process(&hi), Processed::Application { .. }));
        let hello = next.encrypt(b"hello").unwrap();
        assert!(matches!(live.process(&hello), Processed::Application { .. }));
    }
    // Once: in the epoch after it, and where another was followed, it is void.
    assert!(matches!(nexts[0].judge(&entered.commit), Judged::Void));
    let (renewal, _) = p.prepare_update(NOW_MS, Vec::new()).unwrap();
    let Judged::Valid(other, _) = a.judge(&renewal) else { panic!("not valid") };
    assert!(matches!(other.judge(&entered.commit), Judged::Void));
    // Through storage, it goes on.
    let value = live.value().unwrap();
    let live = laptop.load(GROUP, value).unwrap();
    assert!(matches!(nexts[0].judge(&live.prepare_update(NOW_MS, Vec::new()).unwrap().0), Judged::Valid(..)));
}

#[test]
fn whoever_is_in_a_group_or_of_another_account_does_not_enter_it() {
    let (bob, mallory, phone) = (account(), account(), DeviceKey::generate());
    let phones = Mls::new(&Certificate::issue(&bob, phone.id(), 1), &phone, KeyPackages::default()).unwrap();
    let (a, _) = device(&account()).create(GROUP, &[package(&phones)], NOW_MS).unwrap();
    let (door, of) = (a.door().unwrap().unwrap(), accounts(&a));
    assert!(phones.enter(&door, (GROUP, 1), Expected::Direct(of), Vec::new(), NOW_MS).is_err(), "it is there");
    assert!(device(&mallory).enter(&door, (GROUP, 1), Expected::Direct(of), Vec::new(), NOW_MS).is_err());
    // With a modified program the commit can be made, and is void for all.
    assert!(matches!(a.judge(&entering(&with_doors(&mallory, &DeviceKey::generate()), &door, None)), Judged::Void));
    // Nor is anybody removed, not even an older leaf of the same device.
    assert!(matches!(a.judge(&entering(&with_doors(&bob, &phone), &door, Some(1))), Judged::Void));
    assert_eq!(a.members().len(), 2);
}

#[test]
fn a_leaf_with_a_forged_certificate_does_not_enter() {
    let (bob, mallory) = (account(), account());
    let (a, _, door) = with_door(&bob);
    let (key, other) = (DeviceKey::generate(), DeviceKey::generate());
    // Bob's certificate of another device, and one that mallory has signed in his name.
    let stolen = Certificate::issue(&bob, other.id(), 1).as_bytes().to_vec();
    let mut forged = Certificate::issue(&mallory, key.id(), 1).as_bytes().to_vec();
    let at = forged.windows(32).position(|bytes| bytes == mallory.id().as_bytes()).unwrap();
    forged[at..at + 32].copy_from_slice(bob.id().as_bytes());
    for bytes in [stolen, forged, Vec::new(), vec![0; 64]] {
        assert!(matches!(a.judge(&entering_as(&bytes, &key, &door, None)), Judged::Void));
    }
}

#[test]
fn a_newcomer_that_would_follow_no_other_does_not_enter() {
    let bob = account();
    let (a, p, door) = with_door(&bob);
    let commit = entering(&modified(&bob, &DeviceKey::generate()), &door, None);
    for member in [a, p] {
        assert!(matches!(member.judge(&commit), Judged::Void), "it would shut the door");
    }
}

#[test]
fn a_door_of_another_group_or_epoch_or_with_a_third_account_leads_nowhere() {
    let (bob, mallory) = (account(), account());
    let (a, p, door) = with_door(&bob);
    let (of, laptop) = (accounts(&a), device(&bob));
    let enter = |door: &[u8], id: &GroupId, epoch| {
        laptop.enter(door, (id, epoch), Expected::Direct(of), Vec::new(), NOW_MS).is_ok()
    };
    assert!(enter(&door, GROUP, 1));
    assert!(!enter(&door, b"another group's.", 1));
    assert!(!enter(&door, GROUP, 2) && !enter(&door, GROUP, u64::MAX));
    for at in (0..door.len()).step_by(37) {
        let mut flipped = door.clone();
        flipped[at] ^= 1;
        assert!(!enter(&flipped, GROUP, 1), "byte {at}");
        assert!(!enter(&door[..at], GROUP, 1));
    }
    let shut = p.group.group_info_message(true).unwrap().to_bytes().unwrap();
    assert!(!enter(&shut, GROUP, 1), "without a way in");
    // A group of mallory's with the same name.
    let (m, _) = device(&mallory).create(GROUP, &[package(&device(&bob))], NOW_MS).unwrap();
    assert!(!enter(&m.door().unwrap().unwrap(), GROUP, 1));
}

#[test]
fn an_account_has_no_more_leaves_than_devices() {
    let bob = account();
    let (mut a, _, _) = with_door(&bob);
    for n in 1.. {
        let door = a.group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
        match a.judge(&entering(&with_doors(&bob, &DeviceKey::generate()), &door, None)) {
            Judged::Valid(next, _) => a = *next,
            _ => {
                assert_eq!(n, starling_keys::MAX_DEVICES);
                break;
            }
        }
    }
}

#[test]
fn a_group_with_a_member_of_an_older_program_has_no_door() {
    let bob = account();
    let old = package_of(&modified(&bob, &DeviceKey::generate()));
    let (a, _) = device(&account()).create(GROUP, &[old], NOW_MS).unwrap();
    assert!(a.door().unwrap().is_none());
    let door = a.group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    let commit = entering(&with_doors(&bob, &DeviceKey::generate()), &door, None);
    assert!(matches!(a.judge(&commit), Judged::Void), "that member would stay behind");
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
fn secrets_of_old_key_packages_are_forgotten() {
    const YEAR_MS: u64 = 366 * 86_400_000;
    let bob = device(&account());
    let first = package(&bob);
    let newest: Vec<_> =
        (1..4u64).map(|n| bytes::Bytes::from(bob.key_package(false, NOW_MS + n * 10_000).unwrap())).collect();
    bob.packages().prune(NOW_MS, 3);
    assert_eq!(bob.packages().len(), 3);
    let join = |package: &bytes::Bytes, id: &[u8]| {
        let (_, welcome) = device(&account()).create(id, std::slice::from_ref(package), NOW_MS + 60_000).unwrap();
        bob.join(&welcome)
    };
    assert!(join(&first, b"first").is_err(), "the oldest was kept");
    for (n, package) in newest.iter().enumerate() {
        join(package, &[n as u8]).unwrap();
    }
    // Nobody can use them any more.
    bob.packages().prune(NOW_MS + YEAR_MS, 100);
    assert_eq!(bob.packages().len(), 0);
    let changes = bob.packages().take_changes();
    assert_eq!(changes.iter().filter(|c| matches!(c, KeyPackageChange::Delete(_))).count(), 4, "not in the store");
}

#[test]
fn an_inbox_item_opens_only_for_its_device() {
    let alice = device(&account());
    let (secret, public) = seal_keys().unwrap();
    let sealed = alice.seal_to(&public, b"info", b"hello").unwrap();
    assert_eq!(&*alice.open_sealed(&secret, &public, b"info", &sealed).unwrap(), b"hello");
    let (other, other_public) = seal_keys().unwrap();
    assert!(alice.open_sealed(&other, &other_public, b"info", &sealed).is_err());
    assert!(alice.open_sealed(&secret, &public, b"info", b"x").is_err());
}

#[test]
fn the_largest_padded_item_fits_into_an_inbox() {
    let (_, public) = seal_keys().unwrap();
    let sealed = device(&account()).seal_to(&public, b"info", &vec![0; MAX_PADDED_ITEM]).unwrap();
    assert_eq!(sealed.len(), MAX_PADDED_ITEM + 1_138);
    assert!(sealed.len() <= MAX_INBOX_ITEM);
}

#[test]
fn the_phrase_always_gives_the_same_sealing_key() {
    let account = account();
    let (secret, public) = derived_seal_keys(&account.recovery_seed()).unwrap();
    assert_eq!(derived_seal_keys(&account.recovery_seed()).unwrap().1, public);
    let alice = device(&account);
    let sealed = alice.seal_to(&public, b"info", b"secret").unwrap();
    assert_eq!(&**alice.open_sealed(&secret, &public, b"info", &sealed).unwrap(), b"secret");
}
