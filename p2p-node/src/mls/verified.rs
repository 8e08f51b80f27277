//! Certificates whose signatures were verified before. Each commit, made or judged, and each look at who is in a group goes through all leaves of its
//! tree, several times; to verify them all again and again would take much of the time of a commit in a large group.
//!
//! What is kept changes no result, only how soon it is there. It is kept for the thread, as each profile's engine has one of its own.

use std::{cell::RefCell, collections::BTreeMap};

use starling_keys::Certificate;

/// Certificates in each half of what is kept: both together have room for more than the largest group has, at some 500 bytes each.
const MAX_HALF: usize = if cfg!(test) { 64 } else { 2_048 };

/// Certificates by the hashes of their bytes: those that were asked for lately, and those before them, which go when there are enough newer ones.
#[derive(Default)]
struct Verified {
    recent: BTreeMap<[u8; 32], Certificate>,
    older: BTreeMap<[u8; 32], Certificate>,
}

impl Verified {
    fn read(&mut self, bytes: &[u8]) -> Option<Certificate> {
        let hash = *blake3::hash(bytes).as_bytes();
        if let Some(known) = self.recent.get(&hash) {
            return Some(known.clone());
        }
        let found = match self.older.remove(&hash) {
            Some(known) => known,
            None => Certificate::from_bytes(bytes).ok()?,
        };
        if self.recent.len() >= MAX_HALF {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash, found.clone());
        Some(found)
    }
}

thread_local! {
    static VERIFIED: RefCell<Verified> = RefCell::default();
}

/// Reads a certificate, and verifies it if that was not done before; none if it is not one, or its signatures are wrong.
pub(super) fn verified(bytes: &[u8]) -> Option<Certificate> {
    VERIFIED.with_borrow_mut(|verified| verified.read(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    fn certificate(n: u8) -> Certificate {
        Certificate::issue(&AccountKey::from_seed(&[n; 32]), DeviceKey::from_seed(&[n; 32]).id(), 1)
    }

    #[test]
    fn what_was_verified_is_the_same_when_it_is_read_again() {
        let (mut verified, one) = (Verified::default(), certificate(1));
        for _ in 0..2 {
            assert_eq!(verified.read(one.as_bytes()), Some(one.clone()));
        }
        assert_eq!(verified.recent.len(), 1);
        let mut forged = one.as_bytes().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        for _ in 0..2 {
            assert_eq!(verified.read(&forged), None, "a signature is verified for these bytes alone");
            assert_eq!(verified.read(b"garbage"), None);
        }
        assert_eq!(verified.recent.len(), 1, "what is refused takes no room");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_stays() {
        let (mut verified, stays) = (Verified::default(), certificate(0));
        for n in 1..=200 {
            verified.read(certificate(n).as_bytes()).unwrap();
            verified.read(stays.as_bytes()).unwrap();
            assert!(verified.recent.len() <= MAX_HALF && verified.older.len() <= MAX_HALF);
        }
        assert!(verified.recent.len() + verified.older.len() > MAX_HALF);
        let key = *blake3::hash(stays.as_bytes()).as_bytes();
        assert!(verified.recent.contains_key(&key));
    }
}
