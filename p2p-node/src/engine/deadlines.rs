//! What a turn has to look at: what its inputs have touched, and what is due. Everything else is left alone, however much there is.

use std::collections::BTreeSet;

use starling_keys::{AccountId, DeviceId};

use super::Engine;
use crate::{
    api::types::ChatId,
    conversation::{ChatState, GroupEntry, group::GroupId, log::renewal_due},
    turn::{EngineError, Now, Schedule, Turn},
};

const HOUR_MS: u64 = 3_600_000;

/// Something that is done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// A receipt, or an entry for the log.
    Chat(ChatId),
    /// An event that was stamped ahead.
    Held(ChatId),
    /// A commit, or what is said of one, that the home has refused for now; a log that is not read for now; an encryption state that is to be written; a
    /// door that waits for the end of other changes.
    Group(GroupId),
    /// What was not acknowledged is sent again.
    Link(DeviceId),
    /// Somebody has stopped typing.
    Typing(AccountId),
}

/// What is due in a conversation.
struct ChatDue {
    chat: ChatId,
    /// It needs a turn, in steady time.
    wake: Option<u64>,
    /// What is stamped ahead, in steady time.
    held: Option<u64>,
    /// Its waiting messages are given up, by the clock.
    expiry: Option<u64>,
}

/// Deadlines of conversations, groups, contacts and streams.
pub struct Deadlines {
    /// In steady time: they wake the engine.
    wakes: Schedule<Wake>,
    /// By the clock: when groups renew their keys or forget earlier ones, in whatever turn comes after.
    renewals: Schedule<GroupId>,
    /// By the clock: when the life of waiting messages ends, in whatever turn comes after.
    expiries: Schedule<ChatId>,
    /// The times of the turn before this.
    pub last: Now,
}

impl Deadlines {
    /// None, at the start.
    pub fn new(now: u64) -> Self {
        let last = Now { steady_ms: now, wall_ms: now, running_ms: 0 };
        Self { wakes: Schedule::default(), renewals: Schedule::default(), expiries: Schedule::default(), last }
    }

    /// When the engine has to wake without any input, in steady time.
    pub fn next(&self) -> Option<u64> {
        self.wakes.next()
    }
}

impl Engine {
    /// Takes what is due by now.
    pub(super) fn take_due(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for wake in self.deadlines.wakes.take_due(turn.now()) {
            match wake {
                Wake::Chat(chat) => self.conversations.chats.touch(chat),
                Wake::Held(chat) => {
                    let (conversations, cx) = self.conversing();
                    conversations.release_held(turn, cx.dir, chat)?;
                }
                Wake::Group(group) => self.conversations.groups.touch(group),
                Wake::Link(device) => self.delivery.resend(turn, &mut self.conversations, device),
                Wake::Typing(account) => {
                    let (presence, mut views) = self.presenting();
                    presence.expire_typing(turn, &mut views, account);
                }
            }
        }
        for group in self.deadlines.renewals.take_due(turn.wall()) {
            self.conversations.groups.touch(group);
        }
        // A clock that was set far ahead by mistake does not fail what waits.
        for chat in self.deadlines.expiries.take_due(turn.wall().min(turn.agreed_ms())) {
            let (conversations, mut cx) = self.conversing();
            conversations.expire_outbox(turn, &mut cx, chat)?;
        }
        Ok(())
    }

    /// Of each conversation that this turn has touched: what is due when.
    fn due_of_chats(&mut self, turn: &Turn<'_>) -> Vec<ChatDue> {
        let (conversations, cx) = self.conversing();
        let touched = conversations.touched_chats(cx.dir);
        let states = touched.into_iter().filter_map(|chat| conversations.chats.get(&chat));
        let receipt = |state: &ChatState| state.receipt_due.filter(|_| !state.row.outdated);
        let due = |state: &ChatState| receipt(state).into_iter().chain(conversations.log_due(&cx, state)).min();
        // Looked at within the hour, as clocks are corrected.
        let wait = |held: u64| turn.now() + held.saturating_sub(turn.latest_ms()).min(HOUR_MS);
        let of = |state: &ChatState| ChatDue {
            chat: state.id,
            wake: due(state),
            held: state.held_due_ms().map(wait),
            expiry: expiry(state),
        };
        states.map(of).collect()
    }

    /// Sets the deadlines of what this turn has touched.
    pub(super) fn plan(&mut self, turn: &Turn<'_>) {
        for due in self.due_of_chats(turn) {
            self.deadlines.wakes.set(Wake::Chat(due.chat), due.wake);
            self.deadlines.wakes.set(Wake::Held(due.chat), due.held);
            self.deadlines.expiries.set(due.chat, due.expiry);
        }
        for group in self.conversations.groups.touched() {
            let Some(entry) = self.conversations.groups.get(&group) else { continue };
            let policies = &self.conversations.policies;
            let has_more = |g: &GroupEntry| {
                (g.append.committing && g.has_pending)
                    || g.announces()
                    || g.has_door_to_write()
                    || g.card_to_write().is_some()
                    || g.chat().is_some_and(|chat| policies.has_wishes(&chat))
            };
            let waits = |g: &&GroupEntry| has_more(g) && g.append.retry_at > turn.now();
            let (retry, renewal) =
                (Some(entry).filter(waits).map(|g| g.append.retry_at), renewal_due(&self.counters, entry));
            let items = entry.items_due_ms().map(|due| turn.now() + due.saturating_sub(turn.wall()).min(HOUR_MS));
            let renewal = renewal.filter(|_| !self.conversations.is_outdated_group(group));
            let unlisted = entry.read.waits_until.filter(|until| *until != 0).into_iter().chain(entry.forks.told_due());
            // What is due by now is written in this turn.
            let state = self.conversations.groups.states.due(&group).filter(|due| *due > turn.now());
            let renews = entry.append.renews_at.filter(|at| *at > turn.now());
            let door = entry.door_waits_until.filter(|until| *until > turn.now() && entry.has_door_to_write());
            let due = retry.into_iter().chain(items).chain(unlisted).chain(state).chain(renews).chain(door).min();
            self.deadlines.wakes.set(Wake::Group(group), due);
            self.deadlines.renewals.set(group, renewal.into_iter().chain(entry.parents_due_ms()).min());
        }
        for account in self.contacts.people.touched() {
            let until = self.contacts.people.get(&account).and_then(|p| p.presence.typing_until);
            self.deadlines.wakes.set(Wake::Typing(account), until);
        }
        let links: BTreeSet<DeviceId> = self.delivery.links.take_touched();
        for device in links {
            let due = self.delivery.links.get(&device).and_then(crate::delivery::Link::resend_due);
            self.deadlines.wakes.set(Wake::Link(device), due);
        }
    }
}

/// When the first of the messages that wait for others is given up.
fn expiry(chat: &ChatState) -> Option<u64> {
    // They are in the order in which they were written, unless the clock was set back meanwhile.
    let ends = chat.outbox.front().into_iter().chain(chat.outbox.back());
    let [logged_life, other_life] = chat.outbox_lives_ms();
    let life = |last: u64| if last <= chat.row.sent_upto { logged_life } else { other_life };
    ends.map(|item| item.created_ms + life(item.last) + 1).min()
}
