//! How soon an account may commit to a group again. Whoever makes a commit knows the next epoch's log before the others, and could go on for ever, so
//! that the commit which removes it never comes first.

use starling_keys::AccountId;
use starling_wire::{CommitAuthors, MAX_AUTHORS, Policy};

/// What a commit does, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It renews its author's keys, and nothing else.
    Renewal,
    /// It changes the policy, or brings a device in again in place of its own leaf: that could be done again and again.
    Repeatable,
    /// It removes somebody, or brings in a device that was not there. None of that can be done without end, nor may it be held up.
    Bounded,
}

impl Kind {
    /// Of a commit of this account that changes a policy in this way.
    pub fn of_change(before: &Policy, after: &Policy, author: &AccountId) -> Self {
        // Programs of before, which are in groups without rules, do not ask that.
        if before.rules.is_some() && before == after {
            return Self::Renewal;
        }
        let gone: Vec<_> = before.members.iter().filter(|m| after.member(&m.account).is_none()).collect();
        let of_others = gone.iter().any(|m| m.by != *author.as_bytes());
        // Whom it has let in itself it could remove and let in again, under one name or another. It is letting in that waits: else who is alone with
        // somebody who never comes again could not even remove that one. In groups without rules programs of before are members, for which it waits.
        let lets_in = || after.members.iter().any(|m| before.member(&m.account).is_none());
        let removes = of_others || before.rules.is_some() && !gone.is_empty() && !lets_in();
        let buries = after.tombstones.iter().any(|t| before.tombstone(&t.account, &t.device).is_none());
        if removes || buries { Self::Bounded } else { Self::Repeatable }
    }
}

/// Whether an account has to let others commit first, in a group in which so many accounts have devices.
///
/// Nobody makes more than [`MAX_AUTHORS`] commits in a row. Keys are renewed by one account after the other: none that made one of the last *n* commits
/// makes such a commit again, so that up to *n* accounts that work together do not keep the others from committing. *n* is two less than the accounts
/// that are there, and than those on record: where most are away, the others need not wait for them. Who is added by others is not on record, as it
/// may be away from then on. Where few are on record, an account renews its keys as often in a row as it comes in again, or changes the policy,
/// in any group.
pub(super) fn is_too_soon(authors: &CommitAuthors, accounts: usize, author: &AccountId, kind: Kind) -> bool {
    let made = |of| authors.made_by(author.as_bytes(), of);
    let others = accounts.min(authors.accounts()).saturating_sub(2);
    match kind {
        Kind::Bounded => false,
        Kind::Renewal if made(others) > 0 => true,
        Kind::Renewal | Kind::Repeatable => accounts > 1 && made(MAX_AUTHORS) == MAX_AUTHORS,
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
        let [a, b, c, d] = [(); 4].map(|()| account());
        let too_soon = |commits: &[&AccountId], accounts| is_too_soon(&after(commits), accounts, &a, Kind::Renewal);
        assert!(!too_soon(&[], 10) && !too_soon(&[&a; 16], 1));
        assert!(too_soon(&[&b, &c, &a], 3) && !too_soon(&[&c, &a, &b], 3), "one other");
        assert!(too_soon(&[&d, &c, &a, &b], 4) && !too_soon(&[&d, &a, &b, &c], 4), "two others");
        // Where others are away, and so not on record, nobody waits for them.
        assert!(!too_soon(&[&a, &b, &a], 200) && !too_soon(&[&a; 15], 2));
        assert!(too_soon(&[&a; 16], 2) && too_soon(&[&a; 16], 200), "but not without end");
    }

    #[test]
    fn nothing_is_done_more_often_in_a_row_but_what_has_an_end() {
        let [a, b] = [(); 2].map(|()| account());
        for kind in [Kind::Renewal, Kind::Repeatable] {
            let mut authors = CommitAuthors::default().with(b.as_bytes());
            for _ in 0..MAX_AUTHORS {
                assert!(!is_too_soon(&authors, 2, &a, kind));
                authors = authors.with(a.as_bytes());
            }
            assert!(is_too_soon(&authors, 2, &a, kind) && !is_too_soon(&authors, 2, &a, Kind::Bounded));
            assert!(!is_too_soon(&authors.with(b.as_bytes()), 2, &a, kind));
        }
    }

    fn member(account: &AccountId, by: &AccountId) -> starling_wire::PolicyMember {
        let role = starling_wire::Role::Member;
        starling_wire::PolicyMember { account: *account.as_bytes(), role, by: *by.as_bytes(), since: 1 }
    }

    #[test]
    fn where_many_are_on_record_a_device_comes_in_again_as_often_as_where_nobody_is() {
        let (a, others) = (account(), [(); MAX_AUTHORS].map(|()| account()));
        let mut authors = after(&others.each_ref());
        for _ in 0..MAX_AUTHORS {
            assert!(!is_too_soon(&authors, 200, &a, Kind::Repeatable));
            authors = authors.with(a.as_bytes());
        }
        assert!(is_too_soon(&authors, 200, &a, Kind::Repeatable));
        assert!(is_too_soon(&after(&[&a; MAX_AUTHORS]), 200, &a, Kind::Renewal), "as keys are renewed");
    }

    #[test]
    fn with_rules_what_removes_is_held_up_only_if_it_lets_somebody_in() {
        let [owner, b, c] = [(); 3].map(|()| account());
        let mut policy = Policy::new([1; 16], "ops".into(), *owner.as_bytes());
        policy.add(member(&b, &owner));
        let policy = policy.with_rules(starling_wire::GroupKind::Group);
        let kind = |change: &dyn Fn(&mut Policy)| {
            let mut after = policy.clone();
            change(&mut after);
            Kind::of_change(&policy, &after, &owner)
        };
        assert_eq!(kind(&|p| p.remove(b.as_bytes())), Kind::Bounded);
        assert_eq!(kind(&|p| p.add(member(&c, &owner))), Kind::Repeatable);
        let replaces = |p: &mut Policy| {
            p.remove(b.as_bytes());
            p.add(member(&c, &owner));
        };
        assert_eq!(kind(&replaces), Kind::Repeatable);
    }

    #[test]
    fn what_removes_is_never_held_up_but_of_whom_one_lets_in() {
        let [owner, admin, b, c] = [(); 4].map(|()| account());
        let mut policy = Policy::new([1; 16], "ops".into(), *owner.as_bytes());
        policy.add(member(&admin, &owner));
        policy.add(member(&b, &owner));
        let kind = |author: &AccountId, change: &dyn Fn(&mut Policy)| {
            let mut after = policy.clone();
            change(&mut after);
            Kind::of_change(&policy, &after, author)
        };
        assert_eq!(kind(&admin, &|p| p.remove(b.as_bytes())), Kind::Bounded);
        assert_eq!(kind(&owner, &|p| p.remove(b.as_bytes())), Kind::Repeatable);
        assert_eq!(kind(&admin, &|p| p.add(member(&c, &admin))), Kind::Repeatable);
        let tombstone = starling_wire::Tombstone { account: *b.as_bytes(), device: [7; 32], staying: Vec::new() };
        assert_eq!(kind(&owner, &|p| p.bury(tombstone.clone())), Kind::Bounded);
        assert_eq!(kind(&admin, &|p| p.topic = "anything".into()), Kind::Repeatable);
        // Who brings the policy that is there renews its keys, and no more.
        let with_rules = policy.clone().with_rules(starling_wire::GroupKind::Group);
        assert_eq!(Kind::of_change(&with_rules, &with_rules, &b), Kind::Renewal);
        assert_eq!(kind(&b, &|_| {}), Kind::Repeatable);
    }
}
