//! Room for a group's logs. The account that owns them has a budget at their home, which the logs of epochs that are over would fill; its devices
//! delete those that no member needs any more.
//!
//! Who has written in an epoch, or says that it has followed the commit that led there, needs no log before it. Where there is still no room for a
//! commit, the devices that are furthest behind are left behind, as few of them as leave some room: a log that is full gives up what is oldest
//! first. They come back by the group's door, as who was away for longer than a log keeps its entries, and where members acknowledge what they have
//! got its authors write again what was missed. Where they do not, nobody is left behind for others while one of them may be flooding the logs
//! (`writers`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::rendezvous::RequestBody;

use super::limits::{
    DELETED_AT_ONCE, DOOR_WRITTEN_MS, KEPT_LOGS, LEAST_KEPT_LOGS, LEFT_BEHIND_AGAIN_MS, LEFT_BEHIND_FOR_OTHERS_MS,
    MAX_LEFT_BEHIND_BACKOFF, MAX_PAST_LOGS,
};
use crate::{
    api::{problem::ChatProblem, types::TransientEvent},
    contacts::Directory,
    conversation::{
        ChatState, Conversations,
        context::Context,
        group::{GroupEntry, GroupId, LogKeys, log_address},
        limits::ACKNOWLEDGING_ACCOUNTS,
    },
    home::LogPending,
    limits::{DOOR_WAITS_DEVICES, DOORS_EVERY},
    net::HomeId,
    roster::Roster,
    store::{PastLogRow, ReachedRow, WrittenRow},
    turn::Turn,
};

/// What is under way to make room at the home of a group's logs.
#[derive(Default)]
pub struct LogRoom {
    /// Something has changed since it was last looked for logs to delete.
    look: bool,
    /// So many deletions are not answered yet.
    under_way: usize,
    /// Some of the logs were this account's, since the home is up.
    has_deleted: bool,
    /// None were: another account owns them, or another device of ours deletes them.
    is_others: bool,
    /// There was no room for something.
    wanted: Option<WantedBy>,
    /// When devices were left behind last, in steady time.
    left_behind_at: Option<u64>,
    /// How often they were since there was room for a commit.
    in_vain: u32,
    /// A commit of ours waits for room.
    pub waits: bool,
    /// Since when, in steady time.
    waits_since: u64,
}

/// For whose entry there was no room. The last is heard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WantedBy {
    Others,
    Us,
}

impl LogRoom {
    /// The home is up.
    pub(super) fn begin_session(&mut self) {
        (self.look, self.under_way, self.has_deleted, self.is_others) = (true, 0, false, false);
    }

    fn want(&mut self, by: WantedBy) {
        // Another device of ours may have deleted those that this one has tried, and be gone.
        (self.wanted, self.look, self.is_others) = (self.wanted.max(Some(by)), true, false);
    }

    /// Whether devices may be left behind now: a member who finds no room as it floods the log costs others little by that, and neither does a home
    /// that has none for whatever else.
    fn may_leave_behind(&self, now: u64) -> bool {
        let Some(by) = self.wanted else { return false };
        let after = if by == WantedBy::Us { LEFT_BEHIND_AGAIN_MS } else { LEFT_BEHIND_FOR_OTHERS_MS };
        let doubled = self.in_vain.saturating_sub(1).min(MAX_LEFT_BEHIND_BACKOFF);
        self.left_behind_at.is_none_or(|at| at.saturating_add(after << doubled) <= now)
    }

    /// A commit of ours has waited for so long that each way in which members know is of an epoch whose log is kept even so.
    fn is_pressed(&self, now: u64) -> bool {
        self.waits && self.waits_since.saturating_add(DOOR_WRITTEN_MS) <= now
    }

    /// Devices are left behind.
    fn note_left_behind(&mut self, now: u64) {
        (self.left_behind_at, self.in_vain) = (Some(now), self.in_vain.saturating_add(1));
    }
}

