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
        let Ok(chain) = self.chain.reconcile(other, self.held.settled(now)) else { return };
        let common = match self.chain.relation(&chain) {
            Relation::Rival(at) => at,
            _ => self.chain.len().min(chain.len()),
        };
        self.held.note(common, chain.len(), now);
        self.chain = chain;
    }
}

struct History {
    random: Random,
    now: u64,
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
    fn new(seed: u64) -> Self {
        let chain = account(ADMINS as u16);
        let party = || {
            let mut held = Held::default();
            held.note(0, chain.len(), 0);
            Party { chain: chain.clone(), held }
        };
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
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
        self.now += self.random.below(3600) as u64;
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

    /// Everybody hears everybody, until nothing changes.
    fn settle(&mut self, seed: u64) -> DeviceChain {
        for _ in 0..12 {
            let chains: Vec<DeviceChain> = self.parties().map(|p| p.chain.clone()).collect();
            if chains.iter().all(|c| *c == chains[0]) {
                return chains[0].clone();
            }
            let now = self.now;
            self.parties().for_each(|party| chains.iter().for_each(|chain| party.hears(chain, now)));
        }
        panic!("history {seed} does not come to one chain");
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

#[test]
fn all_honest_parties_end_with_one_chain_and_what_was_removed_stays_removed() {
    for seed in 0..60 {
        let mut history = History::new(seed);
        (0..60).for_each(|_| history.step());
        let chain = history.settle(seed);
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
