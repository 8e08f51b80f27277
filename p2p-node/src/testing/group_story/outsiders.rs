//! Who is not in a group reads nothing of what is written there, whatever its device has kept.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_wire::LogContent;

use super::{Story, quiet::Agreed};
use crate::{
    api::types::{ChatId, MessageId},
    conversation::group::LogKeys,
    limits::MAX_CLOCK_AHEAD_MS,
    mls::{GroupId, Processed},
    testing::world::Who,
};

/// What begins so was written when nobody else was there.
pub(super) const AT_LAST: &str = "end ";

/// What was appended to a group's log: as it is there, and the MLS messages in it.
struct Logged {
    sealed: Vec<Bytes>,
    messages: Vec<Bytes>,
}

impl Story {
    /// Tries to read with the devices of all others what was `appended` to logs in the end. Gives whether one of them was a copy of the hostile
    /// member's.
    pub(super) fn nobody_else_reads(&mut self, groups: &[Agreed], appended: &[Bytes], hostile_is_out: bool) -> bool {
        for group in groups {
            let logged = self.logged(group, appended);
            for who in self.everybody() {
                if !group.devices.contains(&self.world.of(who).device) {
                    self.reads_nothing(who, group.chat, &logged);
                    self.has_seen_nothing_since(who, group);
                }
            }
        }
        self.copy_reads_nothing(groups, appended, hostile_is_out)
    }

    /// Nor does the copy of the hostile member's profile from before its removal, or come back: last, as it takes the place of the device
    /// itself. Gives whether there is one, and something to read.
    fn copy_reads_nothing(&mut self, groups: &[Agreed], appended: &[Bytes], hostile_is_out: bool) -> bool {
        for group in groups.iter().filter(|group| hostile_is_out && group.chat == self.root()) {
            let theirs = self.everybody().into_iter().filter(|who| self.is_hostiles(*who));
            let left: Vec<Who> = theirs.filter(|who| group.devices.contains(&self.world.people[*who].device)).collect();
            assert!(left.is_empty(), "seed {}: {left:?} was removed, and is still there", self.seed);
        }
        let copy = self.hostile.as_ref().filter(|_| hostile_is_out).and_then(|hostile| hostile.copy);
        let Some(copy) = copy else { return false };
        let out: Vec<&Agreed> =
            groups.iter().filter(|group| !group.devices.contains(&self.world.people[copy].device)).collect();
        let logged: Vec<Logged> = out.iter().map(|group| self.logged(group, appended)).collect();
        let has_tried = logged.iter().any(|logged| !logged.messages.is_empty());
        let hostile = self.hostile.as_ref().map(|hostile| hostile.who);
        hostile.into_iter().for_each(|who| self.world.kill(who));
        self.world.start(copy);
        for (group, logged) in out.iter().zip(&logged) {
            self.reads_nothing(copy, group.chat, logged);
        }
        self.world.pass(600_000);
        for group in out {
            let engine = self.world.engine(group.members[0]);
            let place = engine.active_group(group.chat).and_then(|id| engine.conversations.groups.get(&id));
            let device = self.world.people[copy].device;
            let is_in = place.is_some_and(|entry| entry.members.iter().any(|member| member.device == device));
            assert!(!is_in, "seed {}: who was removed is back", self.seed);
            self.has_seen_nothing(copy, group.chat);
        }
        has_tried
    }

    /// Whether somebody has written into a group in the end.
    fn has_said_something(&self, group: &Agreed) -> bool {
        self.written.iter().any(|written| written.chat == group.chat && written.text.starts_with(AT_LAST))
    }

    /// Of what was appended to logs that which belongs to a group, in the epoch that it was in before the last messages, or in a later one.
    fn logged(&self, group: &Agreed, appended: &[Bytes]) -> Logged {
        let engine = self.world.engine(group.members[0]);
        let id = engine.active_group(group.chat).unwrap();
        let logs = &engine.conversations.groups.get(&id).unwrap().logs;
        let keys: Vec<LogKeys> = logs.iter().filter(|log| log.epoch >= group.epoch).filter_map(LogKeys::of).collect();
        let mut logged = Logged { sealed: Vec::new(), messages: Vec::new() };
        for sealed in appended {
            let Some(content) = keys.iter().find_map(|keys| keys.open_entry(sealed)) else { continue };
            logged.sealed.push(sealed.clone());
            if let Ok(LogContent::Message(message)) = LogContent::from_bytes(content.into()) {
                logged.messages.push(message);
            }
        }
        let has_first = logs.iter().any(|log| log.epoch == group.epoch);
        let is_whole = !has_first || !self.has_said_something(group) || !logged.messages.is_empty();
        assert!(is_whole, "seed {}: nothing was appended", self.seed);
        logged
    }

    /// Somebody's device opens nothing of a log, with any key that it has.
    fn reads_nothing(&mut self, who: Who, chat: ChatId, logged: &Logged) {
        let (mut entries, mut messages) = (0, 0);
        self.world.begin_modified(who, |engine, turn| {
            let mls = engine.mls.clone();
            let rows = engine.conversations.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
            for id in rows.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok()) {
                let logs = engine.conversations.groups.get(&id).map(|entry| entry.logs.as_slice()).unwrap_or_default();
                let keys: Vec<LogKeys> = logs.iter().filter_map(LogKeys::of).collect();
                let opens = |sealed: &&Bytes| keys.iter().any(|keys| keys.open_entry(sealed).is_some());
                entries += logged.sealed.iter().filter(opens).count();
                let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { continue };
                let decrypts = |message: &&Bytes| matches!(group.preview(message), Processed::Application { .. });
                messages += logged.messages.iter().filter(decrypts).count();
            }
        });
        assert_eq!((entries, messages), (0, 0), "seed {}: {who} is not in the group, and reads on", self.seed);
        self.has_seen_nothing(who, chat);
    }

    /// Who knows that it is none of a group any more shows nothing that others have written since; of accounts that have come again nobody can say
    /// when they were not there. Clocks are ahead of the time by little.
    fn has_seen_nothing_since(&self, who: Who, group: &Agreed) {
        let Some(out) = self.out_since.get(&(who, group.chat)) else { return };
        let account = self.world.people[who].account;
        if group.back.contains(account.as_bytes()) {
            return;
        }
        let since = out + MAX_CLOCK_AHEAD_MS + 1_000;
        let others = self.written.iter().filter(|written| self.world.people[written.by].account != account);
        let later: BTreeMap<MessageId, &String> = others
            .filter(|written| written.chat == group.chat && written.id.0.clock.ms() > since)
            .map(|written| (written.id, &written.text))
            .collect();
        let read: Vec<&&String> =
            self.world.messages_in(who, group.chat).iter().filter_map(|message| later.get(&message.id)).collect();
        assert!(read.is_empty(), "seed {}: {who} is out since {out}, and reads {read:?}", self.seed);
    }

    fn has_seen_nothing(&self, who: Who, chat: ChatId) {
        let texts = self.world.texts_in(who, chat);
        let read: Vec<&String> = texts.iter().filter(|text| text.starts_with(AT_LAST)).collect();
        assert!(read.is_empty(), "seed {}: {who} is not in the group, and reads {read:?}", self.seed);
    }
}
