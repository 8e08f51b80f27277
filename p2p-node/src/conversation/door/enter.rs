//! Entering: a new device reads the door, commits itself into the group, stores that, and appends it as a candidate. It has entered if no other
//! candidate stands before its own.

use bytes::Bytes;
use starling_keys::RendezvousAddr;
use starling_wire::{
    Candidate, Door, LinkCard, LogContent, LogVerb, PartNames,
    rendezvous::{Behind, LogRequest, Page, RequestBody},
};

use super::{
    entered::Way,
    entering::{Adding, Attempt},
    limits::{DOOR_TIMEOUT_MS, ENTER_AGAIN_MS, MAX_DOOR_PAGES, MAX_DOORS_TRIED, MAX_ENTER_BACKOFF, MAX_LINK_FAILURES},
    prepare::Prepared,
};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Chats, Conversations, GroupEntry,
        context::Context,
        fork::commit_hash,
        group::LogKeys,
        group_state::commit_of,
        log::{Batch, parts_of},
    },
    home::{LogPending, Pending, Refused},
    mls::{LiveGroup, policy::Denied},
    net::HomeId,
    store::{EnteringRow, OfferedDoor},
    turn::{EngineError, Fact, Turn},
};

impl Conversations {
    /// What a new device of ours is to know of the door of a conversation's group, and the rendezvous where it is.
    pub(crate) fn door_to_offer(&self, dir: Directory<'_>, chat: ChatId) -> Option<(Vec<u8>, String)> {
        // The others are in it: they have written there, or were in it when we came.
        let has_others = |group: &&GroupEntry| group.row.confirmed || !group.row.parents.is_empty();
        let group = self.groups.get(&self.active_group(dir, chat)?).filter(has_others)?;
        let door = group.row.door.as_ref().filter(|_| !self.has_revoked_member(dir, chat, group.id))?;
        Some(([&group.id[..], &door.secret].concat(), group.row.home.clone()))
    }

    /// Whether this device is about to enter the group of a conversation.
    pub(crate) fn is_entering(&self, chat: ChatId) -> bool {
        let waits = |door: &OfferedDoor| self.entering.waiting.contains_key(&(door.place, chat));
        self.entering.attempts.contains_key(&chat) || self.chats.offered(chat).is_some_and(waits)
    }

    /// Whether a commit of this device may have led it into the group of a conversation, and it does not know.
    pub(in crate::conversation) fn may_have_entered(&self, chat: ChatId) -> bool {
        self.chats.offered(chat).is_some_and(|door| door.sent || door.entering.is_some())
    }

    /// The group of a conversation is entered when it is its turn; its contact's devices are looked up at `home` before.
    pub(crate) fn enter_in_turn(&mut self, chat: ChatId, home: HomeId) {
        if let Some(place) = self.chats.offered(chat).map(|door| door.place) {
            self.entering.waiting.insert((place, chat), home);
        }
    }

