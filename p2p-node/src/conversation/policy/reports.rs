//! Reports of messages to those who moderate a group: events in its log, sealed to the devices of moderators, so that no other member reads them. A
//! moderator's device takes the message from its own history, where it has it: that proves who has written what; else it says that it has not.

use std::collections::BTreeMap;

use rand::RngExt;
use starling_keys::{AccountId, StorageKey};
use starling_wire::{
    Body, EventId, MAX_REPORT_DEVICES, MAX_REPORT_REASON, MAX_REPORT_TEXT, Report, ReportContent, Role, SealedKey,
};
use zeroize::Zeroizing;

use super::limits::{MAX_REPORTS, MAX_REPORTS_OF_MEMBER};
use crate::{
    api::{
        error::{GroupRefusal, Invalid, NodeError, NotAllowed, NotFound},
        types::{ChatId, DurableEventKind, GroupReport, MessageId},
    },
    contacts::Directory,
    conversation::{Conversations, context::Context},
    events::{self, Summary, Target},
    roster::GroupMember,
    store::{EventLogRow, EventRow, REPORTS, Reading, ReportRow, prefix},
    turn::{EngineError, Turn},
};

/// The lowest role that reads reports.
const READS_REPORTS: Role = Role::Moderator;

/// A message as it is here.
struct Reported {
    author: AccountId,
    text: String,
    /// It came from its author, and not from a member who has handed it on.
    is_authentic: bool,
}

/// A device that a report is sealed for.
struct Reader {
    tag: [u8; 8],
    seal_key: Vec<u8>,
}

fn key(chat: ChatId, by: &[u8], message: &[u8]) -> Vec<u8> {
    [&chat.0[..], by, message].concat()
}

fn rows(read: &impl Reading, chat: ChatId) -> Result<Vec<ReportRow>, EngineError> {
    let rows = read.range::<ReportRow>(REPORTS, prefix(&chat.0), usize::MAX, false)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The text of a message, as it is now.
fn text_of(row: &EventRow) -> Option<String> {
    match events::summary(row)? {
        Summary::Message(text) => Some(row.edited.clone().unwrap_or(text.text)),
        Summary::Call(_) | Summary::Device(_) => None,
    }
}

/// The beginning of a text, of at most so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    &text[..ends.take_while(|end| *end <= most).last().unwrap_or_default()]
}

impl GroupReport {
    fn stored(row: ReportRow) -> Option<Self> {
        Some(Self {
            by: AccountId::from_bytes(&row.by).ok()?,
            message: MessageId(EventId::from_bytes(&row.message)?),
            author: AccountId::from_bytes(&row.author).ok()?,
            text: row.text,
            confirmed: row.confirmed,
            reason: row.reason,
            at_ms: row.at_ms,
        })
    }
}

