//! Groups that this device has entered after another one of its account: what was written there between, it cannot decrypt. The account is entitled
//! to it all the same, so this device asks those that were there before, one page after another. Of what was written before it was linked it gets
//! what its user has chosen for the history.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::history::{GroupHistoryPage, GroupHistoryRequest};

use super::limits::{
    HISTORY_ASK_AGAIN_MS, HISTORY_GRANT_MS, HISTORY_HOME_AFTER_MS, HISTORY_HOME_AGAIN_MS, MAX_GROUP_HISTORY_BACKOFF,
};
use crate::{
    api::types::ChatId,
    mls::GroupId,
    store::{GroupHistoryRow, META, Reading, StoreError, prefix},
    turn::{EngineError, Turn},
};

/// How the keys of rows begin.
const KEY: &[u8] = b"history_group/";

fn key(chat: &ChatId) -> Vec<u8> {
    [KEY, &chat.0].concat()
}

/// What is lacking of one group.
#[derive(Default)]
struct Want {
    row: GroupHistoryRow,
    /// Who was asked last, and has not answered.
    asked: Option<DeviceId>,
    /// It waits until that device has answered about another group.
    waits: bool,
    /// It is not asked for before, in steady time.
    again_at: u64,
    /// How often it was asked for in vain.
    tries: u32,
    /// None of its sources is connected, for some time.
    apart: bool,
}

impl Want {
    fn sources(&self) -> impl Iterator<Item = DeviceId> {
        self.row.sources.iter().filter_map(|device| DeviceId::from_bytes(device).ok())
    }

    /// Whom of some to ask: first who has given the last page; where one says nothing, as it is not in the group yet, the next one.
    fn next_of(&self, some: impl Fn(&DeviceId) -> bool) -> Option<DeviceId> {
        let mut sources: Vec<DeviceId> = self.sources().filter(some).collect();
        sources.sort_by_key(|source| self.row.from != source.as_bytes());
        sources.get(self.tries as usize % sources.len().max(1)).copied()
    }

    /// What is to be asked of a source.
    fn request(&self, chat: &ChatId, source: &DeviceId) -> GroupHistoryRequest {
        let is_same = self.row.from == source.as_bytes();
        GroupHistoryRequest {
            conversation: Bytes::copy_from_slice(&chat.0),
            group: self.row.group.clone().into(),
            epoch: self.row.epoch,
            since: self.row.since,
            before: if is_same { self.row.before.clone().into() } else { Bytes::new() },
        }
    }
}

/// What this device lacks of groups.
#[derive(Default)]
pub struct GroupWants {
    wants: BTreeMap<ChatId, Want>,
    changed: BTreeSet<ChatId>,
}

