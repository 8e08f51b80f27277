//! The device that lacks the history: takes pages of it.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    Clock, EventId,
    history::{HistoryAuthor, HistoryPage, HistoryPart, HistoryRow},
};

use super::{
    History,
    limits::{HISTORY_FOLLOW_MS, HISTORY_IDLE_MS, MAX_HISTORY_IDLE_MS},
};
use crate::{
    api::types::{ChatId, ContactState, CopyPhase},
    contacts::Directory,
    conversation::{ChatState, Conversations},
    events::{self, Summary, copied},
    limits::MAX_CONTACTS,
    roster::Label,
    store::EventRow,
    turn::{EngineError, Turn},
};

/// A row that is to be taken.
struct Copied {
    id: EventId,
    author: AccountId,
    row: EventRow,
}

impl History {
    /// Takes a page, if it is the one that is wanted now; its messages and where the copying stands are durable together. Gives whether
    /// the copying is done.
    ///
    /// # Errors
    /// If the store fails.
    pub fn on_page(
        &mut self,
        turn: &mut Turn<'_>,
        conversations: &mut Conversations,
        dir: Directory<'_>,
        page: HistoryPage,
    ) -> Result<bool, EngineError> {
        if page.request.as_ref() != Some(&self.request()) {
            return Ok(false);
        }
        let settled = self.settled.take().unwrap_or(false);
        self.copy.copied += take_page(turn, conversations, dir, &page)?;
        self.copy_dirty = true;
        let now = turn.now();
        self.due = Some(now);
        if self.phase() == CopyPhase::Copying {
            self.after_page(turn, &page);
            return Ok(false);
        }
        self.copy.changes = page.changes;
        if page.more {
            return Ok(false);
        }
        let late = turn.agreed_ms().saturating_sub(self.copy.complete_ms) > HISTORY_FOLLOW_MS;
        if settled || late {
            self.set_phase(turn, CopyPhase::Done);
            return Ok(true);
        }
        let wait = HISTORY_IDLE_MS.saturating_mul(1 << self.idle.min(16)).min(MAX_HISTORY_IDLE_MS);
        self.idle += 1;
        self.due = Some(now + wait);
        Ok(false)
    }

    /// A page of what was there before.
    fn after_page(&mut self, turn: &mut Turn<'_>, page: &HistoryPage) {
        let copy = &mut self.copy;
        if copy.started_ms == 0 {
            (copy.started_ms, copy.total, copy.changes) = (turn.wall(), page.total, page.changes);
        }
        copy.walked += u64::from(page.walked);
        copy.total = copy.total.max(copy.walked);
        copy.before = page.next.to_vec();
        if page.next.is_empty() {
            copy.complete_ms = turn.agreed_ms();
            copy.total = copy.walked;
            self.idle = 0;
            self.set_phase(turn, CopyPhase::Following);
        } else {
            self.tell_progress(turn);
        }
    }
}

/// Takes the messages of a page; gives how many were new.
fn take_page(
    turn: &mut Turn<'_>,
    conversations: &mut Conversations,
    dir: Directory<'_>,
    page: &HistoryPage,
) -> Result<u64, EngineError> {
    let mut new = 0;
    for part in &page.parts {
        let Ok(with) = AccountId::from_bytes(&part.with) else { continue };
        let removed = dir.person(&with).is_some_and(|person| person.state() == ContactState::Removed);
        let has_room = conversations.chats.direct_with(&with).is_some() || conversations.chats.len() < 2 * MAX_CONTACTS;
        if with == dir.account.id() || removed || !has_room {
            continue;
        }
        let chat = conversations.chats.chat_with(turn, dir.account.id(), with);
        new += take_part(turn, conversations, dir, (chat, Some(with)), (page, part), Clock::default())?;
    }
    Ok(new)
}

/// Takes the messages of a page of a group, but those that are stamped before a clock.
pub fn take_group_page(
    turn: &mut Turn<'_>,
    conversations: &mut Conversations,
    dir: Directory<'_>,
    chat: ChatId,
    (page, since): (&HistoryPage, Clock),
) -> Result<(), EngineError> {
    for part in &page.parts {
        take_part(turn, conversations, dir, (chat, None), (page, part), since)?;
    }
    Ok(())
}

