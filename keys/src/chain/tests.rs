use super::*;
use crate::{Certificate, DeviceKey};

const DAY: u64 = 86_400;

fn key(n: u16) -> DeviceKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    DeviceKey::from_seed(&seed)
}

/// In these tests the sealing key of a device is its id.
fn joining(root: &AccountId, key: &DeviceKey) -> Joining {
    Joining::sign(key, root, key.id().as_bytes().to_vec())
}

fn root() -> AccountKey {
    AccountKey::from_seed(&[1; 32])
}

/// An account with admin devices 0 and further.
fn account(devices: u16) -> DeviceChain {
    let mut chain = DeviceChain::create(&root(), 1, [9; 32], &joining(&root().id(), &key(0))).unwrap();
    for n in 1..devices {
        chain = chain.add(&SignWith::Device(&key(0)), 1, &joining(&root().id(), &key(n)), Rights::Admin).unwrap();
    }
    chain
}

fn prefix(chain: &DeviceChain, length: u32) -> DeviceChain {
    let keys = chain.entries().filter_map(|e| match &e.op {
        Op::Add { device, .. } | Op::Recover { device, .. } => Some((*device, device.as_bytes().to_vec())),
        _ => None,
    });
    DeviceChain::build(chain.account, chain.links[..length as usize].to_vec(), keys.collect()).unwrap()
}

fn by(key: &DeviceKey) -> SignWith<'_> {
    SignWith::Device(key)
}

#[test]
fn a_chain_survives_the_wire_whole_and_in_parts() {
    let chain = account(3);
    assert_eq!(DeviceChain::from_bytes(chain.as_bytes()).unwrap(), chain);
    assert_eq!(DeviceChain::from_stored(chain.as_bytes()).unwrap(), chain);
    let known = prefix(&chain, 2);
    let tail = chain.encode_from(2);
    assert!(tail.len() < chain.as_bytes().len());
    assert_eq!(DeviceChain::read(&tail, &known).unwrap(), chain);
    assert_eq!(Summary::of(&tail).unwrap().after, 2);
    assert_eq!(DeviceChain::from_bytes(&tail), Err(ChainError::Gap));
    assert_eq!(DeviceChain::read(&tail, &prefix(&chain, 1)), Err(ChainError::Gap));
    assert_eq!(known.relation(&chain), Relation::Extends);
    assert_eq!(chain.relation(&known), Relation::Behind);
}

#[test]
fn what_a_chain_did_to_devices_is_told_alike_by_all_who_hold_it() {
    let chain = account(2);
    let phone = chain.add(&by(&key(1)), 9, &joining(&chain.account, &key(2)), Rights::Member).unwrap();
    // A clock that is behind does not put a change before an earlier one.
    let without = phone.remove(&by(&key(0)), 5, key(1).id()).unwrap();
    let again = without.recover(&root(), 20, &joining(&chain.account, &key(3))).unwrap();
    let told = |chain: &DeviceChain, after| -> Vec<_> {
        chain.changes_after(after).iter().map(|c| (c.kind, c.device, c.by, c.time)).collect()
    };
    let expected = [
        (ChangeKind::Joined, key(2).id(), Some(key(1).id()), 9),
        (ChangeKind::Left, key(1).id(), Some(key(0).id()), 9),
        (ChangeKind::Recovered, key(3).id(), None, 20),
    ];
    assert_eq!(told(&again, chain.len()), expected);
    assert_eq!(again.changes_after(phone.len()), again.changes_after(chain.len())[1..]);
    assert_eq!(again.newest_time(), 20);
    // The same done in a rival chain is another change.
    let rival = chain.add(&by(&key(1)), 10, &joining(&chain.account, &key(2)), Rights::Member).unwrap();
    assert_ne!(rival.changes_after(chain.len())[0].tag, phone.changes_after(chain.len())[0].tag);
    assert_eq!(rival.common(&again), chain.len());
}

