//! Short codes: numbered places where two devices exchange PAKE messages. In memory only; burnt after three attempts, so places are random: whoever wants to
//! burn the codes of others finds few of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use starling_wire::limits::{CODE_FAILURES, CODE_LIFETIME_S};

use crate::{
    address::Origin,
    limits::{CODE_PLACES, MAX_CODES},
    store::SubscriberId,
};

struct Code {
    owner: SubscriberId,
    /// Where its owner is.
    origin: Option<Origin>,
    expires_ms: u64,
    /// The session of each attempt, in order.
    attempts: Vec<SubscriberId>,
}

/// An attempt at a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who opened the code.
    pub owner: SubscriberId,
    /// Which attempt it is.
    pub number: u64,
    /// Where who opened it is.
    origin: Option<Origin>,
}

impl Attempt {
    /// Whether somebody who tries is in the network of who opened the code, as far as is known.
    pub fn is_near(&self, guest: Option<Origin>) -> bool {
        self.origin.zip(guest).is_some_and(|(owner, guest)| owner.is_near(&guest))
    }
}

/// The open short codes.
#[derive(Default)]
pub struct Codes(Mutex<HashMap<u32, Code>>);

impl Codes {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Code>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free place.
    pub fn open(&self, owner: SubscriberId, origin: Option<Origin>, now_ms: u64) -> Option<u32> {
        let mut codes = self.lock();
        codes.retain(|_, code| code.expires_ms > now_ms);
        if codes.len() >= MAX_CODES {
            return None;
        }
        // Ends: most places are free.
        let mut places = std::iter::repeat_with(|| rand::random_range(CODE_PLACES));
        let place = places.find(|place| !codes.contains_key(place))?;
        let expires_ms = now_ms + CODE_LIFETIME_S * 1000;
        codes.insert(place, Code { owner, origin, expires_ms, attempts: Vec::new() });
        Some(place)
    }

    /// Whether a place is taken.
    pub fn is_open(&self, place: u32, now_ms: u64) -> bool {
        self.lock().get(&place).is_some_and(|c| c.expires_ms > now_ms)
    }

    /// A guest tries. The attempt after the third finds nothing.
    pub fn attempt(&self, place: u32, guest: SubscriberId, now_ms: u64) -> Option<Attempt> {
        let mut codes = self.lock();
        let code = codes.get_mut(&place).filter(|c| c.expires_ms > now_ms)?;
        if code.attempts.len() >= CODE_FAILURES as usize {
            return None;
        }
        code.attempts.push(guest);
        Some(Attempt { owner: code.owner, number: code.attempts.len() as u64, origin: code.origin })
    }

    /// A guest goes on with its newest attempt.
    pub fn continued(&self, place: u32, guest: SubscriberId, now_ms: u64) -> Option<Attempt> {
        let codes = self.lock();
        let code = codes.get(&place).filter(|c| c.expires_ms > now_ms)?;
        let attempt = code.attempts.iter().rposition(|g| *g == guest)?;
        Some(Attempt { owner: code.owner, number: attempt as u64 + 1, origin: code.origin })
    }

    /// The session behind an attempt at a code that `owner` has opened.
    pub fn guest(&self, place: u32, attempt: u64, owner: SubscriberId) -> Option<SubscriberId> {
        let codes = self.lock();
        let code = codes.get(&place).filter(|c| c.owner == owner)?;
        code.attempts.get((attempt as usize).checked_sub(1)?).copied()
    }

    /// Its owner gives a code up, or is gone: gives the session of each attempt, in order.
    pub fn close(&self, place: u32, owner: SubscriberId) -> Vec<SubscriberId> {
        let mut codes = self.lock();
        match codes.get(&place).is_some_and(|c| c.owner == owner) {
            true => codes.remove(&place).map(|code| code.attempts).unwrap_or_default(),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_attempts_burn_a_code_and_ten_minutes_end_it() {
        let codes = Codes::default();
        let place = codes.open(1, None, 0).unwrap();
        let numbered = |number| Some(Attempt { owner: 1, number, origin: None });
        for number in 1..=3 {
            assert_eq!(codes.attempt(place, 2, 0), numbered(number));
        }
        assert_eq!(codes.attempt(place, 2, 0), None);
        assert_eq!(codes.guest(place, 3, 1), Some(2));
        assert_eq!(codes.continued(place, 2, 0), numbered(3), "what follows an attempt is none");
        assert_eq!(codes.continued(place, 3, 0), None);
        assert_eq!(codes.guest(place, 3, 9), None, "only who opened it may answer");

        let other = codes.open(1, None, 0).unwrap();
        assert_ne!(place, other);
        assert_eq!(codes.attempt(other, 2, 600_000), None);
    }

    #[test]
    fn who_tries_places_one_after_the_other_finds_no_code() {
        let codes = Codes::default();
        let mut places: Vec<u32> = (0..100).map(|_| codes.open(1, None, 0).unwrap()).collect();
        let found = (1..1_000).filter(|place| codes.attempt(*place, 2, 0).is_some()).count();
        assert_eq!(found, 0);
        places.sort_unstable();
        let neighbours = places.windows(2).filter(|pair| pair[1] - pair[0] == 1).count();
        assert!(neighbours < 5 && places.iter().all(|place| place.to_string().len() == 6), "{places:?}");
    }
}