impl GroupWants {
    /// Loads it from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, StoreError> {
        let mut groups = Self::default();
        for (key, row) in read.range::<GroupHistoryRow>(META, prefix(KEY), usize::MAX, false)? {
            let chat = key.get(KEY.len()..).and_then(|chat| chat.try_into().ok()).map(ChatId);
            let chat = chat.ok_or(StoreError::Damaged(META.name()))?;
            groups.wants.insert(chat, Want { row, ..Want::default() });
        }
        Ok(groups)
    }

    /// Writes what has changed.
    pub fn save(&mut self, turn: &Turn<'_>) -> Result<(), EngineError> {
        for chat in std::mem::take(&mut self.changed) {
            match self.wants.get(&chat) {
                Some(want) => turn.put(META, &key(&chat), &want.row)?,
                None => turn.delete(META, &key(&chat))?,
            }
        }
        Ok(())
    }

    /// When something is to be asked, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        self.wants.values().map(|want| want.again_at).filter(|at| *at < u64::MAX).min()
    }

    /// Nothing is asked any more.
    pub fn stop(&mut self) {
        self.wants.values_mut().for_each(|want| want.again_at = u64::MAX);
    }

    /// Whether something is still to come from a device.
    pub fn wants_from(&self, device: &DeviceId) -> bool {
        self.wants.values().any(|want| want.sources().any(|source| source == *device))
    }

    /// This device lacks what others have of a group since a clock; `epoch` is the first in which it is there.
    pub fn want(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        (group, epoch): (GroupId, u64),
        (sources, since): (&[DeviceId], u64),
    ) {
        // What was lacking of a group in whose place this one is it lacks still; who has it gives it when it has come, too.
        let known = self.wants.remove(&chat).map(|known| known.row);
        if sources.is_empty() && known.is_none() {
            return;
        }
        let since = known.as_ref().map_or(since, |known| known.since.min(since));
        let mut all = known.map(|known| known.sources).unwrap_or_default();
        for source in sources {
            if !all.iter().any(|known| known == source.as_bytes()) {
                all.push(source.as_bytes().to_vec());
            }
        }
        let row = GroupHistoryRow {
            group: group.to_vec(),
            epoch,
            since,
            sources: all,
            at_ms: turn.wall(),
            ..GroupHistoryRow::default()
        };
        self.wants.insert(chat, Want { row, again_at: turn.now(), ..Want::default() });
        self.changed.insert(chat);
    }

    /// Devices that are none of the account any more, and groups that it is not in, give nothing; nor is anything waited for without an end.
    pub fn retain(
        &mut self,
        now_ms: u64,
        is_source: impl Fn(&DeviceId) -> bool,
        is_in: impl Fn(&ChatId, &[u8]) -> bool,
    ) {
        for (chat, want) in &mut self.wants {
            let before = want.row.sources.len();
            want.row.sources.retain(|source| DeviceId::from_bytes(source).is_ok_and(|source| is_source(&source)));
            let is_over = want.row.at_ms.saturating_add(HISTORY_GRANT_MS) < now_ms || !is_in(chat, &want.row.group);
            if is_over {
                want.row.sources.clear();
            }
            if want.row.sources.len() != before {
                self.changed.insert(*chat);
            }
        }
        self.wants.retain(|_, want| !want.row.sources.is_empty());
    }

    /// What is to be asked now, of whom: one thing at a time of each device, of those that are connected first, and first what was asked seldom, as a
    /// device that says nothing about one group may know another.
    pub fn take_due(
        &mut self,
        now: u64,
        is_connected: impl Fn(&DeviceId) -> bool,
    ) -> Vec<(DeviceId, GroupHistoryRequest)> {
        let waits = self.wants.values().filter(|want| want.again_at > now);
        let mut busy: BTreeMap<DeviceId, u64> = waits.filter_map(|want| Some((want.asked?, want.again_at))).collect();
        let due = self.wants.iter().filter(|(_, want)| want.again_at <= now);
        let mut due: Vec<(u32, ChatId)> = due.map(|(chat, want)| (want.tries, *chat)).collect();
        due.sort_unstable();
        let mut requests = Vec::new();
        for (_, chat) in due {
            let Some(want) = self.wants.get_mut(&chat) else { continue };
            let connected = want.next_of(&is_connected);
            let Some(source) = connected.or_else(|| want.next_of(|_| true)) else { continue };
            want.asked = None;
            if let Some(until) = busy.get(&source) {
                (want.again_at, want.waits) = (*until, true);
                continue;
            }
            let backoff = |wait: u64| wait << want.tries.min(MAX_GROUP_HISTORY_BACKOFF);
            if connected.is_none() && !want.apart {
                // They may meet in a moment.
                (want.again_at, want.waits, want.apart) = (now + HISTORY_HOME_AFTER_MS, false, true);
                continue;
            }
            let wait = match connected {
                Some(_) => backoff(HISTORY_ASK_AGAIN_MS),
                None => backoff(HISTORY_HOME_AGAIN_MS),
            };
            (want.again_at, want.waits) = (now + wait, false);
            want.tries = want.tries.saturating_add(1);
            want.asked = Some(source);
            busy.insert(source, want.again_at);
            requests.push((source, want.request(&chat, &source)));
        }
        requests
    }

    /// A device is connected: it is asked at once.
    pub fn note_connected(&mut self, now: u64, device: &DeviceId) {
        for want in self.wants.values_mut().filter(|want| want.sources().any(|source| source == *device)) {
            (want.asked, want.again_at, want.tries, want.apart) = (None, now, 0, false);
        }
    }

    /// Whether a page is the one that is wanted of a device. Gives the conversation.
    pub fn awaited(&self, from: &DeviceId, page: &GroupHistoryPage) -> Option<ChatId> {
        let request = page.request.as_ref()?;
        let chat = request.conversation[..].try_into().map(ChatId).ok()?;
        let want = self.wants.get(&chat).filter(|want| want.sources().any(|source| source == *from))?;
        (want.request(&chat, from) == *request).then_some(chat)
    }

    /// A page was taken: the next one begins at a place, or (`next` is empty) the device has given all that it has.
    pub fn note_taken(&mut self, now: u64, chat: ChatId, from: &DeviceId, next: &[u8]) {
        let Some(want) = self.wants.get_mut(&chat) else { return };
        // A place that is none of this group, or does not stand before the last one, leads nowhere.
        let before: &[u8] = if want.row.from == from.as_bytes() { &want.row.before } else { &[] };
        let leads_on = next.starts_with(&chat.0) && (before.is_empty() || next < before);
        let next: &[u8] = if leads_on { next } else { &[] };
        (want.asked, want.again_at, want.tries) = (None, now, 0);
        (want.row.from, want.row.before) = (from.as_bytes().to_vec(), next.to_vec());
        if next.is_empty() {
            want.row.from.clear();
            want.row.sources.retain(|source| source != from.as_bytes());
        }
        if want.row.sources.is_empty() {
            self.wants.remove(&chat);
        }
        self.changed.insert(chat);
        self.wants.values_mut().filter(|want| want.waits).for_each(|want| want.again_at = now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::DeviceKey;

    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceKey::from_seed(&[n; 32]).id()
    }

    fn wanting(chats: u8, sources: &[DeviceId]) -> GroupWants {
        let mut wants = GroupWants::default();
        for n in 0..chats {
            let sources = sources.iter().map(|source| source.as_bytes().to_vec()).collect();
            let row = GroupHistoryRow { group: vec![n; 16], sources, at_ms: 1, ..GroupHistoryRow::default() };
            wants.wants.insert(ChatId([n; 16]), Want { row, ..Want::default() });
        }
        wants
    }

    fn place(chat: ChatId, at: u8) -> Vec<u8> {
        [&chat.0[..], &[at; 24]].concat()
    }

    #[test]
    fn a_group_about_which_nobody_answers_keeps_no_other_from_being_asked_about() {
        let mut wants = wanting(3, &[device(1)]);
        let (mut now, mut asked) = (1, BTreeSet::new());
        for _ in 0..3 {
            asked.extend(wants.take_due(now, |_| true).into_iter().map(|(_, request)| request.conversation[0]));
            now = wants.next_due().unwrap();
        }
        assert_eq!(asked, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn who_is_connected_and_says_nothing_keeps_no_other_from_being_asked() {
        let (silent, other, chat) = (device(1), device(2), ChatId([0; 16]));
        let mut wants = wanting(1, &[silent, other]);
        assert_eq!(wants.take_due(1, |_| true)[0].0, silent);
        let now = wants.next_due().unwrap();
        assert_eq!(wants.take_due(now, |_| true)[0].0, other);
        // Who has begun goes on at once.
        wants.note_taken(now, chat, &other, &place(chat, 7));
        let (source, request) = wants.take_due(now, |_| true).remove(0);
        assert_eq!((source, &request.before[..]), (other, &place(chat, 7)[..]));
        wants.note_taken(now, chat, &other, &[]);
        assert_eq!(wants.take_due(now, |_| true)[0].0, silent);
    }

    #[test]
    fn a_page_that_does_not_lead_on_is_the_last_one() {
        let (source, chat) = (device(1), ChatId([0; 16]));
        for wrong in [place(chat, 7), place(chat, 8), place(ChatId([1; 16]), 1)] {
            let mut wants = wanting(1, &[source]);
            wants.note_taken(1, chat, &source, &place(chat, 7));
            assert_eq!(wants.take_due(1, |_| true)[0].1.before[..], place(chat, 7)[..]);
            wants.note_taken(1, chat, &source, &wrong);
            assert!(!wants.wants_from(&source), "{wrong:?}");
        }
    }

    #[test]
    fn a_device_is_asked_about_one_group_after_another() {
        let source = device(1);
        let mut wants = wanting(3, &[source]);
        let mut asked = Vec::new();
        for now in 1..=6 {
            for (from, request) in wants.take_due(now, |_| true) {
                assert_eq!(from, source);
                let page = GroupHistoryPage { request: Some(request.clone()), page: None };
                let chat = wants.awaited(&source, &page).unwrap();
                assert!(wants.awaited(&device(2), &page).is_none(), "nobody else is asked");
                asked.push((chat.0[0], request.before.is_empty()));
                // Each has two pages.
                let next = if request.before.is_empty() { place(chat, 7) } else { Vec::new() };
                wants.note_taken(now, chat, &source, &next);
            }
        }
        assert_eq!(asked, [(0, true), (0, false), (1, true), (1, false), (2, true), (2, false)]);
        assert_eq!(wants.next_due(), None);
    }

    #[test]
    fn who_does_not_answer_is_asked_more_and_more_seldom_and_another_one_that_is_there_before() {
        let (away, there) = (device(1), device(2));
        let mut wants = wanting(1, &[away, there]);
        assert!(wants.take_due(1, |_| false).is_empty(), "they may meet in a moment");
        let at = wants.next_due().unwrap();
        assert_eq!(at, 1 + HISTORY_HOME_AFTER_MS);
        assert_eq!(wants.take_due(at, |_| false)[0].0, away);
        let (mut now, mut requests) = (at, 0);
        while now < at + 7 * 86_400_000 {
            now = wants.next_due().unwrap();
            requests += wants.take_due(now, |_| false).len();
        }
        assert!((10..40).contains(&requests), "{requests}");
        wants.note_connected(now, &there);
        assert_eq!(wants.take_due(now, |device| *device == there)[0].0, there);
        wants.note_taken(now, ChatId([0; 16]), &there, &[]);
        assert!(!wants.wants_from(&there) && wants.wants_from(&away));
        wants.retain(now, |device| *device != away, |_, _| true);
        assert_eq!(wants.next_due(), None);
    }
}