#[test]
fn only_admins_and_the_root_change_a_chain() {
    let (chain, stranger, member) = (account(1), key(50), key(51));
    let account = chain.account;
    assert_eq!(chain.set_homes(&by(&stranger), 2, &[]).err(), Some(ChainError::NotAdmin));
    let chain = chain.add(&by(&key(0)), 2, &joining(&account, &member), Rights::Member).unwrap();
    assert_eq!(chain.remove(&by(&member), 3, key(0).id()).err(), Some(ChainError::NotAdmin));
    assert_eq!(chain.set_rights(&by(&member), 3, member.id(), Rights::Admin).err(), Some(ChainError::NotAdmin));
    assert_eq!(chain.set_rights(&by(&key(0)), 3, key(0).id(), Rights::Bot).err(), Some(ChainError::NoAdminLeft));
    let chain = chain.set_rights(&by(&key(0)), 3, member.id(), Rights::Admin).unwrap();
    chain.remove(&by(&member), 4, key(0).id()).unwrap();
    let other = AccountKey::from_seed(&[2; 32]);
    assert_eq!(chain.recover(&other, 5, &joining(&account, &stranger)).err(), Some(ChainError::Account));
}

#[test]
fn a_device_joins_only_with_its_own_signature_for_this_account() {
    let (chain, victim) = (account(1), key(60));
    let elsewhere = joining(&AccountKey::from_seed(&[2; 32]).id(), &victim);
    assert_eq!(chain.add(&by(&key(0)), 2, &elsewhere, Rights::Member).err(), Some(ChainError::Signature));
    // Also where somebody writes the entry without asking.
    let op = Op::Add { device: victim.id(), seal: elsewhere.seal_hash(), rights: Rights::Member, proof: [0; 64] };
    let forged = chain.append(&by(&key(0)), 2, op, &[(victim.id(), elsewhere.seal_key)]).unwrap();
    assert_eq!(DeviceChain::from_bytes(forged.as_bytes()), Err(ChainError::Signature));
}

#[test]
fn a_removed_device_never_comes_back_and_signs_nothing_more() {
    let chain = account(3);
    let (account, gone) = (chain.account, key(1));
    let chain = chain.remove(&by(&key(0)), 2, gone.id()).unwrap();
    assert!(chain.has_removed(&gone.id()) && chain.device(&gone.id()).is_none());
    assert_eq!(chain.set_homes(&by(&gone), 3, &[]).err(), Some(ChainError::NotAdmin));
    let again = chain.add(&by(&key(0)), 3, &joining(&account, &gone), Rights::Member);
    assert_eq!(again.err(), Some(ChainError::KnownDevice));
    assert_eq!(chain.recover(&root(), 4, &joining(&account, &gone)).err(), Some(ChainError::KnownDevice));
}

#[test]
fn a_removal_takes_devices_along_that_the_removed_one_has_linked_unless_they_are_kept() {
    let chain = account(1);
    let account = chain.account;
    let chain = chain.add(&by(&key(0)), 2, &joining(&account, &key(1)), Rights::Admin).unwrap();
    let chain = chain.add(&by(&key(1)), 3, &joining(&account, &key(2)), Rights::Admin).unwrap();
    let chain = chain.add(&by(&key(2)), 4, &joining(&account, &key(3)), Rights::Member).unwrap();
    let kept = chain.remove(&by(&key(2)), 5, key(1).id()).unwrap();
    assert_eq!(kept.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [key(0).id(), key(2).id(), key(3).id()]);
    let ghosts_gone = chain.remove_keeping(&by(&key(0)), 5, key(1).id(), &[]).unwrap();
    assert_eq!(ghosts_gone.devices.len(), 1);
    assert!(ghosts_gone.has_removed(&key(3).id()));
    // The phone that the laptop has linked removes the laptop: the phone stays, and so does its path.
    let chain = kept.remove(&by(&key(2)), 6, key(0).id()).unwrap();
    assert!(chain.device(&key(2).id()).is_some());
    LeafPath::from_bytes(&chain.path_to(&key(3).id()).unwrap().to_bytes()).unwrap();
}

