//! Slow mode: how soon an account writes again. All members come to the same, from the order of the log and the stamps in it.

use starling_keys::AccountId;

use super::Roster;

/// So many messages may come too soon: devices of one account do not always know of each other's.
const TOLERATED: u64 = 2;

impl Roster {
    /// For how many milliseconds an account has to wait at a time (milliseconds since 1970) before it writes again.
    pub fn waits(&self, account: AccountId, now_ms: u64, slow_ms: u64) -> u64 {
        let member = self.members.iter().find(|m| m.account == account);
        let next = member.map(|m| m.row.paced_ms).filter(|paced| *paced > 0).map(|paced| paced.saturating_add(slow_ms));
        next.map_or(0, |next| next.saturating_sub(now_ms))
    }

    /// An account has written a message with this stamp (milliseconds since 1970), in an epoch: with each it begins anew, as those who have come with
    /// it know nothing of what was before. `false` if it counts for nobody, as too many have come too soon.
    pub fn keeps_pace(&mut self, account: AccountId, epoch: u64, at_ms: u64, slow_ms: u64) -> bool {
        let before = self.paced(account, epoch);
        let Some(member) = self.members.iter_mut().find(|m| m.account == account) else { return true };
        let Some(due) = next_pace(before, at_ms, slow_ms) else { return false };
        (member.row.paced_ms, member.row.paced_epoch, member.dirty) = (due, epoch, true);
        true
    }

    /// Whether the last of messages with these stamps would count if the log had them next, in this order. Nothing is noted.
    pub fn would_keep_pace(&self, account: AccountId, epoch: u64, stamps: &[u64], slow_ms: u64) -> bool {
        let (mut before, mut counts) = (self.paced(account, epoch), true);
        for at_ms in stamps {
            let due = next_pace(before, *at_ms, slow_ms);
            (counts, before) = (due.is_some(), due.or(before));
        }
        counts
    }

    /// The time from which an account waits, if it has written something in this epoch.
    fn paced(&self, account: AccountId, epoch: u64) -> Option<u64> {
        let member = self.members.iter().find(|m| m.account == account)?;
        (member.row.paced_epoch == epoch && member.row.paced_ms > 0).then_some(member.row.paced_ms)
    }
}

/// The time from which an account waits after a message with this stamp; none if it has come too soon.
fn next_pace(before: Option<u64>, at_ms: u64, slow_ms: u64) -> Option<u64> {
    let due = before.map_or(at_ms, |before| before.saturating_add(slow_ms).max(at_ms));
    (due - at_ms <= slow_ms.saturating_mul(TOLERATED)).then_some(due)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::RecoveryPhrase;

    use super::*;

    #[test]
    fn who_writes_too_fast_is_not_heard_until_it_has_waited() {
        let [own, other] = [(); 2].map(|()| RecoveryPhrase::generate().account_key().id());
        let mut roster = Roster::of(own, &[other]);
        assert_eq!(roster.waits(other, 100_000, 30_000), 0);
        let taken: Vec<bool> = (0..6).map(|n| roster.keeps_pace(other, 7, 100_000 + n * 1_000, 30_000)).collect();
        assert_eq!(taken, [true, true, true, false, false, false]);
        assert_eq!(roster.waits(other, 110_000, 30_000), 80_000);
        assert!(roster.keeps_pace(other, 7, 200_000, 30_000), "it has waited");
        assert!(roster.keeps_pace(own, 7, 100_000, 30_000), "each account for itself");
        // Who has come with the next epoch knows nothing of it.
        let mut newcomer = Roster::of(own, &[other]);
        for n in 0..4 {
            let at = 201_000 + n;
            assert_eq!(roster.keeps_pace(other, 8, at, 30_000), newcomer.keeps_pace(other, 8, at, 30_000));
        }
    }

    #[test]
    fn what_is_not_in_the_log_yet_is_judged_as_if_it_came_next() {
        let [own, other] = [(); 2].map(|()| RecoveryPhrase::generate().account_key().id());
        let mut roster = Roster::of(own, &[other]);
        let would = |roster: &Roster, stamps: &[u64]| roster.would_keep_pace(other, 7, stamps, 30_000);
        let stamps = [100_000, 101_000, 102_000, 103_000];
        assert_eq!([1, 2, 3, 4].map(|count| would(&roster, &stamps[..count])), [true, true, true, false]);
        assert!(would(&roster, &[100_000, 101_000, 102_000, 200_000]), "it has waited");
        for at in &stamps[..3] {
            assert!(roster.keeps_pace(other, 7, *at, 30_000), "nothing was noted before");
        }
        assert!(!would(&roster, &[103_000]) && would(&roster, &[250_000]));
        assert!(roster.would_keep_pace(other, 8, &[103_000], 30_000), "another epoch");
    }
}
