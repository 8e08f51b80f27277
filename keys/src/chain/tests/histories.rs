//! Random histories: several admins, one of them a thief; homes, one of which gives out what it likes; contacts that hear late.

use super::*;

/// A small generator (xorshift64*): histories are repeatable by their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Somebody who holds a chain: a device, a home, a contact.
struct Party {
    chain: DeviceChain,
    held: Held,
}

impl Party {
    fn hears(&mut self, other: &DeviceChain, now: u64) {
        let Ok(chain) = self.chain.reconcile(other, self.held.age(now)) else { return };
        let common = self.chain.kept_in(&chain);
        self.held.note(common, chain.len(), now);
        self.chain = chain;
    }
}

struct History {
    random: Random,
    now: u64,
    /// Seconds between two steps at most.
    pace: usize,
    /// Keys 0 to 3 at first; key 0 is the thief's.
    keys: Vec<DeviceKey>,
    devices: Vec<Party>,
    /// The last one lies.
    homes: Vec<Party>,
    contacts: Vec<Party>,
    /// All that was ever written, also by the thief.
    written: Vec<DeviceChain>,
}

const ADMINS: usize = 4;
const THIEF: usize = 0;

impl History {
    fn new(seed: u64, pace: usize) -> Self {
        let chain = account(ADMINS as u16);
        let party = || {
            let mut held = Held::default();
            held.note(0, chain.len(), 0);
            Party { chain: chain.clone(), held }
        };
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            pace,
            keys: (0..ADMINS as u16).map(key).collect(),
            devices: (0..ADMINS).map(|_| party()).collect(),
            homes: (0..2).map(|_| party()).collect(),
            contacts: (0..3).map(|_| party()).collect(),
            written: vec![chain.clone()],
        }
    }

    /// An operation on a chain by one of the keys, if it may do it.
    fn operate(&mut self, chain: &DeviceChain, signer: usize) -> Option<DeviceChain> {
        let (with, time) = (key(signer as u16), self.now);
        let listed: Vec<DeviceId> = chain.devices.iter().map(|d| d.id).collect();
        if listed.is_empty() {
            return None;
        }
        let target = listed[self.random.below(listed.len())];
        let made = match self.random.below(6) {
            0 | 1 => {
                let new = key(self.keys.len() as u16);
                let made = chain.add(&by(&with), time, &joining(&chain.account, &new), Rights::Admin);
                self.keys.push(new);
                made
            }
            2 => chain.remove(&by(&with), time, target),
            3 => chain.remove_keeping(&by(&with), time, target, &[with.id()]),
            4 => chain.set_rights(&by(&with), time, target, Rights::Member),
            _ => chain.set_homes(&by(&with), time, &[]),
        };
        made.ok()
    }

    fn step(&mut self) {
        self.now += self.random.below(self.pace) as u64;
        let device = 1 + self.random.below(ADMINS - 1);
        let home = self.random.below(self.homes.len());
        match self.random.below(8) {
            // An honest device changes the chain that it has, and tells a home.
            0 | 1 => {
                let chain = self.devices[device].chain.clone();
                if let Some(made) = self.operate(&chain, device) {
                    self.devices[device].hears(&made, self.now);
                    self.homes[home].hears(&made, self.now);
                    self.written.push(made);
                }
            }
            // The thief continues any chain that ever was, for anybody.
            2 => {
                let old = self.random.below(self.written.len());
                let old = self.written[old].clone();
                let old = prefix(&old, 2 + self.random.below(old.len() as usize - 1) as u32);
                if let Some(made) = self.operate(&old, THIEF) {
                    self.written.push(made);
                }
            }
            // The lying home gives somebody whatever was written.
            3 => {
                let (any, contact) = (self.random.below(self.written.len()), self.random.below(3));
                let any = self.written[any].clone();
                self.contacts[contact].hears(&any, self.now);
                self.devices[device].hears(&any, self.now);
            }
            4 | 5 => {
                let (theirs, ours) = (self.homes[home].chain.clone(), self.devices[device].chain.clone());
                self.devices[device].hears(&theirs, self.now);
                self.homes[home].hears(&ours, self.now);
            }
            6 => {
                let contact = self.random.below(3);
                let theirs = self.homes[home].chain.clone();
                self.contacts[contact].hears(&theirs, self.now);
            }
            _ => {
                let contact = self.random.below(3);
                let theirs = self.devices[device].chain.clone();
                self.contacts[contact].hears(&theirs, self.now);
            }
        }
    }

    fn parties(&mut self) -> impl Iterator<Item = &mut Party> {
        // The thief's own device is no party.
        self.devices[1..].iter_mut().chain(&mut self.homes).chain(&mut self.contacts)
    }

    /// Everybody hears everybody, until nothing changes. Gives the chains that there are then.
    fn settle(&mut self) -> Vec<DeviceChain> {
        for _ in 0..12 {
            let chains: Vec<DeviceChain> = self.parties().map(|p| p.chain.clone()).collect();
            let now = self.now;
            self.parties().for_each(|party| chains.iter().for_each(|chain| party.hears(chain, now)));
            if self.parties().zip(&chains).all(|(party, chain)| party.chain == *chain) {
                return chains;
            }
        }
        panic!("they go from one chain to another without an end");
    }
}

