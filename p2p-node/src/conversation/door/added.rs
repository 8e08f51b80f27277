//! Devices that a member has added to a group: each has a welcome, and finds the group's tree in the door of that epoch. If that comes to nothing it
//! enters by the door, in place of the leaf that it has.

use rand::RngExt;
use starling_keys::AccountId;
use starling_wire::{Door, inbox::GroupWelcome};

use super::{
    entered::Way,
    entering::{AddedTo, Attempt},
    limits::{ADDED_SPREAD_MS, ADDED_WITHIN_MS, DOOR_TIMEOUT_MS, MAX_WAITS_TO_BE_ADDED, TREE_AGAIN_MS, TREE_WITHIN_MS},
};
use crate::{
    api::{problem::ItemRefused, types::ChatId},
    conversation::{Chats, Conversations, context::Context, group::GroupId},
    mls::Expected,
    store::OfferedDoor,
    turn::{EngineError, Turn},
};

impl Chats {
    /// Members were asked to add this device to a group: it may be in before it knows.
    pub(in crate::conversation) fn note_asked(&mut self, chat: ChatId) {
        if let Some(state) = self.states.get_mut(&chat)
            && let Some(door) = &mut state.row.door
        {
            (door.sent, state.dirty) = (true, true);
        }
    }
}

impl Attempt {
    /// A member is about to add this device: it goes on waiting, if it does, and not for ever.
    fn wait_on(&mut self, turn: &mut Turn<'_>) {
        if self.adding.until > turn.now() && self.adding.waits < MAX_WAITS_TO_BE_ADDED {
            let spread = turn.rng().random_range(0..=ADDED_SPREAD_MS);
            self.adding.waits += 1;
            self.adding.until = turn.now() + ADDED_WITHIN_MS + spread;
            (self.again_at, self.gives_up_at) = (Some(self.adding.until), self.adding.until + DOOR_TIMEOUT_MS);
        }
    }
}

impl Conversations {
    /// This device was added to a group, or is about to be; or, without a welcome, it is not added, and enters at once.
    ///
    /// # Errors
    /// If it has not asked for that.
    pub(crate) fn on_added(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: AccountId,
        added: &GroupWelcome,
    ) -> Result<(), ItemRefused> {
        let chat = added.conversation[..].try_into().map(ChatId).map_err(|_| ItemRefused::UnusableWelcome)?;
        let id: GroupId = added.group[..].try_into().map_err(|_| ItemRefused::UnusableWelcome)?;
        let offered = self.chats.offered(chat).filter(|door| door.id() == Some(id) && !door.apart);
        if offered.is_none() || !self.policies.may_be_added_by(&chat, &from) {
            return Err(ItemRefused::UnusableWelcome);
        }
        let gives_up_at = turn.now() + DOOR_TIMEOUT_MS;
        let new = Attempt { gives_up_at, ..Attempt::default() };
        let attempt = self.entering.attempts.entry(chat).or_insert(new);
        if added.message.is_empty() && (added.waits || attempt.adding.until <= turn.now()) {
            // If it enters already it goes on with that.
            if added.waits {
                attempt.wait_on(turn);
            }
            return Ok(());
        }
        let until = turn.now() + TREE_WITHIN_MS;
        let (epoch, welcome, log) = (added.epoch, added.message.clone(), (added.log.clone(), added.sequence));
        if !welcome.is_empty() {
            attempt.adding.added = Some(AddedTo { epoch, welcome, log, until });
        }
        (attempt.adding.until, attempt.gives_up_at) = (0, gives_up_at);
        self.ask_to_enter(turn, cx, chat);
        Ok(())
    }

    /// Joins the group that this device was added to, if the door of that epoch was read. Gives whether nothing else is to be tried now.
    pub(super) fn join_if_added(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<bool, EngineError> {
        let Some(attempt) = self.entering.attempts.get_mut(&chat) else { return Ok(false) };
        let Some(added) = attempt.adding.added.take() else { return Ok(false) };
        let of_epoch = attempt.log.found.iter().filter(|((epoch, _), _)| *epoch == added.epoch);
        let doors: Vec<Door> = of_epoch.map(|(_, door)| door.clone()).collect();
        let is_past = attempt.log.found.keys().any(|(epoch, _)| *epoch > added.epoch);
        if doors.is_empty() && !is_past && added.until > turn.now() {
            // Whoever has added it is about to write that door.
            attempt.again_at = Some(turn.now() + TREE_AGAIN_MS);
            attempt.adding.added = Some(added);
            return Ok(true);
        }
        for door in doors.iter().rev() {
            if self.join_by(turn, cx, (chat, &added), door)? {
                return Ok(true);
            }
        }
        tracing::warn!(epoch = added.epoch, "a welcome into a group leads nowhere");
        Ok(false)
    }

    fn join_by(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, added): (ChatId, &AddedTo),
        door: &Door,
    ) -> Result<bool, EngineError> {
        let id = self.chats.offered(chat).and_then(OfferedDoor::id);
        // Where this device is in the group, it enters again.
        let Some(id) = id.filter(|id| !self.groups.contains_key(id)) else { return Ok(false) };
        cx.mls.forget(&id);
        match cx.mls.join_added(&added.welcome, &door.info, &id, Expected::Group(chat.0)) {
            Ok(live) if live.epoch() == added.epoch => {
                tracing::debug!(group = id[0], epoch = added.epoch, "a group was joined");
                self.entered(turn, cx, chat, Way::Added(Box::new(live), &added.log))?;
                Ok(true)
            }
            Ok(_) => {
                cx.mls.forget(&id);
                Ok(false)
            }
            Err(error) => {
                tracing::debug!(%error, "a welcome cannot be used");
                cx.mls.forget(&id);
                Ok(false)
            }
        }
    }
}
