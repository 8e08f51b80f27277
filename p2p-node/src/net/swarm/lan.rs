//! Names on a LAN. What is announced there everybody can read and remember, so a device announces a name that is another one every quarter of an
//! hour, and that only those recognise who have its key: its contacts, and the other devices of its account.
//!
//! Everybody there can also announce anything, under names that it has heard, too. So what is kept is bounded, and how often something new is taken
//! for a device that we look for, and dialled: what is beyond that is not remembered, and taken when it is announced again.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use starling_keys::DeviceId;

use super::allowance::Allowance;
use super::limits::{
    LAN_FOUND, LAN_FOUND_EVERY, LAN_FOUND_OF_DEVICE, LAN_FOUND_OF_DEVICE_EVERY, LAN_LIFE, MAX_LAN_ANNOUNCED,
    MAX_LAN_HEARD,
};
use crate::net::{LanKey, LanKeys, peer_of};

/// How long a name is used.
const PERIOD: Duration = Duration::from_secs(900);

/// The name of a device in a period, in the form of a peer id.
fn name(key: &LanKey, period: u64) -> Option<PeerId> {
    let digest = blake3::keyed_hash(&key.0, &period.to_le_bytes());
    // As a SHA-256 multihash, which says nothing of what was hashed.
    PeerId::from_bytes(&[&[0x12, 0x20], &digest.as_bytes()[..]].concat()).ok()
}

/// An announcement that was heard.
struct Heard {
    name: PeerId,
    address: Multiaddr,
    /// How often we had another name before.
    turn: u64,
    /// When it was heard last.
    at: Instant,
}

impl Heard {
    fn is_of(&self, name: &PeerId, address: &Multiaddr) -> bool {
        self.name == *name && self.address == *address
    }
}

/// Where a device was found, or is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub peer: PeerId,
    pub address: Multiaddr,
}

/// Who is who on the LAN.
pub(super) struct Lan {
    keys: Option<LanKeys>,
    period: u64,
    turn: u64,
    /// The names of those that we look for, in this period and those beside it: clocks differ.
    known: HashMap<PeerId, DeviceId>,
    heard: Vec<Heard>,
    /// How often something new is taken for those that we look for, ...
    found: Allowance,
    /// ... and for each of them of which something was.
    found_of: HashMap<DeviceId, Allowance>,
}

impl Lan {
    pub fn new(now: Instant) -> Self {
        Self {
            keys: None,
            period: 0,
            turn: 0,
            known: HashMap::new(),
            heard: Vec::new(),
            found: Allowance::new(now, LAN_FOUND, LAN_FOUND_EVERY),
            found_of: HashMap::new(),
        }
    }

