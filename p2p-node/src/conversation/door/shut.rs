//! Who enters and finds a commit before its own that ends what has let its account in: it was removed, or its invitation withdrawn.

use starling_wire::{Policy, rendezvous::Behind};

use crate::{
    api::types::ChatId,
    conversation::{Conversations, context::Context, group::LogKeys, group_state::commit_of},
    mls::claimed_policy,
    store::{EnteringRow, OfferedDoor},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// Whether the first commit before ours takes our account out of the group; then the user is told, and nothing is tried any more. It is not judged:
    /// whoever knows the way in can write one, as they can keep newcomers out with garbage. Who is invited again comes in all the same.
    pub(super) fn is_shut_out(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
        entering: &EnteringRow,
        behind: &Behind,
    ) -> Result<bool, EngineError> {
        // Whose account comes by a link is in no policy before.
        let door = self.chats.offered(chat).filter(|door| door.link.is_empty() && !door.apart);
        let id = door.and_then(OfferedDoor::id);
        let Some((id, keys)) = id.zip(LogKeys::of_secret(&entering.secret)) else { return Ok(false) };
        let first = behind.candidates.iter().find_map(|entry| keys.open_entry(&entry.sealed));
        let policy = first.and_then(commit_of).and_then(|commit| claimed_policy(&commit, (&id, entering.epoch)));
        let own = cx.dir.account.id();
        let takes_out = |policy: &Policy| policy.conversation == chat.0 && policy.role(own.as_bytes()).is_none();
        match policy.filter(takes_out) {
            Some(policy) => self.be_out_before_entered(turn, &own, chat, &policy),
            None => Ok(false),
        }
    }
}
