//! Settings that the user makes here, and those of our other devices: a change goes to the devices that are connected in the same turn, and to the
//! others with the account's snapshot, which a home announces to those that are online and a device reads when it comes online.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId, chain::Rights};
use starling_wire::{
    Clock, Setting, SettingKind,
    direct::DirectFrame,
    limits::{MAX_SETTING_VALUE, MAX_SETTINGS_IN_FRAME, is_username},
};

use super::{AccountSync, limits::READ_MARKS_WITHIN_MS};
use crate::{
    account::{commands::checked_name, group_subject, subject_group},
    api::{
        error::{Invalid, NodeError, NotFound},
        types::{Arranged, ChatId, TransientEvent},
    },
    limits::MAX_CLOCK_AHEAD_MS,
    net::NetCommand,
    store::META,
    turn::{ChatSetting, Effect, EngineError, Fact, Turn},
};

impl AccountSync<'_> {
    /// The user has set something, on this device.
    pub(crate) fn set(
        &mut self,
        turn: &Turn<'_>,
        kind: SettingKind,
        subject: Option<AccountId>,
        value: Bytes,
    ) -> Result<(), EngineError> {
        let subject = subject.map(|account| Bytes::copy_from_slice(account.as_bytes())).unwrap_or_default();
        self.set_about(turn, kind, subject, value)
    }

    /// The same about what is this subject of settings.
    fn set_about(
        &mut self,
        turn: &Turn<'_>,
        kind: SettingKind,
        subject: Bytes,
        value: Bytes,
    ) -> Result<(), EngineError> {
        let known = self.cx.account.synced.about(kind, &subject);
        if known.is_some_and(|known| known.value == value) {
            return Ok(());
        }
        // After what is known, also if that has a wrong clock.
        let after = known.map_or(0, |known| known.clock.saturating_add(1));
        let clock = self.cx.counters.clock.tick(turn.agreed_ms()).0.max(after);
        let device = u64::from_be_bytes(self.cx.account.device().tag());
        let setting = Setting { kind: kind as i32, subject, clock, device, value };
        self.cx.account.synced.change(turn, self.cx.store, &setting)
    }

    /// The user has set something of a conversation, on this device.
    pub(crate) fn set_of_chat(&mut self, turn: &Turn<'_>, chat: ChatId, what: ChatSetting) -> Result<(), EngineError> {
        let (kind, number) = match what {
            ChatSetting::Pinned(pinned) => (SettingKind::Pinned, u64::from(pinned)),
            ChatSetting::MutedUntil(ms) => (SettingKind::MutedUntil, ms),
            ChatSetting::Archived(archived) => (SettingKind::Archived, u64::from(archived)),
            ChatSetting::Read(clock) => (SettingKind::Read, clock),
        };
        let is_group = self.cx.conversations.chats.is_group_chat(chat);
        // How far was read in a group its log tells.
        let Some(subject) = self.subject_of(chat).filter(|_| !is_group || kind != SettingKind::Read) else {
            return Ok(());
        };
        self.set_about(turn, kind, subject, number_value(number))
    }

    /// What settings about a conversation have as their subject.
    fn subject_of(&self, chat: ChatId) -> Option<Bytes> {
        let chats = &self.cx.conversations.chats;
        if chats.is_group_chat(chat) {
            return Some(Bytes::copy_from_slice(&group_subject(chat)));
        }
        chats.direct_account(chat).map(|with| Bytes::copy_from_slice(with.as_bytes()))
    }

    /// The user has arranged conversations in lists, on this device.
    pub(crate) fn arrange(
        &mut self,
        turn: &Turn<'_>,
        changes: Vec<(ChatId, Arranged)>,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let mut checked = Vec::with_capacity(changes.len());
        for (chat, what) in changes {
            let Some(subject) = self.subject_of(chat) else { return Ok(Err(NotFound::Chat.into())) };
            let (kind, value) = match what {
                Arranged::Folder(name) if name.is_empty() => (SettingKind::Folder, Bytes::new()),
                Arranged::Folder(name) => match checked_name(&name) {
                    Ok(name) => (SettingKind::Folder, Bytes::from(name)),
                    Err(error) => return Ok(Err(error)),
                },
                Arranged::Place(place) => (SettingKind::Place, number_value(place.into())),
                Arranged::Folded(folded) => (SettingKind::Folded, number_value(folded.into())),
            };
            checked.push((kind, subject, value));
        }
        for (kind, subject, value) in checked {
            // Nothing is what there is without a setting, too.
            let is_nothing = value.iter().all(|byte| *byte == 0);
            if !is_nothing || self.cx.account.synced.about(kind, &subject).is_some() {
                self.set_about(turn, kind, subject, value)?;
            }
        }
        Ok(Ok(()))
    }

    /// What the user is writing in a conversation, on this device.
    pub(crate) fn set_draft(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        text: &str,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if text.len() > MAX_SETTING_VALUE {
            return Ok(Err(Invalid::MessageTooLong { length: text.len(), max: MAX_SETTING_VALUE }.into()));
        }
        let Some(with) = self.cx.conversations.chats.direct_account(chat) else {
            // What is written in a group stays on this device until it is sent.
            let is_group = self.cx.conversations.chats.is_group_chat(chat);
            return Ok(if is_group { Ok(()) } else { Err(NotFound::Chat.into()) });
        };
        let known = self.cx.account.synced.about(SettingKind::Draft, with.as_bytes()).is_some();
        if known || !text.is_empty() {
            self.set(turn, SettingKind::Draft, Some(with), Bytes::copy_from_slice(text.as_bytes()))?;
        }
        Ok(Ok(()))
    }

    /// What other devices of our account have set. What is stamped ahead is not taken: nobody could set it again.
    pub(crate) fn take_settings(&mut self, turn: &mut Turn<'_>, settings: &[Setting]) -> Result<(), EngineError> {
        let latest = turn.agreed_ms().saturating_add(MAX_CLOCK_AHEAD_MS);
        for setting in settings.iter().filter(|setting| Clock(setting.clock).ms() <= latest) {
            if self.cx.account.synced.take(turn, self.cx.store, setting)? {
                self.apply_setting(turn, setting)?;
            }
        }
        Ok(())
    }

    /// The same from a connected device.
    pub(crate) fn on_settings(
        &mut self,
        turn: &mut Turn<'_>,
        from: &DeviceId,
        settings: &[Setting],
    ) -> Result<(), EngineError> {
        if settings.len() > MAX_SETTINGS_IN_FRAME || !self.shares_settings_with(from) {
            return Ok(());
        }
        self.take_settings(turn, settings)
    }

    /// What the snapshot at our home has. What it lacks is added to it.
    pub(crate) fn take_settings_of_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        settings: &[Setting],
    ) -> Result<(), EngineError> {
        self.take_settings(turn, settings)?;
        if self.cx.account.synced.has_newer_than(settings) {
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
        Ok(())
    }

    /// There is a conversation with somebody now: what other devices have set of it counts.
    pub(crate) fn apply_settings_about(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        for setting in self.cx.account.synced.all_about(&account) {
            self.apply_setting(turn, &setting)?;
        }
        Ok(())
    }

    fn apply_setting(&mut self, turn: &mut Turn<'_>, setting: &Setting) -> Result<(), EngineError> {
        let (text, number) = (setting.text().unwrap_or_default(), setting.number());
        let audience = number.and_then(|n| u32::try_from(n).ok());
        let privacy = &mut self.cx.account.settings;
        match setting.kind() {
            SettingKind::None => return Ok(()),
            SettingKind::Name => {
                if let Ok(name) = checked_name(text) {
                    self.cx.account.identity.rename(name);
                }
            }
            SettingKind::Username => {
                if text.is_empty() || is_username(text) {
                    text.clone_into(&mut self.cx.account.identity.row.username);
                    self.cx.account.identity.dirty = true;
                }
            }
            SettingKind::LastSeen => {
                privacy.last_seen = audience.unwrap_or(privacy.last_seen);
                turn.fact(Fact::AudienceChanged);
            }
            SettingKind::Receipts => privacy.receipts = audience.unwrap_or(privacy.receipts),
            SettingKind::Typing => privacy.typing = audience.unwrap_or(privacy.typing),
            SettingKind::Pinned | SettingKind::MutedUntil | SettingKind::Archived | SettingKind::Read => {
                self.apply_chat_setting(turn, setting)?;
            }
            // Lists are made with what is set.
            SettingKind::Folder | SettingKind::Place | SettingKind::Folded => {}
            SettingKind::Draft => {
                let with = AccountId::from_bytes(&setting.subject).ok();
                if let Some(chat) = with.and_then(|with| self.cx.conversations.chats.direct_with(&with)) {
                    turn.transient_event(TransientEvent::Draft { chat, text: text.to_owned() });
                }
                return Ok(());
            }
        }
        if matches!(setting.kind(), SettingKind::LastSeen | SettingKind::Receipts | SettingKind::Typing) {
            turn.put(META, b"settings", &self.cx.account.settings)?;
        }
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    fn apply_chat_setting(&mut self, turn: &mut Turn<'_>, setting: &Setting) -> Result<(), EngineError> {
        let group = subject_group(&setting.subject);
        let with = AccountId::from_bytes(&setting.subject).ok().filter(|_| group.is_none());
        let chat = group.or_else(|| self.cx.conversations.chats.direct_with(&with?));
        let (Some(chat), Some(number)) = (chat, setting.number()) else { return Ok(()) };
        let (conversations, cx) = self.cx.conversing();
        match setting.kind() {
            // How far was read in a group its log tells.
            SettingKind::Read if group.is_some() => {}
            SettingKind::Pinned => conversations.apply(chat, |row| row.pinned = number == 1),
            SettingKind::MutedUntil => conversations.apply(chat, |row| row.muted_until_ms = number),
            // A message that came later has taken it out again.
            SettingKind::Archived => {
                conversations.apply(chat, |row| row.archived = number == 1 && row.newest <= setting.clock);
            }
            _ => conversations.read_elsewhere(turn, cx.dir, chat, Clock(number))?,
        }
        Ok(())
    }

    fn shares_settings_with(&self, device: &DeviceId) -> bool {
        let rights = self.cx.account.list().and_then(|list| list.device(device)).map(|entry| entry.rights);
        self.cx.account.has_other(device) && rights.is_some_and(|rights| rights != Rights::Bot)
    }

    /// Tells devices that are connected what was set in this turn, and the others by the snapshot.
    pub(crate) fn tell_settings(&mut self, turn: &mut Turn<'_>) {
        let settings = self.cx.account.synced.take_news();
        if settings.is_empty() {
            return;
        }
        for device in self.cx.account.other_devices() {
            if self.cx.delivery.links.contains_key(&device.id) {
                self.send_settings(turn, &device.id, &settings);
            }
        }
        let often = [SettingKind::Read as i32, SettingKind::Draft as i32];
        if settings.iter().all(|setting| often.contains(&setting.kind)) {
            self.cx.account.snapshot_within(turn, self.cx.counters, READ_MARKS_WITHIN_MS);
        } else {
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
    }

    /// A device of ours is connected: it may have missed what was set.
    pub(crate) fn tell_all_settings(&self, turn: &mut Turn<'_>, device: &DeviceId) {
        if self.cx.account.has_other(device) {
            self.send_settings(turn, device, &self.cx.account.synced.all());
        }
    }

    fn send_settings(&self, turn: &mut Turn<'_>, to: &DeviceId, settings: &[Setting]) {
        if !self.shares_settings_with(to) {
            return;
        }
        for some in settings.chunks(MAX_SETTINGS_IN_FRAME) {
            let frame = DirectFrame { settings: some.to_vec(), ..DirectFrame::default() };
            turn.emit(Effect::Net(NetCommand::Direct(*to, frame)));
        }
    }
}

/// A number as the value of a setting.
pub(super) fn number_value(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}
