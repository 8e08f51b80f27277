//! Messages between devices of the account about copying the history: on the direct stream, or where there is none through the home.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{DeviceId, chain::Rights};
use starling_wire::{
    direct::DirectFrame,
    history::{HISTORY_INFO, HistoryMessage, HistoryPage, HistoryRequest, HistoryStep, Nothing},
    limits::{MAX_HISTORY_IN_FRAME, MAX_INBOX_ITEM},
};

use super::{
    History,
    commands::HistoryCommand,
    limits::{
        HISTORY_ASK_AGAIN_MS, HISTORY_BYTES_DIRECT, HISTORY_BYTES_HOME, HISTORY_BYTES_RELAYED, HISTORY_HOME_AFTER_MS,
        HISTORY_HOME_AGAIN_MS,
    },
    source::Source,
};
use crate::{
    api::{
        Reply,
        error::{NodeError, NotAllowed, NotFound},
        types::CopyPhase,
    },
    contacts::Directory,
    conversation::GroupEntry,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
    views::Views,
};

/// In the key of an outbound item in place of a group: the newest message replaces the one that waits.
const PLACE: [u8; 16] = *b"history copying.";

/// The same for what is said about one group.
const GROUP_PLACE: [u8; 16] = *b"history of group";

/// What an item for an inbox has beside the device list and its content: names, signatures, the seal.
const ITEM_OVERHEAD: usize = 4 * 1024;

/// The copying of the history, with what it uses of the node.
pub struct HistoryExchange<'a> {
    pub cx: Views<'a>,
    pub history: &'a mut History,
}