    /// The user wants to use a conversation: if its group is still to be entered, it is the next.
    pub(crate) fn enter_next(&mut self, chat: ChatId) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let Some(door) = &mut state.row.door else { return };
        if let Some(home) = self.entering.waiting.remove(&(door.place, chat)) {
            (door.place, state.dirty) = (0, true);
            self.entering.waiting.insert((0, chat), home);
        }
    }

    /// A group is not entered any more.
    pub(in crate::conversation) fn stop_entering(&mut self, chat: ChatId) {
        self.entering.attempts.remove(&chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            (state.row.door, state.dirty) = (None, true);
        }
    }

    /// Begins to enter the group of a conversation.
    pub(crate) fn enter(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        let waits_until = self.entering.held.remove(&chat).unwrap_or_default();
        let gives_up_at = turn.now().max(waits_until) + DOOR_TIMEOUT_MS;
        let adding = Adding { until: waits_until, ..Adding::default() };
        let attempt = Attempt { gives_up_at, adding, ..Attempt::default() };
        self.entering.attempts.entry(chat).or_insert(attempt);
        self.ask_to_enter(turn, cx, chat);
        Ok(())
    }

    /// A server is connected: commits that may have been sent are sent again, and doors there are read.
    pub(crate) fn doors_up(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        let at_home = |door: &OfferedDoor| door.address().is_some_and(|address| address.peer == home);
        let of_chat = |chat: &ChatId| {
            let door = self.chats.offered(*chat).filter(|door| at_home(door));
            let goes_on = || self.entering.attempts.contains_key(chat) || self.chats.is_group_chat(*chat);
            door.is_some_and(|door| door.entering.is_some() || goes_on())
        };
        let chats: Vec<ChatId> = self.chats.keys().copied().filter(of_chat).collect();
        for chat in chats {
            let gives_up_at = turn.now() + DOOR_TIMEOUT_MS;
            let is_group = self.chats.is_group_chat(chat);
            let new = Attempt { gives_up_at, ..Attempt::default() };
            let attempt = self.entering.attempts.entry(chat).or_insert(new);
            attempt.asks = None;
            // It had paused.
            if is_group && attempt.gives_up_at == u64::MAX {
                attempt.gives_up_at = gives_up_at;
            }
            self.ask_to_enter(turn, cx, chat);
        }
    }

    /// Begins to enter a group by a way that a member has shown, if it leads into the group and `fits`. Gives whether it does.
    pub(in crate::conversation) fn enter_shown(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, offered): (ChatId, OfferedDoor),
        door: &Door,
        fits: impl Fn(&LiveGroup) -> bool,
    ) -> Result<bool, EngineError> {
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(false) };
        let before = state.row.door.replace(offered);
        let prepared = self.prepare_to_enter(turn, cx, chat, door, fits)?;
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(false) };
        let Prepared::Ready(entering) = prepared else {
            state.row.door = before;
            return Ok(false);
        };
        tracing::warn!(epoch = door.epoch, "a group is entered again where another member is");
        if let Some(door) = &mut state.row.door {
            (door.entering, door.sent) = (Some(entering), true);
        }
        state.dirty = true;
        self.entering.attempts.remove(&chat);
        turn.fact(Fact::ReachChanged);
        self.enter(turn, cx, chat)?;
        Ok(true)
    }

    /// Asks the next thing of the server with the door.
    pub(super) fn ask_to_enter(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) {
        let Some(door) = self.chats.offered(chat).cloned() else { return };
        let Some(attempt) = self.entering.attempts.get_mut(&chat).filter(|attempt| attempt.asks.is_none()) else {
            return;
        };
        if attempt.adding.until > turn.now() && door.entering.is_none() {
            attempt.again_at = Some(attempt.adding.until);
            return;
        }
        let Some(home) = door.address().map(|address| address.peer) else { return };
        let takes = cx.homes.servers.get(&home).and_then(|home| home.hello.as_ref()).is_some_and(|h| h.candidates);
        let Some(keys) = LogKeys::of_secret(&door.secret).filter(|_| takes) else { return };
        attempt.again_at = None;
        let asks = match &door.entering {
            None if door.apart => {
                self.stop_entering(chat);
                return;
            }
            Some(entering) => send(turn, cx, (home, chat), (entering, attempt.sent), keys),
            None => {
                let read = LogRequest { after: attempt.log.begin(keys.address), ..LogRequest::default() };
                cx.homes.request_log(turn, home, &keys, LogVerb::Read, read, LogPending::ReadDoor(chat))
            }
        };
        attempt.asks = asks.then_some(home);
    }

    /// A page of the door's log.
    pub(in crate::conversation) fn on_door_page(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, home): (ChatId, HomeId),
        page: Page,
    ) -> Result<(), EngineError> {
        let Some(door) = self.chats.offered(chat) else { return Ok(()) };
        let Some(keys) = LogKeys::of_secret(&door.secret) else { return Ok(()) };
        let leave = RequestBody::LogLeave(Bytes::copy_from_slice(&keys.address));
        // A page that was asked for before another way was offered may come when a commit is on its way already.
        if door.entering.is_some() {
            cx.homes.request(turn, home, leave, Pending::Nothing);
            return Ok(());
        }
        let by_link = !door.link.is_empty();
        let Some(attempt) = self.entering.attempts.get_mut(&chat) else { return Ok(()) };
        for entry in &page.entries {
            let Some(content) = keys.open_entry(&entry.sealed) else { continue };
            let Some(content) = attempt.log.parts.whole(content.into()) else { continue };
            if by_link && let Ok(card) = LinkCard::from_bytes(content.clone()) {
                let newest = attempt.log.card.get_or_insert((0, false));
                *newest = (*newest).max((card.epoch, card.ended));
            }
            if let Ok(door) = Door::from_bytes(content) {
                attempt.note_found(entry.sequence, door);
            }
        }
        attempt.log.note_read(page.entries.last().map_or(0, |last| last.sequence));
        attempt.log.pages += 1;
        if let Some(last) = page.entries.last().filter(|_| page.more && attempt.log.pages < MAX_DOOR_PAGES) {
            let request = LogRequest { after: last.sequence, ..LogRequest::default() };
            cx.homes.request_log(turn, home, &keys, LogVerb::Read, request, LogPending::ReadDoor(chat));
            return Ok(());
        }
        attempt.asks = None;
        cx.homes.request(turn, home, leave, Pending::Nothing);
        self.try_doors(turn, cx, chat)
    }

    /// Tries those that were read, the newest first.
    fn try_doors(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        if self.join_if_added(turn, cx, chat)? {
            return Ok(());
        }
        let attempt = self.entering.attempts.get_mut(&chat);
        if attempt.is_some_and(|attempt| attempt.log.card.take().is_some_and(|(_, ended)| ended)) {
            return self.link_failed(turn, chat, Denied::Link);
        }
        let mut nowhere = false;
        while let Some(attempt) = self.entering.attempts.get_mut(&chat)
            && attempt.race.tries < MAX_DOORS_TRIED
            && let Some(door) = attempt.next_door()
        {
            attempt.race.tries += 1;
            attempt.race.note_tried(door.epoch);
            match self.prepare_to_enter(turn, cx, chat, &door, |_| true)? {
                Prepared::Ready(entering) => {
                    if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
                        attempt.sent = 0;
                    }
                    if let Some(state) = self.chats.get_mut(&chat)
                        && let Some(door) = &mut state.row.door
                    {
                        (door.entering, door.sent) = (Some(entering), true);
                        state.dirty = true;
                    }
                    self.ask_to_enter(turn, cx, chat);
                    return Ok(());
                }
                Prepared::ToStrangers => {
                    return self.give_door_up(turn, chat);
                }
                Prepared::Nowhere => nowhere = true,
            }
        }
        if nowhere && self.entering.attempts.get(&chat).is_some_and(|attempt| !attempt.race.outrun) {
            self.leave_if_closed(turn, chat)?;
            if !self.entering.attempts.contains_key(&chat) {
                return Ok(());
            }
        }
        let is_invited = self.entering.attempts.get(&chat).is_some_and(|attempt| attempt.already_in);
        if is_invited && self.enter_by_invitation(turn, cx, chat)? {
            return Ok(());
        }
        // What the newest says is so, unless somebody else was faster and has yet to write the next.
        let attempt = self.entering.attempts.get(&chat).filter(|attempt| !attempt.race.outrun);
        if let Some(denied) = attempt.and_then(|attempt| attempt.denied) {
            return self.link_failed(turn, chat, denied);
        }
        let (now, after) = (turn.now(), self.again_after_ms(turn, chat));
        let attempt = self.entering.attempts.get_mut(&chat);
        match attempt.filter(|attempt| !attempt.race.tried.is_empty() && attempt.race.tries < MAX_DOORS_TRIED) {
            // Whoever was faster writes the way into the next epoch, or into one of those after it.
            Some(attempt) => attempt.again_at = Some(now + attempt.race.look_after(after)),
            None => self.give_door_up(turn, chat)?,
        }
        Ok(())
    }

    /// The log has stored our commit, or has others that stand before it.
    pub(crate) fn on_enter_answer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, commit): (ChatId, [u8; 32]),
        answer: Result<u64, Behind>,
    ) -> Result<(), EngineError> {
        let Some(door) = self.chats.offered(chat) else { return Ok(()) };
        // Another may have taken the place of the one that the answer is about.
        let Some(entering) = door.entering.clone().filter(|entering| commit_hash(&entering.commit) == commit) else {
            return Ok(());
        };
        let is_shown = door.apart;
        if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
            attempt.asks = None;
        }
        let keys = LogKeys::of_secret(&entering.secret);
        // Who does not know all parts cannot name them, and it was sent when all were there: so what names ours is our commit, whoever has appended
        // it.
        let parts = parts_of(&entering.commit, entering.in_parts);
        let named = parts.map(|parts| LogContent::LargeCandidate(PartNames::of(&parts)));
        let is_ours = |sealed: &[u8]| {
            let Some(content) = keys.as_ref().and_then(|keys| keys.open_entry(sealed)) else { return false };
            match &named {
                Some(named) => LogContent::from_bytes(content.into()).is_ok_and(|content| content == *named),
                None => commit_of(content).is_some_and(|commit| commit == entering.commit),
            }
        };
        let stored = match &answer {
            Ok(sequence) => Some(*sequence),
            // The answer to an earlier append was lost.
            Err(behind) => behind.candidates.first().filter(|first| is_ours(&first.sealed)).map(|first| first.sequence),
        };
        if let Some(sequence) = stored {
            return self.entered(turn, cx, chat, Way::Entered(&entering, sequence));
        }
        if let Err(behind) = &answer
            && self.is_shut_out(turn, cx, chat, &entering, behind)?
        {
            return Ok(());
        }
        tracing::debug!(epoch = entering.epoch, "another commit stands before the one to enter by");
        if is_shown {
            // Whoever has shown the way shows another: what its log says of ways nobody vouches for.
            let until = turn.now() + self.again_after_ms(turn, chat);
            self.stop_entering(chat);
            self.policies.rest(&chat, until);
            return Ok(());
        }
        self.outrun(turn, chat, entering.epoch);
        let told = self.entering.attempts.get_mut(&chat).map(|attempt| std::mem::take(&mut attempt.told));
        for (from, way) in told.unwrap_or_default() {
            if let Err(error) = self.on_other_way(turn, cx, (chat, from), way)? {
                tracing::debug!(%error, "a way into a group was dropped");
            }
        }
        Ok(())
    }

    /// The log has parts of our commit.
    pub(in crate::conversation) fn on_enter_parts(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, commit): (ChatId, [u8; 32]),
        upto: usize,
    ) {
        let entering = self.chats.offered(chat).and_then(|door| door.entering.as_ref());
        let is_this = entering.is_some_and(|entering| commit_hash(&entering.commit) == commit);
        let Some(attempt) = self.entering.attempts.get_mut(&chat).filter(|_| is_this) else { return };
        (attempt.asks, attempt.sent) = (None, attempt.sent.max(upto));
        self.ask_to_enter(turn, cx, chat);
    }

    /// Nothing leads into the group: of a direct conversation another is made; into others it is tried again.
    fn give_door_up(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        if self.chats.is_group_chat(chat) {
            let attempt = self.entering.attempts.get(&chat);
            let failures = attempt.map_or(0, |attempt| attempt.failures);
            let denied = attempt.and_then(|attempt| attempt.denied).unwrap_or(Denied::Link);
            if failures >= MAX_LINK_FAILURES && self.comes_by_link(chat) {
                return self.link_failed(turn, chat, denied);
            }
            let again_at = Some(turn.now() + (ENTER_AGAIN_MS << failures));
            let failures = (failures + 1).min(MAX_ENTER_BACKOFF);
            let there = self.entering.attempts.get(&chat).map(|attempt| attempt.there.clone()).unwrap_or_default();
            let attempt = Attempt { again_at, failures, there, gives_up_at: u64::MAX, ..Attempt::default() };
            self.entering.attempts.insert(chat, attempt);
            // Nothing was sent, and for an hour and more nothing could be.
            return match failures == MAX_ENTER_BACKOFF && !self.may_have_entered(chat) {
                true => self.leave_if_closed(turn, chat),
                false => Ok(()),
            };
        }
        self.entering.attempts.remove(&chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            tracing::debug!("a group cannot be entered: another is made");
            state.row.door = state.row.door.as_ref().map(OfferedDoor::given_up);
            state.dirty = true;
        }
        turn.fact(Fact::GroupAbandoned);
        Ok(())
    }

    /// Whether a conversation's group is entered by a link, and no commit of ours may be on its way.
    fn comes_by_link(&self, chat: ChatId) -> bool {
        self.chats.offered(chat).is_some_and(|door| !door.link.is_empty() && door.entering.is_none())
    }

    /// Doors that are looked at again, and those that are given up.
    pub(crate) fn enter_on_time(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        let now = turn.now();
        let is_due = |attempt: &Attempt| attempt.again_at.is_some_and(|at| at <= now) || attempt.gives_up_at <= now;
        let due: Vec<ChatId> =
            self.entering.attempts.iter().filter(|(_, a)| is_due(a)).map(|(chat, _)| *chat).collect();
        for chat in due {
            let is_group = self.chats.is_group_chat(chat);
            let may_give_up = self.chats.may_enter(chat) || is_group;
            let Some(attempt) = self.entering.attempts.get_mut(&chat) else { continue };
            if attempt.gives_up_at > now {
                // Where the server is away just now, it is asked as soon as it is back.
                attempt.again_at = None;
                // It had paused.
                if is_group && attempt.gives_up_at == u64::MAX {
                    attempt.gives_up_at = now + DOOR_TIMEOUT_MS;
                }
                self.ask_to_enter(turn, cx, chat);
            } else if may_give_up {
                self.give_door_up(turn, chat)?;
            } else if self.chats.offered(chat).is_some_and(|door| door.entering.is_some()) {
                // Somebody has made another group meanwhile; whether others have followed us into this one is still to be learned.
                attempt.gives_up_at = u64::MAX;
            } else {
                // Nothing of ours is under way, and there is another group: the door would be read for ever.
                self.entering.attempts.remove(&chat);
                if let Some(state) = self.chats.get_mut(&chat) {
                    state.row.door = state.row.door.as_ref().map(OfferedDoor::given_up);
                    state.dirty = true;
                }
            }
        }
        Ok(())
    }

    /// A request of somebody who enters was refused.
    pub(in crate::conversation) fn enter_refused(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        refused: &Refused,
    ) -> Result<(), EngineError> {
        match self.entering.attempts.get_mut(&chat) {
            Some(attempt) if refused.is_busy() => {
                (attempt.asks, attempt.again_at) = (None, Some(refused.again_at));
                Ok(())
            }
            _ => self.give_door_up(turn, chat),
        }
    }

    /// It was not answered.
    pub(in crate::conversation) fn enter_lost(&mut self, chat: ChatId) {
        if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
            attempt.asks = None;
        }
    }
}