    /// The period that it is.
    pub fn now() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() / PERIOD.as_secs()
    }

    /// When [`Lan::next_period`] has something to do.
    pub fn due_in(&self) -> Duration {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.keys.is_some() && self.period != since.as_secs() / PERIOD.as_secs() {
            return Duration::ZERO;
        }
        Duration::from_secs(PERIOD.as_secs() - since.as_secs() % PERIOD.as_secs())
    }

    /// Other keys; gives who is found by them, and our name if that is another one.
    pub fn set_keys(&mut self, keys: LanKeys, period: u64) -> (Vec<Found>, Option<PeerId>) {
        let renamed = self.keys.as_ref().is_none_or(|before| before.own != keys.own) || self.period != period;
        self.keys = Some(keys);
        (self.look(period), if renamed { self.rename() } else { None })
    }

    /// Another period; gives our name in it, and who was found before and has not announced itself since our last name.
    pub fn next_period(&mut self, period: u64) -> (Vec<Found>, Option<PeerId>) {
        if self.period == period || self.keys.is_none() {
            return (Vec::new(), None);
        }
        self.look(period);
        let turn = self.turn;
        let (heard, silent): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heard).into_iter().partition(|h| h.turn == turn);
        self.heard = heard;
        let gone = silent.iter().filter_map(|heard| self.found(heard)).collect();
        (self.unless_found(gone), self.rename())
    }

    fn rename(&mut self) -> Option<PeerId> {
        self.turn += 1;
        self.own_name()
    }

    /// Our name in this period, once we have keys.
    pub fn own_name(&self) -> Option<PeerId> {
        self.keys.as_ref().and_then(|keys| name(&keys.own, self.period))
    }

    /// Brings the names up to date; gives whom they show.
    fn look(&mut self, period: u64) -> Vec<Found> {
        self.period = period;
        if let Some(keys) = &self.keys {
            self.found_of.retain(|device, _| keys.others.contains_key(device));
        }
        let others = self.keys.iter().flat_map(|keys| &keys.others);
        let names = others.flat_map(|(device, key)| {
            // Names of the period before are still remembered by whoever was silent since.
            (period.saturating_sub(2)..=period.saturating_add(1)).filter_map(|at| Some((name(key, at)?, *device)))
        });
        self.known = names.collect();
        self.heard.iter().filter_map(|heard| self.found(heard)).collect()
    }

    fn found(&self, heard: &Heard) -> Option<Found> {
        let peer = peer_of(self.known.get(&heard.name)?)?;
        Some(Found { peer, address: heard.address.clone() })
    }

    /// Those of these who are not found there under another name.
    fn unless_found(&self, gone: Vec<Found>) -> Vec<Found> {
        let there: Vec<Found> = self.heard.iter().filter_map(|heard| self.found(heard)).collect();
        gone.into_iter().filter(|gone| !there.contains(gone)).collect()
    }

    /// Somebody announces itself; gives who that is, if we look for it.
    pub fn hear(&mut self, now: Instant, name: PeerId, address: Multiaddr) -> Option<Found> {
        let address = without_peer(address);
        match self.heard.iter().position(|heard| heard.is_of(&name, &address)) {
            Some(before) => {
                self.heard.remove(before);
            }
            None => self.make_room(now, &name)?,
        }
        let heard = Heard { name, address, turn: self.turn, at: now };
        let found = self.found(&heard);
        self.heard.push(heard);
        found
    }

    /// Makes room for another address under a name. Nothing, if there are too many, or they come too fast.
    fn make_room(&mut self, now: Instant, name: &PeerId) -> Option<()> {
        if self.heard.iter().filter(|heard| heard.name == *name).count() >= MAX_LAN_ANNOUNCED {
            return None;
        }
        if let Some(device) = self.known.get(name) {
            let of_device = || Allowance::new(now, LAN_FOUND_OF_DEVICE, LAN_FOUND_OF_DEVICE_EVERY);
            let of_device = self.found_of.entry(*device).or_insert_with(of_device);
            if !of_device.take(now) || !self.found.take(now) {
                return None;
            }
        }
        if self.heard.len() >= MAX_LAN_HEARD {
            // Those that we look for are not crowded out by others.
            let known = &self.known;
            let other = self.heard.iter().position(|heard| !known.contains_key(&heard.name)).unwrap_or(0);
            self.heard.remove(other);
        }
        Some(())
    }

    /// Time has passed: gives who has been silent for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Found> {
        let is_there = |heard: &Heard| now.saturating_duration_since(heard.at) < LAN_LIFE;
        let (heard, silent): (Vec<_>, Vec<_>) = std::mem::take(&mut self.heard).into_iter().partition(is_there);
        self.heard = heard;
        let gone = silent.iter().filter_map(|heard| self.found(heard)).collect();
        self.unless_found(gone)
    }
}