/// Epochs of devices, by their ids.
type Epochs<'a> = BTreeMap<&'a [u8], u64>;

fn epoch_of(known: &Epochs<'_>, device: &DeviceId) -> u64 {
    known.get(&device.as_bytes()[..]).copied().unwrap_or_default()
}

/// The first epoch whose log is needed: none of those before it are by devices that have come to `left_behind`. `needs` are in order.
fn first_needed(needs: &[u64], newest: u64, left_behind: u64) -> u64 {
    needs.iter().copied().find(|from| *from >= left_behind).unwrap_or(newest).min(newest)
}

impl GroupEntry {
    /// The log of an epoch that is over, or a door that begins with none any more, may be deleted some day.
    fn note_past_log(&mut self, epoch: u64, address: [u8; 32], written: Option<WrittenRow>) {
        if self.row.past_logs.iter().any(|log| log.address == address) {
            return;
        }
        self.row.past_logs.push(PastLogRow { epoch, address: address.to_vec(), written });
        // What is forgotten expires.
        let over = self.row.past_logs.len().saturating_sub(MAX_PAST_LOGS);
        self.row.past_logs.drain(..over);
        self.touch();
    }

    /// Another door takes the place of this one. It goes before the log of the epoch that it leads into: who reads it then would begin that log
    /// anew.
    pub(in crate::conversation) fn note_past_door(&mut self) {
        let door = self.row.door.as_ref().and_then(|door| LogKeys::of_secret(&door.secret));
        // Of logs of other accounts nothing is noted.
        if let Some(door) = door.filter(|_| self.row.ours || !self.row.past_logs.is_empty()) {
            self.note_past_log(self.epoch().saturating_sub(1), door.address, None);
        }
    }

    /// What may be deleted some day, of a group that this device enters again: the logs that are noted, and those that it has read.
    pub(in crate::conversation) fn logs_before_entering(&self) -> Vec<PastLogRow> {
        let (noted, ours) = (&self.row.past_logs, self.row.ours);
        let read = self.logs.iter().filter(|_| ours || !noted.is_empty());
        let read = read.filter_map(|log| {
            let address = log_address(log)?.to_vec();
            Some(PastLogRow { epoch: log.epoch, address, written: log.written.clone() })
        });
        noted.iter().cloned().chain(read).collect()
    }

    /// A member has made a commit in this epoch.
    pub(in crate::conversation) fn note_reached(&mut self, device: Option<DeviceId>) {
        let Some(device) = device else { return };
        let epoch = self.epoch();
        match self.row.reached.iter_mut().find(|row| row.device == device.as_bytes()) {
            Some(row) => row.epoch = row.epoch.max(epoch),
            None => self.row.reached.push(ReachedRow { device: device.as_bytes().to_vec(), epoch }),
        }
        if self.row.reached.len() > 2 * self.members.len().max(8) {
            let members: BTreeSet<&[u8]> = self.members.iter().map(|m| &m.device.as_bytes()[..]).collect();
            self.row.reached.retain(|row| members.contains(&row.device[..]));
        }
    }

    /// The group goes back to an epoch: how far members have come on the way that is left says nothing of the other.
    pub(in crate::conversation) fn go_back_to(&mut self, epoch: u64) {
        for row in &mut self.row.reached {
            row.epoch = row.epoch.min(epoch);
        }
        self.touch();
    }

