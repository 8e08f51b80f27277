//! Who takes part in a conversation: accounts with their devices, and how far each has come. One row for each account, so that what one of them has
//! received or read costs the same whatever the number of the others.

mod authors;
mod gone;
mod pace;

use starling_keys::{AccountId, Certificate, DeviceId};

pub use authors::{Authors, Label};

use crate::{
    api::types::{ChatId, ChatMember},
    store::{DeviceRow, MEMBERS, MemberRow, Store},
    turn::{EngineError, Turn},
};

/// A device in a conversation's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub account: AccountId,
    pub device: DeviceId,
}

impl From<&Certificate> for GroupMember {
    fn from(certificate: &Certificate) -> Self {
        Self { account: certificate.account(), device: certificate.device() }
    }
}

/// The members of a conversation.
#[derive(Default)]
pub struct Roster {
    members: Vec<Member>,
    /// Those that take part no longer, the latest last.
    gone: Vec<Member>,
    /// Those whose rows are still to be deleted.
    forgotten: Vec<AccountId>,
}

struct Member {
    account: AccountId,
    row: MemberRow,
    dirty: bool,
}

/// How far what we write has come with all others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Of each other account some device has our events up to this number.
    pub delivered: u64,
    /// Each other account has read up to this clock.
    pub read: u64,
}

impl Progress {
    /// Of the rows of a conversation's members.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a MemberRow>) -> Self {
        let of_one = |member: &MemberRow| Self {
            delivered: member.devices.iter().map(|d| d.acked).max().unwrap_or(0),
            read: member.read,
        };
        let least = |a: Self, b: Self| Self { delivered: a.delivered.min(b.delivered), read: a.read.min(b.read) };
        members.into_iter().filter(|m| !m.own).map(of_one).reduce(least).unwrap_or_default()
    }
}

impl Roster {
    /// Of stored rows.
    pub fn stored(rows: impl IntoIterator<Item = MemberRow>) -> Self {
        let member =
            |row: MemberRow| Some(Member { account: AccountId::from_stored(&row.account).ok()?, row, dirty: false });
        let (gone, members) = rows.into_iter().filter_map(member).partition(|member: &Member| member.row.gone);
        Self { members, gone, forgotten: Vec::new() }
    }

    /// Of a new conversation between our account and others.
    pub fn of(own: AccountId, others: &[AccountId]) -> Self {
        let mut roster = Self::default();
        roster.add(own, true);
        others.iter().for_each(|other| roster.add(*other, false));
        roster
    }

    fn add(&mut self, account: AccountId, own: bool) {
        let row = MemberRow { account: account.as_bytes().to_vec(), own, ..MemberRow::default() };
        self.members.push(Member { account, row, dirty: true });
    }

    /// Devices that have come with an epoch after this one have nothing to do with our events up to a number.
    pub fn begin_after(&mut self, epoch: u64, upto: u64) {
        for member in &mut self.members {
            for device in member.row.devices.iter_mut().filter(|d| d.since_epoch > epoch && d.acked < upto) {
                (device.acked, member.dirty) = (upto, true);
            }
        }
    }

    /// The group was entered again, where other epochs may have the numbers of those that we have counted in.
    pub fn begin_anew(&mut self) {
        for member in &mut self.members {
            for device in member.row.devices.iter_mut().filter(|device| device.since_epoch > 0) {
                (device.since_epoch, member.dirty) = (0, true);
            }
        }
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.members.iter().map(|m| m.account)
    }

    /// Our account.
    pub fn own(&self) -> Option<AccountId> {
        self.members.iter().find(|m| m.row.own).map(|m| m.account)
    }

    /// The accounts other than ours.
    pub fn others(&self) -> impl Iterator<Item = AccountId> {
        self.members.iter().filter(|m| !m.row.own).map(|m| m.account)
    }

    /// The members, as users of the node see them.
    pub fn members(&self) -> Vec<ChatMember> {
        self.members.iter().map(|m| ChatMember { account: m.account, own: m.row.own }).collect()
    }

    pub fn progress(&self) -> Progress {
        Progress::of(self.members.iter().map(|m| &m.row))
    }

    /// Notes that an account has read up to a clock; gives the clock before, if that is new.
    pub fn note_read(&mut self, account: AccountId, clock: u64) -> Option<u64> {
        let member = self.members.iter_mut().find(|m| m.account == account)?;
        let before = member.row.read;
        if clock <= before {
            return None;
        }
        (member.row.read, member.dirty) = (clock, true);
        Some(before)
    }

    /// Notes that each other account has the events of another device of ours up to a number; gives the number before, if that is new.
    pub fn note_delivered(&mut self, own: AccountId, device: &DeviceId, upto: u64) -> Option<u64> {
        let before = self.device(device).map_or(0, |row| row.delivered);
        if upto <= before {
            return None;
        }
        self.device_mut(own, device).delivered = upto;
        Some(before)
    }

    /// What is known of the devices of all.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRow> {
        self.members.iter().flat_map(|m| &m.row.devices)
    }

    /// What is known of a device, if anything is.
    pub fn device(&self, device: &DeviceId) -> Option<&DeviceRow> {
        self.devices().find(|d| d.device == device.as_bytes())
    }

    /// The same, to be changed.
    pub fn known_mut(&mut self, device: &DeviceId) -> Option<&mut DeviceRow> {
        let has = |m: &&mut Member| m.row.devices.iter().any(|d| d.device == device.as_bytes());
        let member = self.members.iter_mut().find(has)?;
        member.dirty = true;
        member.row.devices.iter_mut().find(|d| d.device == device.as_bytes())
    }

    /// What is known of a device of an account, made if needed.
    pub fn device_mut(&mut self, account: AccountId, device: &DeviceId) -> &mut DeviceRow {
        let is_theirs = |m: &Member| m.account == account;
        let at = self.members.iter().position(is_theirs);
        // What comes late of somebody who is gone makes nobody a member.
        let gone = self.gone.iter().position(is_theirs).filter(|_| at.is_none());
        let member = match (at, gone) {
            (Some(at), _) => &mut self.members[at],
            (None, Some(at)) => &mut self.gone[at],
            (None, None) => {
                self.add(account, false);
                let last = self.members.len() - 1;
                &mut self.members[last]
            }
        };
        member.dirty = true;
        let devices = &mut member.row.devices;
        let at = devices.iter().position(|d| d.device == device.as_bytes()).unwrap_or_else(|| {
            devices.push(DeviceRow { device: device.as_bytes().to_vec(), ..DeviceRow::default() });
            devices.len() - 1
        });
        &mut devices[at]
    }

    /// Writes what has changed; gives whether anything had.
    pub fn save(&mut self, turn: &Turn<'_>, store: &Store, chat: ChatId) -> Result<bool, EngineError> {
        let mut changed = !self.forgotten.is_empty();
        for account in self.forgotten.drain(..) {
            turn.delete(MEMBERS, &store.member_key(&chat.0, account.as_bytes()))?;
        }
        for member in self.members.iter_mut().chain(&mut self.gone).filter(|m| m.dirty) {
            member.dirty = false;
            turn.put(MEMBERS, &store.member_key(&chat.0, &member.row.account), &member.row)?;
            changed = true;
        }
        Ok(changed)
    }
}