#[test]
fn nothing_but_removals_and_recovery_fits_into_a_full_chain() {
    let mut chain = account(2);
    while (chain.len() as usize) < MAX_ORDINARY_LINKS {
        chain = chain.set_homes(&by(&key(0)), 2, &[]).unwrap();
    }
    assert_eq!(chain.set_homes(&by(&key(0)), 2, &[]).err(), Some(ChainError::Full));
    let chain = chain.remove(&by(&key(0)), 3, key(1).id()).unwrap();
    let chain = chain.recover(&root(), 4, &joining(&chain.account, &key(9))).unwrap();
    assert_eq!(DeviceChain::from_stored(chain.as_bytes()).unwrap().devices.len(), 1);
}

#[test]
fn fifty_entries_take_less_than_20_kb() {
    let mut chain = account(1);
    for n in 1..25 {
        chain = chain.add(&by(&key(0)), 2, &joining(&root().id(), &key(n)), Rights::Member).unwrap();
        chain = chain.remove(&by(&key(0)), 2, key(n).id()).unwrap();
    }
    assert_eq!(chain.len(), 50);
    assert!(chain.as_bytes().len() < 18_000, "{}", chain.as_bytes().len());
}

#[test]
fn a_long_chain_is_read_whole_and_from_any_place_and_no_fault_in_it_is() {
    let mut chain = account(1);
    let mut n = 1;
    while chain.len() < 300 {
        // A clock that is years off, either way, changes nothing.
        let clock = if n % 2 == 0 { 1 } else { 40 * 365 * DAY };
        chain = chain.add(&by(&key(0)), clock, &joining(&root().id(), &key(n)), Rights::Member).unwrap();
        chain = chain.remove(&by(&key(0)), clock, key(n).id()).unwrap();
        n += 1;
    }
    assert_eq!(DeviceChain::from_bytes(chain.as_bytes()).unwrap(), chain);
    for from in [1, 2, 150, 298] {
        let known = prefix(&chain, from);
        assert_eq!(DeviceChain::read(&chain.encode_from(from), &known).unwrap(), chain);
        assert_eq!(DeviceChain::read(&chain.encode_from(from + 1), &known), Err(ChainError::Gap));
        assert_eq!(DeviceChain::from_bytes(&chain.encode_from(from)), Err(ChainError::Gap));
    }
    // One bit, anywhere.
    for at in (0..chain.as_bytes().len()).step_by(997) {
        let mut bytes = chain.as_bytes().to_vec();
        bytes[at] ^= 0x10;
        assert!(DeviceChain::from_bytes(&bytes).is_err(), "the bit at {at}");
    }
    // A fork near its beginning is seen.
    let fork = prefix(&chain, 2).set_homes(&by(&key(0)), 2, &[]).unwrap();
    assert_eq!(chain.relation(&fork), Relation::Rival(2));
}

#[test]
fn a_path_proves_its_device_and_no_other() {
    let chain = account(3);
    let path = chain.path_to(&key(2).id()).unwrap();
    let bytes = path.to_bytes();
    assert_eq!((path.account(), path.device()), (chain.account, key(2).id()));
    assert!(LeafPath::from_bytes(&bytes).unwrap() == path);
    assert_eq!(path.signers().collect::<Vec<_>>(), [key(0).id()]);
    let certificate = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!((certificate.account(), certificate.device()), (chain.account, key(2).id()));
    // Another device's id at its end.
    let mut stolen = bytes.clone();
    stolen[33..65].copy_from_slice(key(1).id().as_bytes());
    assert_eq!(LeafPath::from_bytes(&stolen).err(), Some(ChainError::Place));
    let mut forged = bytes;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(LeafPath::from_bytes(&forged).err(), Some(ChainError::Signature));
    assert!(chain.path_to(&key(40).id()).is_none());
}

