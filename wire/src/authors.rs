//! Who has made the last commits of a group. Every member has the same record, in the group's context.

use std::collections::BTreeSet;

/// Commits whose authors are on record.
pub const MAX_AUTHORS: usize = 16;
/// Bytes of an account's id that are kept: as hard to meet by another account as a key is.
const TAG: usize = 16;

/// The accounts that have made a group's last commits, the latest last: at most [`MAX_AUTHORS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitAuthors(Vec<[u8; TAG]>);

fn tag(account: &[u8; 32]) -> [u8; TAG] {
    std::array::from_fn(|at| account[at])
}

impl CommitAuthors {
    /// With one more commit, by this account.
    #[must_use]
    pub fn with(&self, account: &[u8; 32]) -> Self {
        let kept = self.0.len().saturating_sub(MAX_AUTHORS - 1);
        let tags = self.0.iter().skip(kept).copied().chain([tag(account)]);
        Self(tags.collect())
    }

    /// How many of the last `of` commits an account has made.
    pub fn made_by(&self, account: &[u8; 32], of: usize) -> usize {
        let tag = tag(account);
        self.0.iter().rev().take(of).filter(|author| **author == tag).count()
    }

    /// How many accounts have made them.
    pub fn accounts(&self) -> usize {
        self.0.iter().collect::<BTreeSet<_>>().len()
    }

    /// How many commits in a row somebody has made, up to the latest; 0 if that is by this account.
    pub fn in_a_row_by_another(&self, account: &[u8; 32]) -> usize {
        let Some(last) = self.0.last().filter(|last| **last != tag(account)) else { return 0 };
        self.0.iter().rev().take_while(|author| *author == last).count()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// `None` if these are not whole tags, or too many.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tags, rest) = bytes.as_chunks();
        (rest.is_empty() && tags.len() <= MAX_AUTHORS).then(|| Self(tags.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: [u8; 32] = [1; 32];
    const BOB: [u8; 32] = [2; 32];

    #[test]
    fn the_latest_authors_are_kept() {
        let mut authors = CommitAuthors::default().with(&BOB);
        for n in 1..=20 {
            authors = authors.with(&ALICE);
            let of_bob = usize::from(n < MAX_AUTHORS);
            assert_eq!(authors.made_by(&BOB, MAX_AUTHORS), of_bob);
            assert_eq!(authors.made_by(&ALICE, MAX_AUTHORS), n.min(MAX_AUTHORS));
            assert_eq!((authors.made_by(&BOB, n), authors.made_by(&ALICE, 1)), (0, 1));
            assert_eq!(authors.in_a_row_by_another(&BOB), n.min(MAX_AUTHORS));
            assert_eq!((authors.in_a_row_by_another(&ALICE), authors.accounts()), (0, 1 + of_bob));
            assert_eq!(CommitAuthors::from_bytes(&authors.to_bytes()), Some(authors.clone()));
        }
    }

    #[test]
    fn what_are_no_tags_is_refused() {
        assert_eq!(CommitAuthors::from_bytes(&[]), Some(CommitAuthors::default()));
        for length in [1, TAG - 1, TAG + 1, TAG * (MAX_AUTHORS + 1)] {
            assert_eq!(CommitAuthors::from_bytes(&vec![0; length]), None);
        }
    }
}