/// An account with a stolen device, one that removes it, and others; a home that forgets, and gives out what the thief writes.
fn removed_thief(seed: u64) -> (History, DeviceChain) {
    let mut history = History::new(seed, 3600);
    // Devices are added by any that is there, so that the thief may have linked who removes it.
    for _ in 0..history.random.below(3) {
        let by = history.random.below(ADMINS);
        let chain = history.devices[1].chain.clone();
        let made = chain.add(
            &super::by(&key(by as u16)),
            0,
            &joining(&chain.account, &key(history.keys.len() as u16)),
            Rights::Admin,
        );
        history.keys.push(key(history.keys.len() as u16));
        history.written.push(made.unwrap());
        let newest = history.written.last().cloned().unwrap();
        history.parties().for_each(|p| p.hears(&newest, 0));
    }
    let by = 1 + history.random.below(history.keys.len() - 1);
    let chain = history.devices[1].chain.clone();
    let removal = chain.remove(&super::by(&key(by as u16)), 0, key(THIEF as u16).id()).unwrap();
    history.written.push(removal.clone());
    (history, removal)
}

#[test]
fn a_removed_key_never_counts_again_for_who_has_held_its_removal_whatever_homes_forget() {
    for seed in 0..60 {
        let (mut history, removal) = removed_thief(seed);
        // Who has heard of it at once, and who has not: one contact, and one home.
        history.now = 100;
        let late = [history.contacts.len() - 1, history.homes.len() - 1];
        history.devices[1..].iter_mut().for_each(|p| p.hears(&removal, 100));
        history.contacts[..late[0]]
            .iter_mut()
            .chain(&mut history.homes[..late[1]])
            .for_each(|p| p.hears(&removal, 100));
        history.now += REMOVED_AFTER_S;
        for step in 0..80 {
            history.now += history.random.below(3600) as u64;
            match history.random.below(4) {
                0 => {
                    // A home has lost what it had, and takes what comes first.
                    let home = history.random.below(2);
                    let old = prefix(&removal, 2 + history.random.below(removal.len() as usize - 2) as u32);
                    let mut held = Held::default();
                    held.note(0, old.len(), history.now);
                    history.homes[home] = Party { chain: old, held };
                }
                1 | 2 => {
                    let old = history.random.below(history.written.len());
                    let old = history.written[old].clone();
                    let old = prefix(&old, 2 + history.random.below(old.len() as usize - 1) as u32);
                    if let Some(made) = history.operate(&old, THIEF) {
                        let home = history.random.below(2);
                        history.homes[home].hears(&made, history.now);
                        history.written.push(made);
                    }
                }
                _ => {
                    let any = history.random.below(history.written.len());
                    let shown =
                        [history.written[any].clone(), history.homes[0].chain.clone(), history.homes[1].chain.clone()];
                    let now = history.now;
                    for chain in &shown {
                        history.parties().for_each(|p| p.hears(chain, now));
                    }
                }
            }
            let knew = history.devices[1..].iter().chain(&history.contacts[..late[0]]);
            for party in knew {
                assert_eq!(party.chain.state().devices(), removal.state().devices(), "history {seed}, step {step}");
            }
        }
    }
}

