//! Names on a LAN. What is announced there everybody can read and remember, so a device announces a name that is another one every quarter of an
//! hour, and that only those recognise who have its key: its contacts, and the other devices of its account.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use starling_keys::DeviceId;

use crate::net::{LanKey, LanKeys, peer_of};

/// How long a name is used.
const PERIOD: Duration = Duration::from_secs(900);
/// Announcements that are remembered, of whomever: everybody on a LAN can make any number.
const MAX_HEARD: usize = 1024;

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
}

/// Where a device was found, or is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub peer: PeerId,
    pub address: Multiaddr,
}

/// Who is who on the LAN.
#[derive(Default)]
pub(super) struct Lan {
    keys: Option<LanKeys>,
    period: u64,
    turn: u64,
    /// The names of those that we look for, in this period and those beside it: clocks differ.
    known: HashMap<PeerId, DeviceId>,
    heard: Vec<Heard>,
}

impl Lan {
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
    pub fn hear(&mut self, name: PeerId, address: Multiaddr) -> Option<Found> {
        let address = without_peer(address);
        self.heard.retain(|heard| (heard.name, &heard.address) != (name, &address));
        if self.heard.len() >= MAX_HEARD {
            // Those that we look for are not crowded out by others.
            let known = &self.known;
            let other = self.heard.iter().position(|heard| !known.contains_key(&heard.name)).unwrap_or(0);
            self.heard.remove(other);
        }
        let heard = Heard { name, address, turn: self.turn };
        let found = self.found(&heard);
        self.heard.push(heard);
        found
    }

    /// An announcement has ended; gives who is not found there any more.
    pub fn forget(&mut self, name: PeerId, address: Multiaddr) -> Option<Found> {
        let gone = Heard { name, address: without_peer(address), turn: 0 };
        self.heard.retain(|heard| (heard.name, &heard.address) != (gone.name, &gone.address));
        let gone = self.found(&gone)?;
        self.unless_found(vec![gone]).pop()
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
        let mut lan = Lan::default();
        let announced = name(&KEY, 100).unwrap();
        let with_peer = address(1).with(Protocol::P2p(announced));
        assert_eq!(lan.hear(announced, with_peer), None, "nobody is looked for");
        let (found, own) = lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        assert_eq!(found, std::slice::from_ref(&there));
        assert_eq!(own, name(&LanKey([9; 32]), 100));
        // Whoever is there answers the first question after that.
        lan.hear(announced, address(1));
        let (gone, renamed) = lan.next_period(101);
        assert!(renamed.is_some() && renamed != own && gone.is_empty());
        assert_eq!(lan.hear(name(&KEY, 101).unwrap(), address(1)), Some(there.clone()));
        assert_eq!(lan.forget(announced, address(1)), None, "it is there under its next name");
        assert_eq!(lan.forget(name(&KEY, 101).unwrap(), address(1)), Some(there));
    }

    #[test]
    fn who_is_silent_through_a_whole_period_is_gone() {
        let mut lan = Lan::default();
        lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        lan.hear(name(&KEY, 100).unwrap(), address(1));
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
        let mut lan = Lan::default();
        lan.set_keys(looking_for(&[(device(), LanKey([2; 32]))]), 100);
        assert_eq!(lan.hear(name(&KEY, 100).unwrap(), address(1)), None);
        // Nor is it believed who announces the id of a contact's device.
        assert_eq!(lan.hear(device_id, address(1)), None);
    }

    #[test]
    fn strangers_crowd_no_contact_out() {
        let mut lan = Lan::default();
        lan.set_keys(looking_for(&[(device(), KEY)]), 100);
        lan.hear(name(&KEY, 100).unwrap(), address(1));
        for n in 0..2 * MAX_HEARD as u64 {
            lan.hear(name(&LanKey([3; 32]), n).unwrap(), address(2));
        }
        assert_eq!(lan.heard.len(), MAX_HEARD);
        assert!(lan.forget(name(&KEY, 100).unwrap(), address(1)).is_some());
    }
}