    fn stored_epochs(&self) -> Epochs<'_> {
        self.row.reached.iter().map(|row| (&row.device[..], row.epoch)).collect()
    }

    /// The newest epoch that each member is known to have come to, as it is stored while there are logs to delete.
    pub(in crate::conversation) fn reached(&self) -> Vec<ReachedRow> {
        if self.row.past_logs.is_empty() {
            return Vec::new();
        }
        let stored = self.stored_epochs();
        let row = |device: DeviceId| {
            let epoch = self.forks.newest_of(&device).max(epoch_of(&stored, &device));
            (epoch > 0).then(|| ReachedRow { device: device.as_bytes().to_vec(), epoch })
        };
        self.members.iter().filter_map(|member| row(member.device)).collect()
    }

    /// From which epochs on the other devices of the group need its logs, in order.
    fn needs(&self, own: &DeviceId, roster: &Roster) -> Vec<u64> {
        let since: Epochs<'_> = roster.devices().map(|row| (&row.device[..], row.since_epoch)).collect();
        let stored = self.stored_epochs();
        let others = self.members.iter().map(|member| member.device).filter(|device| device != own);
        let need = |device: DeviceId| {
            self.forks.newest_of(&device).max(epoch_of(&stored, &device)).max(epoch_of(&since, &device))
        };
        let mut needs: Vec<u64> = others.map(need).collect();
        needs.sort_unstable();
        needs
    }

    /// Logs that are read, and the door: after a fork those of before may be used again.
    fn used_logs(&self) -> Vec<[u8; 32]> {
        let door = self.row.door.as_ref().and_then(|door| LogKeys::of_secret(&door.secret));
        self.logs.iter().filter_map(log_address).chain(door.map(|door| door.address)).collect()
    }

    /// Of how many of the last epochs the logs are kept. Where not each of them has a door it may be older, also if whoever was to write the last one
    /// is gone: a log that is deleted would be begun anew by whoever comes by it.
    fn kept_logs(&self) -> u64 {
        if self.members.len() > DOOR_WAITS_DEVICES { KEPT_LOGS + DOORS_EVERY } else { KEPT_LOGS }
    }

    /// Whether a member has shown to be in none of the epochs whose logs are kept in any case: it may be left behind, or has not come yet.
    pub(in crate::conversation) fn may_be_left_behind(&self, device: &DeviceId) -> bool {
        let newest = self.forks.newest_of(device);
        newest == 0 || newest.saturating_add(self.kept_logs()) < self.epoch()
    }

    /// Whether nobody is left behind for others who find no room. Where authors do not write again what was missed that costs messages: so not while
    /// one of them may be flooding the logs, or they are not read to their end.
    fn keeps_what_others_miss(&self, roster: &Roster) -> bool {
        let is_large = roster.accounts().count() > ACKNOWLEDGING_ACCOUNTS;
        let is_read = self.read.caught_up && self.read.under_way.is_empty();
        is_large && (!is_read || self.is_flooded(roster.own()))
    }

    /// The logs that are deleted next, some at a time. Those of the last epochs are kept: a fork may lead back to them, and the way into the group
    /// may be of one of them.
    fn logs_to_delete(&mut self, now: u64, own: &DeviceId, roster: &Roster) -> Vec<[u8; 32]> {
        let needs = self.needs(own, roster);
        // A group that cannot be changed is worse than a fork that is healed by another group.
        let kept = if self.room.is_pressed(now) { LEAST_KEPT_LOGS } else { self.kept_logs() };
        let newest = self.epoch().saturating_sub(kept);
        let mut first = first_needed(&needs, newest, self.row.left_behind);
        let used = self.used_logs();
        let goes = |log: &PastLogRow, first: u64| {
            log.epoch.saturating_add(1) < first && !used.iter().any(|address| log.address == *address)
        };
        let may_leave_behind = self.room.may_leave_behind(now)
            && !(self.room.wanted == Some(WantedBy::Others) && self.keeps_what_others_miss(roster));
        if !self.row.past_logs.iter().any(|log| goes(log, first)) && may_leave_behind {
            // A quarter of them, and all that the same devices alone need.
            let quarter = self.row.past_logs.get(self.row.past_logs.len() / 4);
            let upto = quarter.map_or(0, |log| log.epoch.saturating_add(2)).min(newest);
            if upto > first {
                tracing::info!(
                    group = self.id[0],
                    "there is no room for a group's logs: devices that are far behind enter it again"
                );
                first = first_needed(&needs, newest, upto);
                self.row.left_behind = first;
                self.room.note_left_behind(now);
                self.touch();
            }
        }
        self.room.wanted = None;
        let chosen = self.row.past_logs.iter().filter(|log| goes(log, first));
        chosen.filter_map(|log| log.address.as_slice().try_into().ok()).take(DELETED_AT_ONCE).collect()
    }
}