fn check_removals(chain: &DeviceChain, keys: &[DeviceKey]) {
    let mut removed: Vec<DeviceId> = Vec::new();
    for length in 1..=chain.len() {
        let before = prefix(chain, length);
        assert!(before.devices.iter().all(|d| !removed.contains(&d.id)), "a removed device is back");
        assert!(before.devices.len() <= MAX_DEVICES);
        removed = keys.iter().map(DeviceKey::id).filter(|d| before.has_removed(d) || removed.contains(d)).collect();
    }
}

/// Steps that are all within the time in which two removals that contradict each other both stand.
const AT_ONCE: usize = (REMOVED_AFTER_S / 60) as usize;

#[test]
fn all_honest_parties_end_with_one_chain_and_what_was_removed_stays_removed() {
    for seed in 0..60 {
        let mut history = History::new(seed, AT_ONCE);
        (0..60).for_each(|_| history.step());
        let chain = history.settle().remove(0);
        assert!(history.parties().all(|p| p.chain == chain), "history {seed} does not come to one chain");
        assert_eq!(DeviceChain::from_bytes(chain.as_bytes()).unwrap(), chain);
        check_removals(&chain, &history.keys);
        // A week later nobody changes it any more with a key of before, whatever they write and whoever passes it on.
        history.now += 8 * DAY;
        for old in 2..=chain.len() {
            for _ in 0..3 {
                if let Some(made) = history.operate(&prefix(&chain, old), THIEF) {
                    let now = history.now;
                    let extends = chain.relation(&made) == Relation::Extends;
                    history.contacts.iter_mut().for_each(|c| c.hears(&made, now));
                    let kept = history.contacts.iter().all(|c| c.chain == chain);
                    assert!(extends || kept, "history {seed}: an old key has changed what was settled");
                    history.contacts.iter_mut().for_each(|c| c.chain = chain.clone());
                }
            }
        }
    }
}

/// The removals in another's chain that somebody does not take, as the device that signs them was removed in what was held here for ten minutes.
fn refused(one: &Party, other: &Party, now: u64) -> Vec<LateRemoval> {
    one.chain.late_removals(&other.chain, one.held.age(now))
}

/// Hours pass between what happens here, so that two devices remove each other, or one another's remover, without hearing of it for longer than
/// [`REMOVED_AFTER_S`]. Then nothing but the root can tell who was first, and that is all in which parties may differ: each pair that does not come
/// to one chain has a removal between them that one refuses as late, and who refuses it has the signer off the account.
#[test]
fn parties_differ_only_where_one_refuses_a_removal_that_the_other_has_and_then_they_see_it() {
    let mut apart = 0;
    for seed in 0..60 {
        let mut history = History::new(seed, 3600);
        (0..60).for_each(|_| history.step());
        history.settle();
        let now = history.now;
        // Nothing here is old enough to be a fork that nobody can settle.
        assert!(now < SETTLED_AFTER_S, "history {seed}");
        let parties: Vec<&mut Party> = history.parties().collect();
        for (a, b) in parties.iter().flat_map(|a| parties.iter().map(move |b| (a, b))) {
            let late = [(a, refused(a, b, now)), (b, refused(b, a, now))];
            assert!(a.chain == b.chain || late.iter().any(|(_, late)| !late.is_empty()), "history {seed}");
            for (who, late) in &late {
                let is_off = |removal: &LateRemoval| who.chain.device(&removal.by).is_none();
                assert!(late.iter().all(is_off), "history {seed}: who refuses a removal still has its signer");
            }
        }
        apart += usize::from(parties.iter().any(|p| p.chain != parties[0].chain));
    }
    // Else the histories have not in them what this is about; and mostly parties come to one chain all the same.
    assert!((1..20).contains(&apart), "{apart} of 60 histories end with more than one chain");
}
