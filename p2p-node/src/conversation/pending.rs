//! What conversations have asked of the servers that keep their logs.

use starling_wire::rendezvous::{Refusal, ResponseBody};

use super::group::{GroupEntry, GroupId};
use super::{Conversations, Groups};
use crate::{
    api::problem::ChatProblem,
    conversation::{context::Context, log::limits::SHOWN_WAIT_MS},
    home::{Appended, LogPending, LogPlace, Refused},
    limits::RETRY_REFUSED_MS,
    net::HomeId,
    turn::{EngineError, Fact, Turn},
};

impl Conversations {
    pub(crate) fn on_log_request_lost(&mut self, turn: &mut Turn<'_>, pending: LogPending) {
        match pending {
            LogPending::Open(id) | LogPending::Read(id, _) | LogPending::Commit(id) | LogPending::Parts(id, ..) => {
                if let Some(entry) = self.groups.get_mut(&id) {
                    (entry.append.opening, entry.append.committing) = (false, false);
                    entry.append.parts_under_way = false;
                    entry.read.under_way.clear();
                }
            }
            LogPending::Append(appended) => {
                if let Some(entry) = self.groups.get_mut(&appended.place.group) {
                    entry.append.under_way = false;
                }
                self.chats.append_failed(&appended, turn.now() + RETRY_REFUSED_MS);
            }
            LogPending::Announce(id, epoch) => self.groups.not_announced(turn, (id, epoch), None),
            LogPending::Trim(trimming) => self.logged.not_trimmed(&trimming),
            LogPending::Door(id, ..) => self.groups.door_not_written(id, None),
            // What names them is lost, too.
            LogPending::DoorParts(_) => {}
            LogPending::Delete(id, _) => self.log_not_deleted(id),
            LogPending::ReadDoor(chat) | LogPending::Enter(chat, _) | LogPending::EnterParts(chat, ..) => {
                self.enter_lost(chat);
            }
            LogPending::Join(pending) => self.on_join_request_lost(turn, pending),
        }
    }
}