impl Chats {
    /// Another device of ours has told us of a door. Groups are entered in the order of `place`.
    pub(crate) fn take_door(&mut self, chat: ChatId, (offer, home): (&[u8], String), place: u32) {
        let Some(state) = self.states.get_mut(&chat).filter(|state| state.row.groups.is_empty()) else { return };
        state.row.door = OfferedDoor::read(offer, home).map(|door| OfferedDoor { place, ..door });
        state.dirty = true;
    }

    pub(in crate::conversation) fn offered(&self, chat: ChatId) -> Option<&OfferedDoor> {
        self.states.get(&chat)?.row.door.as_ref().filter(|door| door.is_open())
    }

    /// The servers with the doors that this device is to enter by.
    pub(crate) fn door_homes(&self) -> impl Iterator<Item = RendezvousAddr> {
        self.states.values().filter_map(|state| state.row.door.as_ref()?.address())
    }

    /// Whether a conversation has no group, and there may be a way into the one that others have.
    pub(crate) fn may_enter(&self, chat: ChatId) -> bool {
        self.offered(chat).is_some() && self.states.get(&chat).is_some_and(|state| state.row.groups.is_empty())
    }
}

/// Appends the commit that was stored, or the next of its parts, if it is in parts of which the log has `sent`. The log of its epoch may not be there
/// yet: the one of the door, which is, stands before it.
fn send(
    turn: &mut Turn<'_>,
    cx: &mut Context<'_>,
    (home, chat): (HomeId, ChatId),
    (entering, sent): (&EnteringRow, usize),
    door: LogKeys,
) -> bool {
    let Some(mut keys) = LogKeys::of_secret(&entering.secret) else { return false };
    keys.parent = Some(door.key);
    let hash = commit_hash(&entering.commit);
    if let Some(parts) = parts_of(&entering.commit, entering.in_parts) {
        let Batch { request, upto } = Batch::next(&keys, &parts, sent);
        let pending = upto.map_or(LogPending::Enter(chat, hash), |upto| LogPending::EnterParts(chat, hash, upto));
        return cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, pending);
    }
    let candidate = LogContent::Candidate(Candidate { commit: entering.commit.clone() });
    let entries = vec![keys.seal_entry(&candidate.to_bytes())];
    // Nothing of the log was read: any candidate in it stands before ours, and then this is not stored.
    let request = LogRequest { entries, candidate: true, ..LogRequest::default() };
    cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Enter(chat, hash))
}