#[test]
fn a_path_may_lead_beyond_a_chain_but_not_by_who_was_removed() {
    let old = account(2);
    let add = |chain: &DeviceChain, signer: u16, device: u16| {
        chain.add(&by(&key(signer)), 50, &joining(&root().id(), &key(device)), Rights::Admin).unwrap()
    };
    let path = |chain: &DeviceChain, device: u16| chain.path_to(&key(device).id()).unwrap();
    let newer = add(&add(&old, 1, 7), 7, 8);
    // The account was recovered by who knew the old chain only.
    let recovered = old.recover(&root(), 60, &joining(&root().id(), &key(9))).unwrap();
    for chain in [&old, &recovered] {
        for device in [0, 1, 7, 8] {
            assert!(chain.may_lack(&path(&newer, device)), "{device}");
        }
    }
    let removed = old.remove(&by(&key(0)), 55, key(1).id()).unwrap();
    for chain in [removed.clone(), removed.recover(&root(), 60, &joining(&root().id(), &key(9))).unwrap()] {
        assert!(chain.may_lack(&path(&newer, 0)));
        for device in [1, 7, 8] {
            assert!(!chain.may_lack(&path(&newer, device)), "{device}");
        }
    }
    let other = AccountKey::from_seed(&[77; 32]);
    let others = DeviceChain::create(&other, 10, [0; 32], &joining(&other.id(), &key(0))).unwrap();
    assert!(!old.may_lack(&path(&others, 0)));
}

#[test]
fn an_account_of_version_0_1_keeps_its_devices() {
    let (a, b) = (key(1), key(2));
    let devices = [&a, &b].map(|k| (k.id(), k.id().as_bytes().to_vec())).to_vec();
    let chain = DeviceChain::adopt(&root(), 5, [0; 32], devices, &[]).unwrap();
    let chain = DeviceChain::from_bytes(chain.as_bytes()).unwrap();
    assert!(chain.is_admin(&a.id()) && chain.is_admin(&b.id()));
    assert!(chain.state().devices().iter().all(|d| !d.proven));
    let path = LeafPath::from_bytes(&chain.path_to(&b.id()).unwrap().to_bytes()).unwrap();
    assert_eq!(path.device(), b.id());
}

/// All of a chain was held for long.
fn all(chain: &DeviceChain) -> Age {
    Age { settled: chain.len(), firm: chain.len() }
}

fn settled(a: &DeviceChain, b: &DeviceChain) -> DeviceChain {
    let one = a.reconcile(b, Age::default()).unwrap();
    assert_eq!(one, b.reconcile(a, Age::default()).unwrap(), "both sides come to the same");
    DeviceChain::from_bytes(one.as_bytes()).unwrap()
}

#[test]
fn of_two_entries_on_one_head_the_one_that_removes_the_others_signer_counts() {
    let chain = account(3);
    let removal = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    let ghost = chain.add(&by(&key(1)), 2, &joining(&chain.account, &key(30)), Rights::Admin).unwrap();
    assert_eq!(settled(&removal, &ghost), removal);
    let longer = ghost.add(&by(&key(30)), 2, &joining(&chain.account, &key(31)), Rights::Admin).unwrap();
    assert_eq!(settled(&removal, &longer), removal, "a longer branch is no better");
    // Also if it was removed later in the other branch.
    let later = chain.set_homes(&by(&key(0)), 2, &[]).unwrap().remove(&by(&key(0)), 3, key(1).id()).unwrap();
    assert_eq!(settled(&later, &ghost), later);
    // It removes somebody else: only the removal of who signed that stands.
    let collateral = chain.remove(&by(&key(1)), 2, key(2).id()).unwrap();
    let both = settled(&removal, &collateral);
    assert_eq!(both.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [key(0).id(), key(2).id()]);
}

#[test]
fn two_that_remove_each_other_are_both_removed_and_others_go_on() {
    let chain = account(3);
    let one = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    let two = chain.remove(&by(&key(1)), 2, key(0).id()).unwrap();
    let both = settled(&one, &two);
    assert_eq!(both.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [key(2).id()]);
    let next = both.add(&by(&key(2)), 3, &joining(&chain.account, &key(5)), Rights::Member).unwrap();
    for old in [&one, &two, &both] {
        assert_eq!(settled(&next, old), next, "what is known already changes nothing");
    }
}