impl Conversations {
    /// Our user reports a message.
    pub(super) fn report(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, message): (ChatId, MessageId),
        reason: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if reason.len() > MAX_REPORT_REASON {
            return Ok(Err(Invalid::ReportTooLong { max: MAX_REPORT_REASON }.into()));
        }
        if self.policies.policy(&chat).is_none() {
            return Ok(Err(NotFound::Group.into()));
        }
        // Who may only read may report, too.
        if let Err(error) = self.ready_to(turn, cx, chat, Role::Reader)? {
            return Ok(Err(error));
        }
        let own = cx.dir.account.id();
        let found = self.message_of(turn, cx.dir, chat, message.0)?.filter(|found| found.author != own);
        let Some(Reported { author, text, .. }) = found else {
            return Ok(Err(NotFound::Message.into()));
        };
        let readers = self.report_readers(cx.dir, chat, &author);
        let text = beginning(&text, MAX_REPORT_TEXT).to_owned();
        let content = ReportContent { message: message.0, author: *author.as_bytes(), text, reason };
        let report = seal(turn, cx, chat, &content, &readers);
        if report.keys.is_empty() {
            return Ok(Err(NotAllowed::Group(GroupRefusal::NoModerator).into()));
        }
        self.chats.announce(turn, cx, chat, Body::Report(report));
        Ok(Ok(()))
    }

    /// A message that is here and not deleted: its author, and its text.
    fn message_of(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        id: EventId,
    ) -> Result<Option<Reported>, EngineError> {
        let found = self.with_fold(turn, dir, chat, |fold| fold.target(id)).map(|(found, _)| found);
        Ok(match found.transpose()? {
            Some(Target::Message { row, by }) if !row.deleted => {
                let is_authentic = !events::handed::is_handed(&row);
                text_of(&row).map(|text| Reported { author: by, text, is_authentic })
            }
            _ => None,
        })
    }

    /// The devices of those who moderate a group, but for our own account and the one that is reported: one of each first, the highest roles before
    /// the others.
    fn report_readers(&self, dir: Directory<'_>, chat: ChatId, reported: &AccountId) -> Vec<Reader> {
        let own = dir.account.id();
        let Some(group) = self.active_group(dir, chat).and_then(|id| self.groups.get(&id)) else { return Vec::new() };
        let mut counts: BTreeMap<AccountId, usize> = BTreeMap::new();
        let mut devices: Vec<(usize, Role, GroupMember)> = Vec::new();
        for member in group.members.iter().filter(|member| member.account != own && member.account != *reported) {
            let Some(role) = self.role_in(chat, &member.account).filter(|role| *role <= READS_REPORTS) else {
                continue;
            };
            let count = counts.entry(member.account).or_default();
            devices.push((*count, role, *member));
            *count += 1;
        }
        devices.sort_by_key(|(count, role, member)| (*count, *role, member.account));
        let reader = |(_, _, member): &(usize, Role, GroupMember)| {
            let device = dir.list_of(&member.account)?.device(&member.device)?;
            let seal_key = Some(device.seal_key.clone()).filter(|key| !key.is_empty())?;
            Some(Reader { tag: member.device.tag(), seal_key })
        };
        devices.iter().filter_map(reader).take(MAX_REPORT_DEVICES).collect()
    }

    /// Whether our user reads what is reported in a group.
    fn reads_reports(&self, dir: Directory<'_>, chat: ChatId) -> bool {
        self.role_in(chat, &dir.account.id()).is_some_and(|role| role <= READS_REPORTS)
    }

    /// A member has reported a message.
    pub(crate) fn on_report(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, by, device): (ChatId, AccountId, [u8; 8]),
        report: &Report,
    ) -> Result<(), EngineError> {
        if !self.reads_reports(cx.dir, chat) {
            return Ok(());
        }
        let Some(content) = open(cx, chat, &device, report) else { return Ok(()) };
        let Ok(author) = AccountId::from_bytes(&content.author) else { return Ok(()) };
        let message = content.message.to_bytes();
        let place = key(chat, by.as_bytes(), &message);
        // Nobody moderates what is said of themselves, and of each message a member says it once.
        if author == cx.dir.account.id() || turn.get::<ReportRow>(REPORTS, &place)?.is_some() {
            return Ok(());
        }
        let known = rows(turn, chat)?;
        if known.iter().filter(|row| row.by == by.as_bytes()).count() >= MAX_REPORTS_OF_MEMBER {
            tracing::debug!("a report of a member that has sent too many was dropped");
            return Ok(());
        }
        if known.len() >= MAX_REPORTS
            && let Some(oldest) = known.iter().min_by_key(|row| row.at_ms)
        {
            turn.delete(REPORTS, &key(chat, &oldest.by, &oldest.message))?;
        }
        let seen = self.message_of(turn, cx.dir, chat, content.message)?;
        let seen = seen.filter(|seen| seen.author == author && seen.is_authentic);
        let confirmed = seen.is_some();
        let text = match seen {
            Some(seen) => beginning(&seen.text, MAX_REPORT_TEXT).to_owned(),
            None => content.text,
        };
        let row = ReportRow {
            by: by.as_bytes().to_vec(),
            message: message.to_vec(),
            author: author.as_bytes().to_vec(),
            text,
            confirmed,
            reason: content.reason.clone(),
            at_ms: turn.wall(),
        };
        turn.put(REPORTS, &place, &row)?;
        turn.durable_event(EventLogRow {
            kind: DurableEventKind::GroupReported.stored(),
            chat: chat.0.to_vec(),
            ids: message.to_vec(),
            account: by.as_bytes().to_vec(),
            text: content.reason,
            ..EventLogRow::default()
        })
    }

    /// What was reported in a group, the oldest first.
    pub(super) fn reports_of(
        &self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
    ) -> Result<Result<Vec<GroupReport>, NodeError>, EngineError> {
        if self.policies.policy(&chat).is_none() {
            return Ok(Err(NotFound::Group.into()));
        }
        if !self.reads_reports(cx.dir, chat) {
            return Ok(Err(NotAllowed::Group(GroupRefusal::Role).into()));
        }
        let mut reports: Vec<GroupReport> = rows(turn, chat)?.into_iter().filter_map(GroupReport::stored).collect();
        reports.sort_by_key(|report| (report.at_ms, report.message, report.by));
        Ok(Ok(reports))
    }
}

/// Seals a report for devices; those whose keys are not valid are left out.
fn seal(turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId, content: &ReportContent, readers: &[Reader]) -> Report {
    let context = Report::context(&chat.0, &cx.dir.account.device().tag());
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(turn.rng().random());
    let for_reader = |reader: &Reader| {
        let sealed = cx.mls.seal_to(&reader.seal_key, &context, &key[..]).ok()?;
        Some(SealedKey { device: reader.tag, sealed: sealed.into() })
    };
    let keys = readers.iter().filter_map(for_reader).collect();
    Report { sealed: StorageKey::from_bytes(*key).seal(&context, &content.to_bytes()).into(), keys }
}

/// Opens a report, if it is for this device.
fn open(cx: &Context<'_>, chat: ChatId, reporter: &[u8; 8], report: &Report) -> Option<ReportContent> {
    let context = Report::context(&chat.0, reporter);
    let tag = cx.dir.account.device().tag();
    let identity = &cx.dir.account.identity;
    let sealed = &report.keys.iter().find(|key| key.device == tag)?.sealed;
    let opened = cx.mls.open_sealed(&identity.row.seal_secret, &identity.seal_public, &context, sealed).ok()?;
    let key: [u8; 32] = opened.as_slice().try_into().ok()?;
    let plain = StorageKey::from_bytes(key).open(&context, &report.sealed).ok()?;
    ReportContent::from_bytes(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(beginning("grün", 2), "gr");
        assert_eq!(beginning("grün", 3), "gr", "the third letter has two bytes");
        assert_eq!(beginning("grün", 4), "grü");
        assert_eq!(beginning("grün", 100), "grün");
        assert_eq!(beginning("ü", 1), "");
    }
}
