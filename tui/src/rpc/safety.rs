//! Safety numbers, each computed once: a list of contacts has one for every contact, and each takes thousands of hashes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use starling_keys::{AccountId, SafetyHalf, SafetyNumber};

/// The halves of safety numbers that were computed: as many as there are contacts.
#[derive(Default)]
pub struct SafetyNumbers(Mutex<HashMap<AccountId, SafetyHalf>>);

impl SafetyNumbers {
    /// The safety number of two accounts. Blocks for a millisecond or two for each account that is new.
    pub fn of(&self, a: &AccountId, b: &AccountId) -> SafetyNumber {
        SafetyNumber::from_halves(&self.half(a), &self.half(b))
    }

    fn half(&self, account: &AccountId) -> SafetyHalf {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(half) = known().get(account) {
            return half.clone();
        }
        // Outside of the lock: others may want one that is known.
        let half = SafetyHalf::of(account);
        known().insert(*account, half.clone());
        half
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::AccountKey;

    use super::*;

    #[test]
    fn a_number_is_the_same_the_first_and_the_second_time() {
        let [a, b] = [1, 2].map(|seed| AccountKey::from_seed(&[seed; 32]).id());
        let numbers = SafetyNumbers::default();
        let expected = SafetyNumber::of(&a, &b);
        assert_eq!([numbers.of(&a, &b), numbers.of(&b, &a)], [expected.clone(), expected]);
    }
}