/// Whether a chain has these devices, and no others.
fn has(chain: &DeviceChain, devices: &[u16]) -> bool {
    chain.devices.iter().map(|d| d.id).eq(devices.iter().map(|n| key(*n).id()))
}

/// The age of a chain whose entries up to `firm` were held for some minutes.
fn firm(firm: u32) -> Age {
    Age { settled: 0, firm }
}

#[test]
fn a_removed_device_does_not_remove_its_remover_later() {
    let chain = account(3);
    let removal = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    let back = chain.remove(&by(&key(1)), 2, key(0).id()).unwrap();
    // At once, both stand; and a little later, only the one that was there.
    assert!(has(&removal.reconcile(&back, Age::default()).unwrap(), &[2]));
    let age = firm(removal.len());
    assert_eq!(removal.reconcile(&back, age), Ok(removal.clone()));
    assert_eq!(removal.late_removals(&back, age), [LateRemoval { by: key(1).id(), device: key(0).id() }]);
    assert_eq!(removal.late_removals(&back, firm(chain.len())), []);
    // Nor with helpers, nor with a chain in which both removals stand, nor one on which somebody who was deceived goes on.
    let helper = back.add(&by(&key(1)), 3, &joining(&chain.account, &key(30)), Rights::Admin).unwrap();
    let both = removal.reconcile(&back, Age::default()).unwrap();
    let deceived = both.add(&by(&key(2)), 3, &joining(&chain.account, &key(31)), Rights::Member).unwrap();
    for rival in [&helper, &both, &deceived] {
        assert_eq!(removal.reconcile(rival, age), Ok(removal.clone()));
        assert_eq!(removal.late_removals(rival, age).len(), 1);
    }
    // Who holds more of the chain that counts goes on with it.
    let longer = removal.set_homes(&by(&key(0)), 4, &[]).unwrap();
    assert_eq!(longer.reconcile(&both, age), Ok(longer.clone()));
    // The phrase still counts first.
    let recovered = back.recover(&root(), 9, &joining(&chain.account, &key(9))).unwrap();
    assert_eq!(removal.reconcile(&recovered, age), Ok(recovered));
}

#[test]
fn what_a_removed_device_signs_late_takes_nothing_along_and_keeps_nothing_back() {
    let chain = account(4);
    let removal = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    let age = firm(removal.len());
    // It removes a third: that never stood, and all keep to one chain.
    let third = chain.remove(&by(&key(1)), 2, key(2).id()).unwrap();
    let counts = removal.reconcile(&third, age).unwrap();
    assert!(has(&counts, &[0, 2, 3]));
    assert_eq!(counts, settled(&removal, &third));
    // Beside the removal that an honest device has signed at another home.
    let honest = chain.remove(&by(&key(2)), 2, key(3).id()).unwrap();
    let mixed = settled(&honest, &chain.remove(&by(&key(1)), 2, key(0).id()).unwrap());
    assert!(has(&removal.reconcile(&mixed, age).unwrap(), &[0, 2]));
    // Before the entry that added who has removed it.
    let added = chain.add(&by(&key(0)), 2, &joining(&chain.account, &key(5)), Rights::Admin).unwrap();
    let removal = added.remove(&by(&key(5)), 3, key(1).id()).unwrap();
    for time in 0..8 {
        let ghost = chain.add(&by(&key(1)), time, &joining(&chain.account, &key(30)), Rights::Admin).unwrap();
        assert_eq!(removal.reconcile(&ghost, firm(removal.len())), Ok(removal.clone()));
    }
}