/// Takes a part of a conversation with an account, or of a group; gives how many messages were new.
fn take_part(
    turn: &mut Turn<'_>,
    conversations: &mut Conversations,
    dir: Directory<'_>,
    (chat, with): (ChatId, Option<AccountId>),
    (page, part): (&HistoryPage, &HistoryPart),
    since: Clock,
) -> Result<u64, EngineError> {
    let mut rows = Vec::new();
    for row in &part.rows {
        if let Some(author) = page.authors.get(row.author as usize) {
            rows.extend(conversations.copied_row(turn, dir, (chat, with), author, row)?);
        }
    }
    rows.retain(|copied| copied.id.clock >= since);
    let taken = conversations.with_fold(turn, dir, chat, |fold| {
        let latest = fold.latest();
        events::read_upto(fold, Clock(part.read).min(latest))?;
        if let Some(with) = with {
            fold.roster.note_read(with, part.read_by_them.min(latest.0));
        }
        let mut new = 0;
        for Copied { id, author, row } in rows {
            new += u64::from(copied::take(fold, id, author, row)?);
        }
        Ok::<u64, EngineError>(new)
    });
    let mut new = 0;
    if let Some((taken, facts)) = taken {
        new = taken?;
        turn.facts(facts);
    }
    if let Some(state) = conversations.chats.get_mut(&chat) {
        note_delivered(state, dir, part);
    }
    conversations.chats.write_draft(turn, chat)?;
    Ok(new)
}

/// How far what our devices have written was delivered: what is said of this one it knows better.
fn note_delivered(state: &mut ChatState, dir: Directory<'_>, part: &HistoryPart) {
    let (own, this) = (dir.account.id(), dir.account.device());
    for mark in &part.delivered {
        if let Ok(device) = DeviceId::from_bytes(&mark.device)
            && device != this
        {
            state.roster.note_delivered(own, &device, mark.upto);
        }
    }
}

impl Conversations {
    /// A row of a page as it is stored here; `None` if it is none that is taken.
    fn copied_row(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        (chat, with): (ChatId, Option<AccountId>),
        author: &HistoryAuthor,
        row: &HistoryRow,
    ) -> Result<Option<Copied>, EngineError> {
        let (Ok(account), Ok(tag), Some(id)) =
            (AccountId::from_bytes(&author.account), <[u8; 8]>::try_from(&*author.tag), EventId::from_bytes(&row.id))
        else {
            return Ok(None);
        };
        let own = account == dir.account.id();
        // What this device has written it knows itself.
        let is_here = own && id.device == dir.account.device().tag();
        let stored = copied::from_wire(row);
        let kind = events::summary(&stored);
        let by_tag = id.device == tag || matches!(kind, Some(Summary::Call(_)));
        // Of a group anybody may have been a member; lines about devices and calls there are none.
        let is_of_chat = match with {
            Some(with) => (own || account == with) && kind.is_some(),
            None => matches!(kind, Some(Summary::Message(_))),
        };
        if !is_of_chat || is_here || !by_tag {
            return Ok(None);
        }
        let label = author.label.as_ref();
        let device = label.and_then(|l| DeviceId::from_bytes(&l.device).ok()).filter(|device| device.tag() == tag);
        if device.is_some_and(|device| self.chats.is_beyond_cut(dir, chat, (account, &device), id)) {
            return Ok(None);
        }
        let number = match device {
            Some(device) => self.authors.author(turn, dir, account, &device)?,
            None => self.authors.author_with_tag(turn, dir, account, tag)?,
        };
        if let (Some(device), Some(label)) = (device, label)
            && self.authors.label(account, tag).is_none_or(|known| *known == Label::default())
        {
            let label = Label { name: label.name.clone(), kind: label.kind.clone() };
            self.authors.label_device(turn, dir, account, device, &label)?;
        }
        Ok(Some(Copied { id, author: account, row: EventRow { author: number, ..stored } }))
    }
}