impl Conversations {
    /// Stops following those of a group's logs in which nobody writes any more.
    pub(in crate::conversation) fn leave_ended_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let left = self.groups.leave_ended_logs(turn, cx, id);
        let may_own = self.may_own_logs(cx, id);
        let Some(entry) = self.groups.get_mut(&id).filter(|_| may_own) else { return };
        for log in &left {
            if let Some(address) = log_address(log) {
                entry.note_past_log(log.epoch, address, log.written.clone());
            }
        }
        entry.room.look = true;
    }

    /// Whether the logs of a group may be our account's, which then deletes them: no log says whose it is.
    pub(super) fn may_own_logs(&self, cx: &Context<'_>, id: GroupId) -> bool {
        let home = self.groups.home_of(id).and_then(|home| cx.homes.servers.get(&home));
        home.is_some_and(|home| home.own) && self.has_policy(id)
    }

    /// Deletes logs of a group that are not needed any more, if they are our account's.
    pub(super) fn make_log_room(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let looks = |entry: &GroupEntry| {
            let room = &entry.room;
            let is_idle = room.under_way == 0 && !room.is_others;
            room.look && is_idle && !entry.row.dead && !entry.row.past_logs.is_empty()
        };
        let Some(chat) = self.groups.get(&id).filter(|entry| looks(entry)).and_then(GroupEntry::chat) else { return };
        let home = self.groups.home_of(id).filter(|home| cx.homes.is_registered(home) && cx.homes.is_up(home));
        let Some((home, state)) = home.zip(self.chats.get(&chat)) else { return };
        let Some(entry) = self.groups.entries.get_mut(&id) else { return };
        entry.room.look = false;
        let chosen = entry.logs_to_delete(turn.now(), &cx.dir.account.device(), &state.roster);
        entry.room.under_way = chosen.len();
        for address in chosen {
            let ask = RequestBody::DeleteLog(Bytes::copy_from_slice(&address));
            cx.homes.request(turn, home, ask, LogPending::Delete(id, address));
        }
    }

    /// A log is deleted: by us, or it was not there, or is another account's. After the last one what has found no room is tried again.
    pub(crate) fn log_deleted(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, address): (GroupId, [u8; 32]),
        by_us: bool,
    ) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        entry.row.past_logs.retain(|log| log.address != address);
        entry.touch();
        entry.room.under_way = entry.room.under_way.saturating_sub(1);
        entry.room.has_deleted |= by_us;
        entry.room.is_others = !entry.room.has_deleted && !entry.row.ours;
        if entry.room.under_way > 0 {
            return;
        }
        entry.room.look = true;
        if entry.room.waits {
            entry.append.retry_at = 0;
            self.read_logs(turn, cx, id);
        }
    }

    /// It is not, for now.
    pub(crate) fn log_not_deleted(&mut self, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.room.under_way = entry.room.under_way.saturating_sub(1);
        }
    }

    /// There was no room for an entry of ours, which may be a commit.
    pub(crate) fn on_full(&mut self, turn: &mut Turn<'_>, id: GroupId, is_commit: bool) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        entry.room.want(WantedBy::Us);
        if is_commit && !std::mem::replace(&mut entry.room.waits, true) {
            entry.room.waits_since = turn.now();
            turn.transient_event(TransientEvent::Net);
        }
    }

    /// There is room for commits of ours.
    pub(in crate::conversation) fn on_room(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        entry.room.in_vain = 0;
        if std::mem::take(&mut entry.room.waits) {
            turn.transient_event(TransientEvent::Net);
        }
    }

    /// The home of a log had no room for what another member has appended.
    pub(crate) fn on_full_for_others(&mut self, home: HomeId, address: &[u8]) {
        let log = <[u8; 32]>::try_from(address).ok().and_then(|address| self.groups.logs.get(&address).copied());
        let Some((id, _)) = log.filter(|(id, _)| self.groups.home_of(*id) == Some(home)) else { return };
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.room.want(WantedBy::Others);
        }
    }

    /// What keeps something that was written in a conversation here, if anything does.
    pub(in crate::conversation) fn problem_of(&self, dir: Directory<'_>, state: &ChatState) -> Option<ChatProblem> {
        let barred = || self.is_held(dir, state).then_some(ChatProblem::RemovedMember);
        let waits = || self.groups.groups_of(state).any(|(_, group)| group.room.waits && !group.row.dead);
        let too_new = || self.needs_update(state.id).then_some(ChatProblem::NeedsUpdate);
        state.problem.or_else(too_new).or_else(barred).or_else(|| waits().then_some(ChatProblem::LogFull))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{AccountId, AccountKey, DeviceKey};

    use super::*;
    use crate::{
        conversation::group::GroupMember,
        store::{DoorRow, GroupRow, LogRow},
    };

    #[test]
    fn what_the_furthest_behind_needs_is_kept_until_it_is_left_behind() {
        // One was never heard of, others are where the group is, which is in epoch 40.
        let needs = [0, 25, 39, 40];
        let newest = 40 - KEPT_LOGS;
        assert_eq!(first_needed(&needs, newest, 0), 0);
        assert_eq!(first_needed(&needs, newest, 12), 25);
        assert_eq!(first_needed(&needs, newest, 30), newest, "the last ones are kept for everybody");
        assert_eq!(first_needed(&[], newest, 0), newest);
    }

    #[test]
    fn who_has_come_far_on_a_way_that_is_left_needs_the_logs_of_the_other() {
        let device = |n: u8| DeviceKey::from_seed(&[n; 32]).id();
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), Vec::new());
        let row = |n: u8, epoch| ReachedRow { device: device(n).as_bytes().to_vec(), epoch };
        entry.row.reached = vec![row(1, 40), row(2, 30)];
        entry.go_back_to(36);
        let known = entry.stored_epochs();
        assert_eq!([1, 2].map(|n| epoch_of(&known, &device(n))), [36, 30]);
    }

    #[test]
    fn who_enters_a_group_again_still_knows_which_logs_to_delete() {
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), Vec::new());
        let mut log = LogRow::default();
        (log.epoch, log.address) = (9, vec![9; 32]);
        entry.put_log(log);
        assert!(entry.logs_before_entering().is_empty(), "they are another account's");
        entry.note_past_log(8, [8; 32], None);
        let logs = entry.logs_before_entering();
        assert_eq!(logs.iter().map(|log| (log.epoch, log.address[0])).collect::<Vec<_>>(), [(8, 8), (9, 9)]);
    }

    #[test]
    fn the_door_of_before_is_not_deleted_where_it_is_used_again() {
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), Vec::new());
        let mut log = LogRow::default();
        (log.epoch, log.address) = (40, vec![40; 32]);
        entry.put_log(log);
        let secret = vec![7; 32];
        let door = LogKeys::of_secret(&secret).unwrap().address;
        entry.note_past_log(3, [3; 32], None);
        entry.note_past_log(4, door, None);
        let (own, account) = (DeviceKey::from_seed(&[1; 32]).id(), AccountKey::from_seed(&[2; 32]).id());
        let roster = Roster::of(account, &[]);
        assert_eq!(entry.logs_to_delete(0, &own, &roster), [[3; 32], door]);
        entry.row.door = Some(DoorRow { secret, due: false, sequence: 0 });
        assert_eq!(entry.logs_to_delete(0, &own, &roster), [[3; 32]]);
    }

    /// A group in epoch 20 whose logs one of so many accounts floods, and in which a device was never heard of.
    fn flooded(accounts: u8) -> (GroupEntry, DeviceId, Roster) {
        let device = |n: u8| DeviceKey::from_seed(&[n; 32]).id();
        let account = |n: u8| AccountKey::from_seed(&[n; 32]).id();
        let member = |n: u8| GroupMember { account: account(n), device: device(n) };
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), vec![member(1), member(2)]);
        let mut log = LogRow::default();
        (log.epoch, log.address) = (20, vec![20; 32]);
        entry.put_log(log);
        for n in 1..20 {
            entry.note_past_log(n.into(), [n; 32], None);
        }
        entry.note_entry(20, Some(account(2)), 50_000);
        (entry.read.caught_up, entry.room.wanted) = (true, Some(WantedBy::Others));
        let others: Vec<AccountId> = (2..=accounts).map(account).collect();
        (entry, device(1), Roster::of(account(1), &others))
    }

    #[test]
    fn nobody_is_left_behind_for_a_member_who_floods_where_that_costs_messages() {
        let large = ACKNOWLEDGING_ACCOUNTS as u8 + 1;
        let (mut entry, own, roster) = flooded(large);
        assert!(entry.logs_to_delete(0, &own, &roster).is_empty());
        assert_eq!(entry.row.left_behind, 0);
        // What this device wants itself is no flood.
        entry.room.wanted = Some(WantedBy::Us);
        assert!(!entry.logs_to_delete(0, &own, &roster).is_empty());
        // In small groups authors write again what was missed.
        let (mut entry, own, roster) = flooded(large - 1);
        assert!(!entry.logs_to_delete(0, &own, &roster).is_empty());
        // Others have written as well.
        let (mut entry, own, roster) = flooded(large);
        for n in 3..=16 {
            entry.note_entry(20, Some(AccountKey::from_seed(&[n; 32]).id()), 50_000);
        }
        entry.read.caught_up = false;
        assert!(entry.logs_to_delete(0, &own, &roster).is_empty(), "it may not have read of a flood yet");
        (entry.read.caught_up, entry.room.wanted) = (true, Some(WantedBy::Others));
        assert!(!entry.logs_to_delete(0, &own, &roster).is_empty());
    }

    #[test]
    fn devices_are_left_behind_seldom_and_more_seldom_for_others() {
        let mut room = LogRoom::default();
        assert!(!room.may_leave_behind(0), "nobody lacks room");
        room.is_others = true;
        room.want(WantedBy::Others);
        assert!(room.may_leave_behind(0) && !room.is_others);
        room.left_behind_at = Some(0);
        assert!(!room.may_leave_behind(LEFT_BEHIND_AGAIN_MS));
        assert!(room.may_leave_behind(LEFT_BEHIND_FOR_OTHERS_MS));
        room.want(WantedBy::Us);
        room.want(WantedBy::Others);
        assert!(!room.may_leave_behind(LEFT_BEHIND_AGAIN_MS - 1));
        assert!(room.may_leave_behind(LEFT_BEHIND_AGAIN_MS));
    }

    #[test]
    fn where_that_makes_no_room_devices_are_left_behind_more_and_more_seldom() {
        let mut room = LogRoom::default();
        room.want(WantedBy::Us);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..3 {
            room.note_left_behind(now);
            let from = now;
            while !room.may_leave_behind(now) {
                now += LEFT_BEHIND_AGAIN_MS;
            }
            waits.push((now - from) / LEFT_BEHIND_AGAIN_MS);
        }
        assert_eq!(waits, [1, 2, 4]);
        for _ in 0..100 {
            room.note_left_behind(now);
        }
        let day = 86_400_000;
        assert!(!room.may_leave_behind(now + day / 2) && room.may_leave_behind(now + day));
    }
}