#[test]
fn the_device_that_has_linked_its_remover_does_not_begin_again_before_that() {
    let chain = account(1);
    let phone = chain.add(&by(&key(0)), 2, &joining(&chain.account, &key(1)), Rights::Admin).unwrap();
    let removal = phone.remove(&by(&key(1)), 3, key(0).id()).unwrap();
    for time in 0..8 {
        let again = chain.set_homes(&by(&key(0)), time, &[]).unwrap();
        assert_eq!(settled(&removal, &again), removal);
        // With another device, which does the same: whoever has held the removal keeps to it.
        let ghost = chain.add(&by(&key(0)), time, &joining(&chain.account, &key(30)), Rights::Admin).unwrap();
        let ghost = ghost.remove(&by(&key(30)), time, key(0).id()).unwrap();
        assert_eq!(removal.reconcile(&ghost, firm(removal.len())), Ok(removal.clone()));
    }
}

#[test]
fn removals_in_a_circle_all_stand_in_whatever_order_they_are_learnt() {
    let chain = account(4);
    let circle = [(0, 1), (1, 2), (2, 0)].map(|(a, b)| chain.remove(&by(&key(a)), 2, key(b).id()).unwrap());
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let all = order[1..].iter().fold(circle[order[0]].clone(), |known, n| settled(&known, &circle[*n]));
        assert_eq!(all.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [key(3).id()]);
    }
}

#[test]
fn what_the_root_signs_counts_first_and_always() {
    let chain = account(2);
    let removal = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    let recovered = chain.recover(&root(), 3, &joining(&chain.account, &key(9))).unwrap();
    assert_eq!(settled(&removal, &recovered), recovered);
    // From an old state that some server had, and against what was held for long.
    let old = prefix(&chain, 2).recover(&root(), 9, &joining(&chain.account, &key(8))).unwrap();
    assert_eq!(recovered.reconcile(&old, all(&recovered)).unwrap(), old);
    assert_eq!(old.reconcile(&recovered, all(&old)).unwrap(), old);
    assert!(old.recovered_since(2) && !old.recovered_since(3));
}

#[test]
fn nothing_takes_the_place_of_what_was_held_for_seven_days() {
    let chain = account(2);
    let mut held = Held::default();
    held.note(0, chain.len(), 0);
    let removal = chain.remove(&by(&key(0)), 2, key(1).id()).unwrap();
    held.note(chain.len(), removal.len(), DAY);
    let rival = chain.remove(&by(&key(1)), 2, key(0).id()).unwrap();
    assert_eq!(held.age(7 * DAY).settled, chain.len());
    assert_eq!(removal.reconcile(&rival, held.age(7 * DAY)), Ok(removal.clone()));
    assert_eq!(removal.reconcile(&rival, held.age(8 * DAY)), Err(Fork { at: chain.len() }));
    let stored = Held::from_marks(held.marks().to_vec());
    assert_eq!(stored, held);
    held.note(chain.len(), removal.len(), 9 * DAY);
    assert_eq!(held.age(10 * DAY).settled, chain.len(), "what has taken its place is young again");
}

#[test]
fn somebody_answers_for_what_a_removed_device_has_left_as_long_as_anybody_is_there() {
    let chain = account(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| key(n).id());
    assert_eq!(chain.answers_for(&d), None, "it was not removed");
    let one = chain.remove(&by(&key(2)), 2, d).unwrap();
    assert_eq!((one.answers_for(&d), one.removed_by(&c)), (Some(c), [d].into()));
    let two = one.remove(&by(&key(1)), 3, c).unwrap();
    let three = two.remove(&by(&key(0)), 4, b).unwrap();
    assert_eq!([b, c, d].map(|gone| two.answers_for(&gone)), [None, Some(b), Some(b)]);
    assert_eq!([b, c, d].map(|gone| three.answers_for(&gone)), [Some(a); 3]);
    assert_eq!(three.removed_by(&b), [c, d].into());
    // Those who have removed one another.
    let circle = settled(&one.remove(&by(&key(1)), 3, c).unwrap(), &one.remove(&by(&key(2)), 3, b).unwrap());
    assert_eq!([b, c, d].map(|gone| circle.answers_for(&gone)), [None; 3]);
    let recovered = three.recover(&root(), 5, &joining(&chain.account, &key(9))).unwrap();
    assert_eq!([a, b].map(|gone| recovered.answers_for(&gone)), [None; 2]);
}

mod histories;
