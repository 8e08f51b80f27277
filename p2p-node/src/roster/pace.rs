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
        let Some(member) = self.members.iter_mut().find(|m| m.account == account) else { return true };
        let row = &mut member.row;
        let before = (row.paced_epoch == epoch && row.paced_ms > 0).then(|| row.paced_ms.saturating_add(slow_ms));
        let due = before.map_or(at_ms, |before| before.max(at_ms));
        if due - at_ms > slow_ms.saturating_mul(TOLERATED) {
            return false;
        }
        (row.paced_ms, row.paced_epoch, member.dirty) = (due, epoch, true);
        true
    }
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
}
