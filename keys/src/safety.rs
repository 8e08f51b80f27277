//! Safety numbers: 60 digits by which two people make sure that nobody sits between them.

use std::fmt;

use sha2::{Digest, Sha512};

use crate::AccountId;

/// Iterations of SHA-512, as Signal's numeric fingerprint uses them: about 112 bits against a second preimage.
const ROUNDS: usize = 5200;

/// The safety number of two accounts: the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SafetyNumber(String);

impl SafetyNumber {
    /// Computes the number of two accounts, in any order.
    pub fn of(a: &AccountId, b: &AccountId) -> Self {
        Self::from_halves(&SafetyHalf::of(a), &SafetyHalf::of(b))
    }

    /// The number of two accounts, in any order, from the halves that each contributes.
    pub fn from_halves(a: &SafetyHalf, b: &SafetyHalf) -> Self {
        let mut halves = [a.0.as_str(), b.0.as_str()];
        halves.sort_unstable();
        Self(halves.concat())
    }

    /// The 60 digits without spaces.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafetyNumber {
    /// Twelve groups of five digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in 0..12 {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&self.0[i * 5..i * 5 + 5])?;
        }
        Ok(())
    }
}

/// What one account contributes to all of its safety numbers: 30 digits. Computing it takes thousands of hashes, a millisecond or two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SafetyHalf(String);

impl SafetyHalf {
    /// Computes the half of an account.
    pub fn of(account: &AccountId) -> Self {
        Self(digits_of(account))
    }
}

fn digits_of(account: &AccountId) -> String {
    let mut hash = [b"starling safety number v1".as_slice(), account.as_bytes()].concat();
    for _ in 0..ROUNDS {
        let mut sha = Sha512::new();
        sha.update(&hash);
        sha.update(account.as_bytes());
        hash = sha.finalize().to_vec();
    }
    hash.chunks_exact(5)
        .take(6)
        .map(|c| {
            let n = c.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            format!("{:05}", n % 100_000)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountKey;

    #[test]
    fn both_sides_see_the_same_sixty_digits() {
        let (a, b, c) = (
            AccountKey::from_seed(&[1; 32]).id(),
            AccountKey::from_seed(&[2; 32]).id(),
            AccountKey::from_seed(&[3; 32]).id(),
        );
        let number = SafetyNumber::of(&a, &b);
        assert_eq!(number, SafetyNumber::of(&b, &a));
        assert_ne!(number, SafetyNumber::of(&a, &c));
        assert_eq!(number.digits().len(), 60);
        assert_eq!(number.to_string().len(), 60 + 11);
    }
}