impl HistoryExchange<'_> {
    pub(crate) fn on_command(&mut self, turn: &mut Turn<'_>, command: HistoryCommand) -> Result<(), EngineError> {
        match command {
            HistoryCommand::State(reply) => {
                let state = self.history.state();
                turn.reply(reply, Ok(state));
            }
            HistoryCommand::Give(device, reply) => {
                let given = self.give(turn, device)?;
                turn.reply(reply, given);
            }
            HistoryCommand::Get(from, reply) => self.get(turn, from, reply),
            HistoryCommand::Cancel(reply) => {
                self.cancel(turn)?;
                turn.reply(reply, Ok(()));
            }
        }
        Ok(())
    }

    /// The user lets a device of the account copy what this one has.
    fn give(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> Result<Result<(), NodeError>, EngineError> {
        if !self.cx.account.has_other(&device) {
            return Ok(Err(NotFound::Device.into()));
        }
        if self.rights_of(&self.cx.account.device()) == Some(Rights::Bot) {
            return Ok(Err(NotAllowed::NotAdmin.into()));
        }
        let grant = self.history.give(turn, device);
        self.say(turn, device, grant, HistoryStep::Offer(Nothing {}))?;
        Ok(Ok(()))
    }

    fn get(&mut self, turn: &mut Turn<'_>, from: Option<DeviceId>, reply: Reply<DeviceId>) {
        let offers = self.history.state().offers;
        let others: Vec<DeviceId> =
            self.cx.account.other_devices().iter().filter(|d| d.rights != Rights::Bot).map(|d| d.id).collect();
        let only = |all: &[DeviceId]| if let [one] = all { Some(*one) } else { None };
        let source = from.or_else(|| only(&offers)).or_else(|| only(&others));
        match source.filter(|source| others.contains(source)) {
            Some(source) => {
                if self.history.wish(turn, source) {
                    self.want_groups(turn, source);
                }
                turn.reply(reply, Ok(source));
            }
            None => turn.reply(reply, Err(NotFound::Device.into())),
        }
    }

    /// Ends the copying to this device, and takes back what others may copy.
    fn cancel(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.history.phase().is_open() {
            self.finish(turn)?;
            self.history.set_phase(turn, CopyPhase::None);
        }
        self.history.revoke(|_| true);
        Ok(())
    }

    /// The source's permission is not needed any more.
    fn finish(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some((source, step)) = self.history.source().zip(self.history.next_step()) else { return Ok(()) };
        self.say(turn, source, step.grant, HistoryStep::Finished(Nothing {}))
    }

    pub(super) fn rights_of(&self, device: &DeviceId) -> Option<Rights> {
        self.cx.account.list().and_then(|list| list.device(device)).map(|entry| entry.rights)
    }

    /// A device of ours is connected: what was interrupted goes on.
    pub(crate) fn link_up(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> Result<(), EngineError> {
        if !self.cx.account.has_other(&device) {
            return Ok(());
        }
        if self.history.source() == Some(device) && self.history.phase().is_open() {
            self.history.ask_at(turn.now());
        }
        self.history.groups.note_connected(turn.now(), &device);
        match self.history.grant_of(turn, &device) {
            Some(grant) => self.say(turn, device, grant, HistoryStep::Offer(Nothing {})),
            None => Ok(()),
        }
    }

    /// Our devices have changed: one that was removed neither gives nor gets anything.
    pub(crate) fn devices_changed(&mut self, turn: &mut Turn<'_>) {
        let Some(list) = self.cx.account.list().filter(|list| !list.is_empty()) else { return };
        self.history.revoke(|device| list.device(device).is_none());
        let gone = self.history.source().is_some_and(|source| list.device(&source).is_none());
        if (gone || self.cx.counters.row.superseded) && self.history.phase().is_open() {
            self.history.set_phase(turn, CopyPhase::Refused);
        }
    }

    /// Asks for what is wanted next, when it is time.
    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.history.served.clear();
        self.history.served_groups.clear();
        self.ask_for_groups(turn)?;
        let now = turn.now();
        if !self.history.take_due(now) || self.cx.counters.row.superseded {
            return Ok(());
        }
        let Some((source, step)) = self.history.source().zip(self.history.next_step()) else { return Ok(()) };
        let phase = self.history.phase();
        if self.cx.delivery.links.contains_key(&source) {
            self.history.together();
            let is_settled = phase == CopyPhase::Following && self.has_everything(&source);
            self.history.note_settled(is_settled);
            let again = if phase == CopyPhase::Wished { HISTORY_HOME_AGAIN_MS } else { HISTORY_ASK_AGAIN_MS };
            self.history.ask_at(now + again);
            return self.send(turn, source, &step);
        }
        // What follows can wait until they meet. Everything else goes through the home, if they do not soon.
        if phase == CopyPhase::Following {
            return Ok(());
        }
        let through_home = self.history.apart_since(now) + HISTORY_HOME_AFTER_MS;
        if now < through_home {
            self.history.ask_at(through_home);
            return Ok(());
        }
        self.history.ask_at(now + HISTORY_HOME_AGAIN_MS);
        self.send(turn, source, &step)
    }

    /// Sealed messages on a direct stream.
    pub(crate) fn on_frames(
        &mut self,
        turn: &mut Turn<'_>,
        from: DeviceId,
        sealed: &[Bytes],
    ) -> Result<(), EngineError> {
        if sealed.is_empty() || sealed.len() > MAX_HISTORY_IN_FRAME || !self.cx.account.has_other(&from) {
            return Ok(());
        }
        let identity = &self.cx.account.identity;
        let secret = zeroize::Zeroizing::new(identity.row.seal_secret.clone());
        let public = identity.seal_public.clone();
        for sealed in sealed {
            match self.cx.mls.open_sealed(&secret, &public, HISTORY_INFO, sealed) {
                Ok(plain) => self.on_message(turn, from, &plain)?,
                Err(_) => tracing::debug!("a message about the history is not for this device"),
            }
        }
        Ok(())
    }

    /// Another device of ours, which is on our list, says something of the history.
    pub(crate) fn on_message(&mut self, turn: &mut Turn<'_>, from: DeviceId, bytes: &[u8]) -> Result<(), EngineError> {
        let Ok(HistoryMessage { grant, step: Some(step) }) = HistoryMessage::from_bytes(bytes) else {
            tracing::debug!("a message about the history that is not valid");
            return Ok(());
        };
        let granted = self.history.grant_of(turn, &from) == Some(grant);
        let is_source = self.history.source() == Some(from) && self.history.phase().is_open();
        let awaited = is_source && self.history.next_step().is_some_and(|next| next.grant == grant);
        match step {
            HistoryStep::Wish(_) => match self.history.on_wish(turn, from) {
                Some(grant) => self.say(turn, from, grant, HistoryStep::Offer(Nothing {})),
                None => Ok(()),
            },
            HistoryStep::Offer(_) if self.rights_of(&from).is_some_and(|rights| rights != Rights::Bot) => {
                let before = self.history.phase();
                if self.history.on_offer(turn, from, grant) {
                    // It does not know yet.
                    self.say(turn, from, grant, HistoryStep::Finished(Nothing {}))?;
                }
                if before != CopyPhase::Copying && self.history.phase() == CopyPhase::Copying {
                    self.want_groups(turn, from);
                }
                Ok(())
            }
            HistoryStep::GroupRequest(request) => self.serve_group(turn, from, grant, &request),
            HistoryStep::GroupPage(page) if self.rights_of(&from).is_some_and(|rights| rights != Rights::Bot) => {
                self.on_group_page(turn, from, grant, &page)
            }
            HistoryStep::Request(request) if granted => self.serve(turn, from, grant, &request),
            HistoryStep::Request(_) => self.say(turn, from, grant, HistoryStep::Refused(Nothing {})),
            HistoryStep::Finished(_) if granted => {
                self.history.revoke(|device| *device == from);
                Ok(())
            }
            HistoryStep::Refused(_) if awaited => {
                self.history.set_phase(turn, CopyPhase::Refused);
                Ok(())
            }
            HistoryStep::Page(page) if awaited => self.on_page(turn, from, page),
            HistoryStep::Offer(_)
            | HistoryStep::Finished(_)
            | HistoryStep::Refused(_)
            | HistoryStep::Page(_)
            | HistoryStep::GroupPage(_) => Ok(()),
        }
    }

    /// A page has come from the source.
    fn on_page(&mut self, turn: &mut Turn<'_>, from: DeviceId, page: HistoryPage) -> Result<(), EngineError> {
        if !self.has_everything(&from) {
            // It has heard of a group since it has asked, and is to get what was written there before, too.
            self.history.note_settled(false);
        }
        let step = self.history.next_step();
        let Views { account, contacts, conversations, .. } = self.cx.reborrow();
        let is_done = self.history.on_page(turn, conversations, Directory { account, contacts }, page)?;
        match step.filter(|_| is_done) {
            Some(step) => self.say(turn, from, step.grant, HistoryStep::Finished(Nothing {})),
            None => Ok(()),
        }
    }

    /// Whether nothing more is to come from the source: this device knows all conversations of its account, everybody in them writes to it, too,
    /// and it has what was written in groups before.
    fn has_everything(&self, source: &DeviceId) -> bool {
        // One that has not read the snapshot yet knows of none, in which nothing is lacking.
        self.history.knows_chats
            && !self.history.groups.wants_from(source)
            && is_settled(self.cx.conversations, self.cx.directory())
    }

    /// Sends a page to a device that may have it: one in a turn.
    fn serve(
        &mut self,
        turn: &mut Turn<'_>,
        to: DeviceId,
        grant: u64,
        request: &HistoryRequest,
    ) -> Result<(), EngineError> {
        if !self.history.served.insert(to) {
            return Ok(());
        }
        if request.since.is_some() {
            self.history.note_complete(&to);
        }
        let page = self.source().page(request, self.budget_for(&to))?;
        self.say(turn, to, grant, HistoryStep::Page(page))
    }

    /// How many bytes of messages a page for a device has.
    pub(super) fn budget_for(&self, to: &DeviceId) -> usize {
        match self.cx.delivery.links.get(to).map(|link| link.relayed) {
            Some(false) => HISTORY_BYTES_DIRECT,
            Some(true) => HISTORY_BYTES_RELAYED,
            None => HISTORY_BYTES_HOME,
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            store: self.cx.store,
            conversations: self.cx.conversations,
            dir: self.cx.directory(),
            last_event: self.cx.counters.row.last_event,
        }
    }

    pub(super) fn say(
        &mut self,
        turn: &mut Turn<'_>,
        to: DeviceId,
        grant: u64,
        step: HistoryStep,
    ) -> Result<(), EngineError> {
        self.send(turn, to, &HistoryMessage { grant, step: Some(step) })
    }

    pub(crate) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        to: DeviceId,
        message: &HistoryMessage,
    ) -> Result<(), EngineError> {
        let plain = message.encode_to_vec();
        let Some(entry) = self.cx.account.list().and_then(|list| list.device(&to)).cloned() else { return Ok(()) };
        if !self.cx.delivery.links.contains_key(&to) {
            let of_group = matches!(message.step, Some(HistoryStep::GroupRequest(_) | HistoryStep::GroupPage(_)));
            let place = if of_group { GROUP_PLACE } else { PLACE };
            return self.leave_at_home(turn, &entry, place, plain.into());
        }
        if let Ok(sealed) = self.cx.mls.seal_to(&entry.seal_key, HISTORY_INFO, &plain) {
            let frame = DirectFrame { history: vec![sealed.into()], ..DirectFrame::default() };
            turn.emit(Effect::Net(NetCommand::Direct(to, frame)));
        }
        Ok(())
    }

    fn leave_at_home(
        &mut self,
        turn: &mut Turn<'_>,
        to: &starling_keys::DeviceEntry,
        place: [u8; 16],
        history: Bytes,
    ) -> Result<(), EngineError> {
        let Some((body, home)) = self.cx.account.body_for_own_device(self.cx.homes) else { return Ok(()) };
        if history.len() + body.device_list.len() + ITEM_OVERHEAD > MAX_INBOX_ITEM {
            tracing::debug!("a long message of the history waits for a direct connection");
            return Ok(());
        }
        let body = starling_wire::inbox::InboxBody { history, ..body };
        let account = self.cx.account.id();
        self.cx.leave_item(turn, to, place, &body, account, &home)
    }
}

/// Whether everybody that we exchange messages with writes to this device, too, and it is in all groups: of those that it enters later it would get
/// nothing of before.
fn is_settled(conversations: &crate::conversation::Conversations, dir: Directory<'_>) -> bool {
    let mut chats = conversations.chats.keys();
    if chats.any(|chat| conversations.chats.is_group_chat(*chat) && conversations.is_entering(*chat)) {
        return false;
    }
    let confirmed = |group: &GroupEntry| group.row.confirmed;
    conversations.chats.keys().filter(|chat| conversations.is_reachable(dir, **chat)).all(|chat| {
        let group = conversations.active_group(dir, *chat).and_then(|id| conversations.groups.get(&id));
        group.is_some_and(confirmed)
    })
}
