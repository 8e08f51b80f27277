//! Devices that their accounts have removed.

use super::*;

/// A chain with a first device and one that it has linked.
struct Chained {
    root: AccountKey,
    first: DeviceKey,
    linked: DeviceKey,
    chain: DeviceChain,
}

impl Chained {
    fn new() -> Self {
        let (root, first, linked) = (account(), DeviceKey::generate(), DeviceKey::generate());
        let joining = |key: &DeviceKey| Joining::sign(key, &root.id(), vec![1; 32]);
        let chain = DeviceChain::create(&root, 1, [0; 32], &joining(&first)).unwrap();
        let chain = chain.add(&SignWith::Device(&first), 2, &joining(&linked), Rights::Admin).unwrap();
        Self { root, first, linked, chain }
    }

    fn mls(&self, key: &DeviceKey) -> Mls {
        let certificate = Certificate::from(&self.chain.path_to(&key.id()).unwrap());
        Mls::new(&certificate, key, KeyPackages::default()).unwrap()
    }
}

#[test]
fn a_device_that_its_account_has_removed_goes_for_good_and_who_was_linked_by_it_stays_if_that_is_said() {
    let bob = Chained::new();
    let owner = account();
    let mut policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes());
    policy.add(member(&bob.root, Role::Member, &owner));
    let group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
    let (_, commit) = enter(&group, &bob.mls(&bob.first)).unwrap();
    let group = follow(&group, &commit);
    let (linked, commit) = enter(&group, &bob.mls(&bob.linked)).unwrap();
    let group = follow(&group, &commit);
    // The linked device removes the one that has linked it, and stays.
    let removed = bob.chain.remove(&SignWith::Device(&bob.linked), 3, bob.first.id()).unwrap();
    let tombstone = tombstone_by(&removed, &bob.first.id()).unwrap();
    assert_eq!(tombstone.staying, [*bob.linked.id().as_bytes()]);
    let with = |chain: &DeviceChain, tombstone: &Tombstone| {
        let mut policy = group.policy().unwrap();
        policy.bury(tombstone.clone());
        let chains = vec![bytes::Bytes::copy_from_slice(chain.as_bytes())];
        Change { policy, reasons: Reasons { chains, ..Reasons::default() } }
    };
    let (commit, after) = group.prepare_change(&with(&removed, &tombstone), NOW_MS, Vec::new()).unwrap();
    let linked = follow(&linked, &commit);
    assert_eq!((after.members().len(), linked.members().len()), (2, 2));
    // Its key is worth nothing any more, and who it links now does not get in.
    assert!(enter(&after, &bob.mls(&bob.first)).is_none());
    let accomplice = DeviceKey::generate();
    let joining = Joining::sign(&accomplice, &bob.root.id(), vec![1; 32]);
    let rival = bob.chain.add(&SignWith::Device(&bob.first), 3, &joining, Rights::Admin).unwrap();
    let path = Certificate::from(&rival.path_to(&accomplice.id()).unwrap());
    assert!(enter(&after, &Mls::new(&path, &accomplice, KeyPackages::default()).unwrap()).is_none());
    // Nor does it get the other out by a chain in which it was the faster.
    let rival = bob.chain.remove(&SignWith::Device(&bob.first), 3, bob.linked.id()).unwrap();
    let mut policy = after.policy().unwrap();
    policy.bury(tombstone_by(&rival, &bob.linked.id()).unwrap());
    let chains = vec![bytes::Bytes::copy_from_slice(rival.as_bytes())];
    let change = Change { policy, reasons: Reasons { chains, ..Reasons::default() } };
    assert!(after.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    // A tombstone that leaves the linked one out, and one that the chain does not show, are void.
    let harsh = Tombstone { staying: Vec::new(), ..tombstone.clone() };
    assert!(group.prepare_change(&with(&removed, &harsh), NOW_MS, Vec::new()).is_err());
    assert!(group.prepare_change(&with(&bob.chain, &tombstone), NOW_MS, Vec::new()).is_err());
}

#[test]
fn members_remember_no_devices_that_were_never_there() {
    let bob = Chained::new();
    let owner = account();
    let mut policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes());
    policy.add(member(&bob.root, Role::Member, &owner));
    let group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
    let (inside, commit) = enter(&group, &bob.mls(&bob.first)).unwrap();
    let group = follow(&group, &commit);
    let removed = bob.chain.remove(&SignWith::Device(&bob.first), 3, bob.linked.id()).unwrap();
    let mut policy = group.policy().unwrap();
    policy.bury(tombstone_by(&removed, &bob.linked.id()).unwrap());
    let chains = vec![bytes::Bytes::copy_from_slice(removed.as_bytes())];
    let change = Change { policy, reasons: Reasons { chains, ..Reasons::default() } };
    // Its own account does: the device may know the door.
    assert!(group.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    let (commit, _) = inside.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    assert_eq!(follow(&group, &commit).policy().unwrap().tombstones.len(), 1);
}