impl Conversations {
    pub(crate) fn on_log_answer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        pending: LogPending,
        answer: ResponseBody,
    ) -> Result<(), EngineError> {
        match (pending, answer) {
            (LogPending::Open(id), ResponseBody::Done(_)) => self.log_opened(turn, cx, id),
            (LogPending::Read(id, epoch), ResponseBody::Page(page)) => {
                self.on_log_page(turn, cx, home, id, epoch, page)?
            }
            (LogPending::Append(appended), ResponseBody::Appended(last)) => {
                self.on_appended(turn, cx, &appended, last)?
            }
            (LogPending::Append(appended), ResponseBody::Behind(behind)) => {
                self.on_appended_behind(turn, cx, &appended, &behind)?;
            }
            (LogPending::Trim(trimming), _) => self.logged.trimmed(turn, trimming)?,
            (LogPending::Announce(id, epoch), ResponseBody::Appended(_) | ResponseBody::Behind(_)) => {
                self.groups.on_announced(id, epoch);
            }
            (LogPending::Door(id, epoch, count), ResponseBody::Appended(last)) => {
                let in_parts = self.may_have_parts(id);
                self.groups.door_written(turn, cx, (id, epoch), (last, count), in_parts);
            }
            (LogPending::DoorParts(_), ResponseBody::Appended(_)) => {}
            (LogPending::ReadDoor(chat), ResponseBody::Page(page)) => {
                self.on_door_page(turn, cx, (chat, home), page)?;
            }
            (LogPending::Enter(chat, commit), ResponseBody::Appended(last)) => {
                self.on_enter_answer(turn, cx, (chat, commit), Ok(last))?;
            }
            (LogPending::Enter(chat, commit), ResponseBody::Behind(behind)) => {
                self.on_enter_answer(turn, cx, (chat, commit), Err(behind))?;
            }
            (LogPending::EnterParts(chat, commit, upto), ResponseBody::Appended(_) | ResponseBody::Behind(_)) => {
                self.on_enter_parts(turn, cx, (chat, commit), upto);
            }
            (LogPending::Parts(id, commit, upto), ResponseBody::Appended(_) | ResponseBody::Behind(_)) => {
                self.on_parts_appended(turn, cx, (id, commit), upto)?;
            }
            (LogPending::Delete(id, address), ResponseBody::Done(_)) => {
                self.log_deleted(turn, cx, (id, address), true);
            }
            (LogPending::Join(pending), answer) => self.on_join_answer(turn, cx, home, pending, answer)?,
            // Won or lost, the log says it: the first commit that counts is ours or another's.
            (LogPending::Commit(id), ResponseBody::Appended(_)) => {
                self.on_room(turn, id);
                // What was pushed may have come before this answer: then nothing waits for it any more.
                if self.groups.get(&id).is_some_and(|group| group.has_pending) {
                    self.log_stopped(turn, cx, id, None);
                }
            }
            (LogPending::Commit(id), ResponseBody::Behind(behind)) if behind.last == 0 => {
                self.commit_refused(turn, cx, id);
            }
            (LogPending::Commit(id), ResponseBody::Behind(_)) => {
                self.on_room(turn, id);
                self.log_stopped(turn, cx, id, None);
            }
            // What a server of another version says.
            (pending, _) => self.on_log_request_lost(turn, pending),
        }
        Ok(())
    }

    pub(crate) fn on_log_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        pending: LogPending,
        refused: &Refused,
    ) -> Result<(), EngineError> {
        match pending {
            LogPending::Trim(trimming) if refused.is_busy() => {
                self.logged.not_trimmed(&trimming);
                cx.homes.retry_later(refused);
            }
            LogPending::Trim(trimming) => self.logged.trimmed(turn, trimming)?,
            LogPending::Announce(id, epoch) => {
                self.groups.not_announced(turn, (id, epoch), Some(refused));
                cx.homes.retry_later(refused);
            }
            LogPending::DoorParts(id) => self.groups.door_refused(id),
            LogPending::Door(id, ..) => {
                self.groups.door_not_written(id, Some(refused));
                cx.homes.retry_later(refused);
            }
            LogPending::ReadDoor(chat) | LogPending::Enter(chat, _) | LogPending::EnterParts(chat, ..) => {
                self.enter_refused(turn, chat, refused)?;
                cx.homes.retry_later(refused);
            }
            LogPending::Join(pending) => {
                self.on_join_refusal(turn, pending, refused);
                cx.homes.retry_later(refused);
            }
            LogPending::Delete(id, address) if refused.reason == Refusal::NotFound => {
                self.log_deleted(turn, cx, (id, address), false);
            }
            LogPending::Delete(id, _) => {
                self.log_not_deleted(id);
                if refused.is_busy() {
                    cx.homes.retry_later(refused);
                }
            }
            LogPending::Read(id, epoch) if self.groups.get(&id).is_some_and(|g| g.epoch() > epoch) => {
                self.past_log_refused(turn, cx, (id, epoch), refused)?;
            }
            LogPending::Open(id) | LogPending::Read(id, _) | LogPending::Commit(id) | LogPending::Parts(id, ..) => {
                self.log_stopped(turn, cx, id, Some(refused.again_at));
                if refused.reason == Refusal::Full {
                    self.on_full(turn, id, true);
                }
                if refused.reason == Refusal::NotFound {
                    self.log_lost(turn, id);
                    self.groups.get_mut(&id).into_iter().for_each(GroupEntry::end_left);
                }
                cx.homes.retry_later(refused);
            }
            LogPending::Append(appended) if refused.reason == Refusal::Full && appended.items.len() > 1 => {
                // There may be room for some of them.
                if let Some(entry) = self.groups.get_mut(&appended.place.group) {
                    entry.append.most = appended.items.len() / 2;
                    entry.append.under_way = false;
                }
            }
            LogPending::Append(appended) => self.append_refused(turn, cx, &appended, refused),
        }
        Ok(())
    }

    /// The log of an epoch that is over cannot be read, now or at all. Nothing waits for it, and what it has of others is missing by its numbers.
    fn past_log_refused(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
        refused: &Refused,
    ) -> Result<(), EngineError> {
        if refused.reason == Refusal::NotFound {
            self.lose_unread(turn, (id, epoch))?;
            self.groups.forget_log(id, epoch);
            let chat = self.groups.get(&id).and_then(GroupEntry::chat);
            return chat.map_or(Ok(()), |chat| self.renew_outbox(turn, cx, chat));
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        entry.read.under_way.retain(|reading| *reading != epoch);
        if refused.is_busy() {
            cx.homes.retry_later(refused);
            return Ok(());
        }
        entry.read.ended.insert(epoch);
        self.leave_read_log(turn, cx, (id, epoch))
    }

    /// What was to be appended waits, and the user is told why.
    fn append_refused(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, appended: &Appended, refused: &Refused) {
        let LogPlace { chat, group, .. } = appended.place;
        let problem = match refused.reason {
            Refusal::Full => ChatProblem::LogFull,
            Refusal::RateLimited => ChatProblem::LogRateLimited,
            Refusal::Banned => ChatProblem::LogBanned,
            _ => ChatProblem::LogRefused,
        };
        // A short wait is none that a user has to know of.
        let is_short = refused.reason == Refusal::RateLimited && refused.again_at < turn.now() + SHOWN_WAIT_MS;
        if !appended.items.is_empty() && !is_short {
            self.chats.set_problem(turn, chat, Some(problem));
        }
        self.chats.append_failed(appended, refused.again_at);
        self.log_stopped(turn, cx, group, Some(refused.again_at));
        match refused.reason {
            Refusal::Full => self.on_full(turn, group, false),
            Refusal::NotFound => self.log_lost(turn, group),
            _ => {}
        }
        cx.homes.retry_later(refused);
    }

    /// A server has opened a log of ours: whoever was invited into its group may read it now.
    fn log_opened(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.append.opening = false;
            entry.row.log_opened = true;
            entry.touch();
            if let Some(chat) = entry.chat() {
                self.policies.log_opened(&chat);
            }
        }
        self.on_room(turn, id);
        self.read_logs(turn, cx, id);
        turn.fact(Fact::LogOpened(id));
    }
}

impl Groups {
    /// The log of an epoch that is over is not there any more.
    fn forget_log(&mut self, id: GroupId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(keys) = entry.keys_of(epoch) {
            self.logs.remove(&keys.address);
        }
        entry.read.under_way.retain(|reading| *reading != epoch);
        entry.forget_log(epoch);
    }
}
