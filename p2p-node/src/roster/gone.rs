//! Accounts that take part no longer, and come again. Where a server has split a group, a device may come to a place where others are not yet: when they
//! come, what they have sent and acknowledged before is known, so that nothing is taken twice, and what they lack is given to them.

use starling_keys::AccountId;

use super::{Member, Roster};
use crate::store::MemberRow;

/// Of so many that are gone it is known what they have sent: of more, those that went first are as new if they come again.
const MAX_GONE: usize = 64;

impl Roster {
    /// Another account takes part, as a member `since` this epoch, and has to do with nothing that was read before this clock. Gives whether it is the
    /// member that it was before: then what it has read and acknowledged is known.
    pub fn join(&mut self, account: AccountId, read: u64, since: Option<u64>) -> bool {
        if self.accounts().any(|known| known == account) {
            return false;
        }
        self.forgotten.retain(|forgotten| *forgotten != account);
        let Some(at) = self.gone.iter().position(|member| member.account == account) else {
            let row = MemberRow { account: account.as_bytes().to_vec(), read, since, ..MemberRow::default() };
            self.members.push(Member { account, row, dirty: true });
            return false;
        };
        let mut member = self.gone.remove(at);
        let is_same = since.is_some() && member.row.since == since;
        for device in &mut member.row.devices {
            (device.since_epoch, device.told) = (0, 0);
            device.begins |= !is_same;
        }
        if !is_same {
            member.row.read = read;
        }
        (member.row.since, member.row.gone, member.dirty) = (since, false, true);
        self.members.push(member);
        is_same
    }

    /// An account takes part no longer.
    pub fn remove(&mut self, account: &AccountId) {
        let Some(at) = self.members.iter().position(|member| member.account == *account) else { return };
        let mut member = self.members.remove(at);
        (member.row.gone, member.dirty) = (true, true);
        self.gone.push(member);
        let surplus = self.gone.len().saturating_sub(MAX_GONE);
        self.forgotten.extend(self.gone.drain(..surplus).map(|member| member.account));
    }

    /// Notes since when accounts are members, as the policy has them now.
    pub fn note_since(&mut self, since: impl Fn(&AccountId) -> Option<u64>) {
        for member in self.members.iter_mut().filter(|member| !member.row.own) {
            let since = since(&member.account);
            member.dirty |= member.row.since != since;
            member.row.since = since;
        }
    }

    /// Our events up to this number were acknowledged by all devices of an account.
    pub fn acked_by(&self, account: &AccountId) -> u64 {
        let member = self.members.iter().find(|member| member.account == *account);
        member.into_iter().flat_map(|member| &member.row.devices).map(|device| device.acked).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::{AccountKey, DeviceId, DeviceKey};

    use super::*;

    fn account(n: u8) -> AccountId {
        AccountKey::from_seed(&[n; 32]).id()
    }

    fn phone() -> DeviceId {
        DeviceKey::from_seed(&[9; 32]).id()
    }

    /// We, and somebody who is a member since epoch 3, has sent seven events, and has acknowledged five.
    fn roster() -> Roster {
        let mut roster = Roster::of(account(1), &[]);
        assert!(!roster.join(account(2), 0, Some(3)));
        let row = roster.device_mut(account(2), &phone());
        (row.received, row.acked, row.last) = (7, 5, 7);
        roster
    }

    #[test]
    fn who_was_not_where_we_were_is_given_what_it_lacks_and_sends_nothing_twice() {
        let mut roster = roster();
        roster.remove(&account(2));
        assert_eq!(roster.others().count(), 0);
        // Also in the next run.
        let rows: Vec<MemberRow> = roster.members.iter().chain(&roster.gone).map(|member| member.row.clone()).collect();
        let mut roster = Roster::stored(rows);
        assert!(roster.join(account(2), 0, Some(3)));
        let row = roster.device(&phone()).cloned().unwrap_or_default();
        assert_eq!((row.received, row.acked, row.begins), (7, 5, false));
        assert_eq!(roster.acked_by(&account(2)), 5);
    }

    #[test]
    fn who_was_removed_and_is_let_in_again_is_another_member_and_sends_nothing_twice() {
        let mut roster = roster();
        roster.remove(&account(2));
        roster.note_since(|_| Some(8));
        assert!(!roster.join(account(2), 0, Some(8)));
        let row = roster.device(&phone()).cloned().unwrap_or_default();
        assert_eq!((row.received, row.begins), (7, true));
    }

    #[test]
    fn of_many_who_are_gone_those_that_went_first_are_forgotten() {
        let mut roster = Roster::of(account(255), &[]);
        for n in 0..=MAX_GONE as u8 {
            roster.join(account(n), 0, Some(1));
            roster.remove(&account(n));
        }
        assert_eq!((roster.gone.len(), &roster.forgotten[..]), (MAX_GONE, &[account(0)][..]));
        roster.join(account(0), 0, Some(1));
        assert!(roster.forgotten.is_empty(), "its row is written anew");
    }
}