/// An address without the peer id at its end.
fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::DeviceKey;

    use super::*;

    const KEY: LanKey = LanKey([1; 32]);

    fn now() -> Instant {
        Instant::now()
    }

    fn device() -> DeviceId {
        DeviceKey::from_seed(&[7; 32]).id()
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.168.1.7/udp/{port}/quic-v1").parse().unwrap()
    }

    fn looking_for(others: &[(DeviceId, LanKey)]) -> LanKeys {
        LanKeys { own: LanKey([9; 32]), others: others.iter().copied().collect() }
    }

    #[test]
    fn a_contact_is_recognised_whatever_comes_first_and_over_a_change_of_names() {
        let there = Found { peer: peer_of(&device()).unwrap(), address: address(1) };
        let mut lan = Lan::new(Instant::now());
        let announced = name(&KEY, 100).unwrap();
        let with_peer = address(1).with(Protocol::P2p(announced));
        assert_eq!(lan.hear(now(), announced, with_peer), None, "nobody is looked for");
        let (found, own) = lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        assert_eq!(found, std::slice::from_ref(&there));
        assert_eq!(own, name(&LanKey([9; 32]), 100));
        // Whoever is there answers the first question after that.
        lan.hear(now(), announced, address(1));
        let (gone, renamed) = lan.next_period(101);
        assert!(renamed.is_some() && renamed != own && gone.is_empty());
        assert_eq!(lan.hear(now(), name(&KEY, 101).unwrap(), address(1)), Some(there.clone()));
        // It is there under its next name when the one before is not heard any more, and gone when neither is.
        let half = LAN_LIFE / 2;
        lan.hear(now() + half, name(&KEY, 101).unwrap(), address(1));
        assert!(lan.expire(now() + LAN_LIFE).is_empty());
        assert_eq!(lan.expire(now() + LAN_LIFE + half), [there]);
    }

    #[test]
    fn who_is_silent_through_a_whole_period_is_gone() {
        let mut lan = Lan::new(Instant::now());
        lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        lan.hear(now(), name(&KEY, 100).unwrap(), address(1));
        assert!(lan.next_period(101).0.is_empty());
        assert_eq!(lan.next_period(102).0.len(), 1);
    }

    #[test]
    fn who_has_not_the_key_recognises_nobody_and_no_two_names_are_alike() {
        let names: Vec<PeerId> = (0..50).map(|period| name(&KEY, period).unwrap()).collect();
        let device_id = peer_of(&device()).unwrap();
        for (n, one) in names.iter().enumerate() {
            assert!(*one != device_id && !names[n + 1..].contains(one));
            assert_eq!(crate::net::device_of(one), None);
        }
        let mut lan = Lan::new(Instant::now());
        lan.set_keys(looking_for(&[(device(), LanKey([2; 32]))]), 100);
        assert_eq!(lan.hear(now(), name(&KEY, 100).unwrap(), address(1)), None);
        // Nor is it believed who announces the id of a contact's device.
        assert_eq!(lan.hear(now(), device_id, address(1)), None);
    }

    #[test]
    fn strangers_crowd_no_contact_out() {
        let mut lan = Lan::new(Instant::now());
        lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        lan.hear(now(), name(&KEY, 100).unwrap(), address(1));
        for n in 0..2 * MAX_LAN_HEARD as u64 {
            lan.hear(now(), name(&LanKey([3; 32]), n).unwrap(), address(2));
        }
        assert_eq!(lan.heard.len(), MAX_LAN_HEARD);
        assert_eq!(lan.expire(now() + LAN_LIFE).len(), 1);
    }

    #[test]
    fn ten_thousand_forged_answers_are_kept_and_dialled_no_more_than_a_few() {
        let start = now();
        let mut lan = Lan::new(start);
        lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        let overheard = name(&KEY, 100).unwrap();
        let there = Found { peer: peer_of(&device()).unwrap(), address: address(1) };
        assert_eq!(lan.hear(start, overheard, address(1)), Some(there.clone()));
        // Each is under the name of a contact, and under one that nobody has, in one second.
        let mut found = 0;
        for port in 2..10_002 {
            let at = start + Duration::from_micros(100 * u64::from(port));
            found += usize::from(lan.hear(at, overheard, address(port)).is_some());
            assert_eq!(lan.hear(at, name(&LanKey([3; 32]), port.into()).unwrap(), address(port)), None);
        }
        assert!(found < LAN_FOUND_OF_DEVICE as usize, "{found} were dialled");
        assert_eq!(lan.heard.len(), MAX_LAN_HEARD);
        assert_eq!(lan.found_of.len(), 1);
        // The true one is there still, and what is true is taken again after a while.
        assert_eq!(lan.hear(start + Duration::from_secs(2), overheard, address(1)), Some(there));
        let later = start + Duration::from_secs(60);
        assert!(lan.hear(later, overheard, address(20_000)).is_some());
        // However long it goes on, no more is kept than of an honest device.
        for port in 0..1_000 {
            lan.hear(later + Duration::from_secs(60) * u32::from(port), overheard, address(30_000 + port));
        }
        assert!(lan.heard.iter().filter(|heard| heard.name == overheard).count() <= MAX_LAN_ANNOUNCED);
    }

    #[test]
    fn names_that_are_overheard_of_many_contacts_have_few_of_them_dialled_too() {
        let start = now();
        let mut lan = Lan::new(start);
        let contacts: Vec<(DeviceId, LanKey)> =
            (0..200).map(|n| (DeviceKey::from_seed(&[n; 32]).id(), LanKey([n.wrapping_add(50); 32]))).collect();
        lan.set_keys(looking_for(&contacts), 100);
        let mut found = 0;
        for port in 1..=50 {
            for (_, key) in &contacts {
                found += u32::from(lan.hear(start, name(key, 100).unwrap(), address(port)).is_some());
            }
        }
        assert_eq!(found, LAN_FOUND);
    }
}
