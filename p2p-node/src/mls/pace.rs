//! How soon an account may commit to a group again. Whoever makes a commit knows the next epoch's log before the others, and could go on for ever, so
//! that the commit which removes it never comes first.

use starling_keys::AccountId;
use starling_wire::{CommitAuthors, MAX_AUTHORS, Policy};

/// What a commit does, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It renews its author's keys, and nothing else.
    Renewal,
    /// A device comes in again in place of its own leaf.
    Reentry,
    /// It changes the policy, and could be made again and again.
    Change,
    /// It removes somebody, or lets in who has not been in the group: none of that can be done without end, nor may it be held up.
    Bounded,
}

impl Kind {
    /// Of a commit that changes a policy in this way.
    pub fn of_change(before: &Policy, after: &Policy) -> Self {
        let removes = before.members.iter().any(|m| after.member(&m.account).is_none())
            || after.tombstones.iter().any(|t| before.tombstone(&t.account, &t.device).is_none());
        let mut added = after.members.iter().filter(|m| before.member(&m.account).is_none()).peekable();
        let adds = added.peek().is_some() && added.all(|m| !before.removed.contains(&m.account));
        if removes || adds { Self::Bounded } else { Self::Change }
    }
}

/// Whether an account has to let others commit first, in a group in which so many accounts have devices.
///
/// Keys are renewed by one account after the other: none that made one of the last commits, as many as there are others but one, makes such a commit
/// again; so of that many accounts that work together the others are still ahead. What serves its author alone has more room, as a device may have to
/// come in several times while a group is put together again.
pub(super) fn is_too_soon(authors: &CommitAuthors, accounts: usize, author: &AccountId, kind: Kind) -> bool {
    let made = |of| authors.made_by(author.as_bytes(), of);
    match (kind, accounts) {
        (Kind::Bounded, _) | (_, 0..=1) => false,
        (Kind::Renewal, 3..) => made((accounts - 2).min(MAX_AUTHORS)) > 0,
        (Kind::Reentry, _) => made(MAX_AUTHORS) >= MAX_AUTHORS / accounts + 2,
        (Kind::Renewal | Kind::Change, _) => made(MAX_AUTHORS) == MAX_AUTHORS,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::RecoveryPhrase;

    use super::*;

    fn account() -> AccountId {
        RecoveryPhrase::generate().account_key().id()
    }

    fn after(commits: &[&AccountId]) -> CommitAuthors {
        commits.iter().fold(CommitAuthors::default(), |authors, account| authors.with(account.as_bytes()))
    }

    #[test]
    fn whoever_renewed_its_keys_lets_others_go_first() {
        let [a, b, c] = [(); 3].map(|()| account());
        let too_soon = |commits: &[&AccountId], accounts| is_too_soon(&after(commits), accounts, &a, Kind::Renewal);
        assert!(!too_soon(&[], 10) && !too_soon(&[&a; 16], 1));
        assert!(too_soon(&[&a], 3) && !too_soon(&[&a, &b], 3), "one other");
        assert!(too_soon(&[&a, &b], 4) && !too_soon(&[&a, &b, &c], 4), "two others");
        assert!(too_soon(&[&a, &b, &c], 200));
        // Of two one may be away.
        assert!(!too_soon(&[&a; 15], 2) && too_soon(&[&a; 16], 2));
    }

    #[test]
    fn who_comes_in_again_and_again_lets_others_go_first_in_the_end() {
        let [a, b] = [(); 2].map(|()| account());
        for accounts in 2..40 {
            let mut authors = CommitAuthors::default();
            let mut entered = 0;
            while !is_too_soon(&authors, accounts, &a, Kind::Reentry) {
                authors = authors.with(a.as_bytes());
                entered += 1;
            }
            assert_eq!(entered, 16 / accounts + 2);
            assert!(!is_too_soon(&authors, accounts, &a, Kind::Bounded));
            for _ in 0..MAX_AUTHORS {
                authors = authors.with(b.as_bytes());
            }
            assert!(!is_too_soon(&authors, accounts, &a, Kind::Reentry));
        }
    }

    #[test]
    fn what_removes_or_lets_in_new_accounts_is_never_held_up() {
        let [owner, b, c] = [(); 3].map(|()| *account().as_bytes());
        let member =
            |account| starling_wire::PolicyMember { account, role: starling_wire::Role::Member, by: owner, since: 1 };
        let mut policy = Policy::new([1; 16], "ops".into(), owner);
        policy.add(member(b));
        let with = |change: &dyn Fn(&mut Policy)| {
            let mut after = policy.clone();
            change(&mut after);
            Kind::of_change(&policy, &after)
        };
        assert_eq!(with(&|p| p.remove(&b)), Kind::Bounded);
        assert_eq!(with(&|p| p.add(member(c))), Kind::Bounded);
        let tombstone = starling_wire::Tombstone { account: b, device: [7; 32], staying: Vec::new() };
        assert_eq!(with(&|p| p.bury(tombstone.clone())), Kind::Bounded);
        assert_eq!(with(&|p| p.topic = "anything".into()), Kind::Change);
        policy.remove(&b);
        let mut again = policy.clone();
        again.add(member(b));
        assert_eq!(Kind::of_change(&policy, &again), Kind::Change, "in and out could go on for ever");
    }
}
