//! Settings of the account, the same on all its devices: name and user name, privacy, pinned, muted and archived conversations, how far was read,
//! short drafts.
//!
//! Each is a register ([`Setting`]): the newest value counts, of two with one clock that of the greater device. A change goes to the devices that are
//! connected in the same turn, and to the others with the account's snapshot, which a home announces to those that are online and a device reads when
//! it comes online.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId, chain::Rights};
use starling_wire::{
    Clock, Setting, SettingKind,
    direct::DirectFrame,
    limits::{MAX_SETTING_VALUE, MAX_SETTINGS_IN_FRAME, is_username},
};

use crate::{
    account::commands::checked_name,
    api::{
        error::{Invalid, NodeError, NotFound},
        types::{ChatId, TransientEvent},
    },
    engine::Engine,
    limits::{MAX_CLOCK_AHEAD_MS, MAX_SETTINGS, READ_MARKS_WITHIN_MS},
    net::NetCommand,
    store::{META, Reading, SETTINGS, Store, prefix},
    turn::{ChatSetting, Effect, EngineError, Turn},
};

type Key = (i32, Vec<u8>);

/// The settings that were ever made.
#[derive(Default)]
pub struct Synced {
    settings: BTreeMap<Key, Setting>,
    /// Those that other devices do not know yet.
    news: BTreeSet<Key>,
}

fn key_of(setting: &Setting) -> Key {
    (setting.kind, setting.subject.to_vec())
}

fn row_name(store: &Store, (kind, subject): &Key) -> [u8; 16] {
    store.name("setting", &[&kind.to_be_bytes()[..], subject].concat())
}

impl Synced {
    /// Loads them from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let rows = read.range::<Setting>(SETTINGS, prefix(b""), usize::MAX, false)?;
        let settings = rows.into_iter().map(|(_, setting)| (key_of(&setting), setting)).collect();
        Ok(Self { settings, news: BTreeSet::new() })
    }

    /// A setting of the account itself, if it was ever made.
    pub fn get(&self, kind: SettingKind) -> Option<&Setting> {
        self.settings.get(&(kind as i32, Vec::new()))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Setting> {
        self.settings.values().cloned().collect()
    }

    /// Those about an account.
    fn about(&self, account: &AccountId) -> Vec<Setting> {
        self.settings.values().filter(|s| s.subject == account.as_bytes()[..]).cloned().collect()
    }

    /// What another device than this one has left unsent for an account, if it has had the last word.
    pub fn draft_elsewhere(&self, with: &AccountId, this: &DeviceId) -> Option<String> {
        let draft = self.settings.get(&(SettingKind::Draft as i32, with.as_bytes().to_vec()))?;
        let elsewhere = draft.device != u64::from_be_bytes(this.tag());
        elsewhere.then(|| draft.text().unwrap_or_default().to_owned())
    }

    /// Takes a setting if it is newer than what is known of it.
    fn take(&mut self, turn: &Turn<'_>, store: &Store, setting: &Setting) -> Result<bool, EngineError> {
        let key = key_of(setting);
        let known = self.settings.get(&key);
        let full = known.is_none() && self.settings.len() >= MAX_SETTINGS;
        if !setting.is_valid() || full || known.is_some_and(|known| known.stamp() >= setting.stamp()) {
            return Ok(false);
        }
        turn.put(SETTINGS, &row_name(store, &key), setting)?;
        self.settings.insert(key, setting.clone());
        Ok(true)
    }

    /// Whether something is known that others, who know these settings, do not.
    fn has_newer_than(&self, theirs: &[Setting]) -> bool {
        let theirs: BTreeMap<Key, (u64, u64)> = theirs.iter().map(|s| (key_of(s), s.stamp())).collect();
        self.settings.iter().any(|(key, setting)| theirs.get(key).is_none_or(|stamp| *stamp < setting.stamp()))
    }
}

impl Engine {
    /// The user has set something, on this device.
    pub(crate) fn set(
        &mut self,
        turn: &Turn<'_>,
        kind: SettingKind,
        subject: Option<AccountId>,
        value: Bytes,
    ) -> Result<(), EngineError> {
        let subject = subject.map(|account| Bytes::copy_from_slice(account.as_bytes())).unwrap_or_default();
        let key = (kind as i32, subject.to_vec());
        let known = self.account.synced.settings.get(&key);
        if known.is_some_and(|known| known.value == value) {
            return Ok(());
        }
        // After what is known, also if that has a wrong clock.
        let after = known.map_or(0, |known| known.clock.saturating_add(1));
        let clock = self.counters.clock.tick(turn.agreed_ms()).0.max(after);
        let device = u64::from_be_bytes(self.account.device().tag());
        let setting = Setting { kind: kind as i32, subject, clock, device, value };
        if self.account.synced.take(turn, &self.store, &setting)? {
            self.account.synced.news.insert(key);
        }
        Ok(())
    }

    /// The user has set something of a conversation, on this device.
    pub(crate) fn set_of_chat(&mut self, turn: &Turn<'_>, chat: ChatId, what: ChatSetting) -> Result<(), EngineError> {
        let (kind, number) = match what {
            ChatSetting::Pinned(pinned) => (SettingKind::Pinned, u64::from(pinned)),
            ChatSetting::MutedUntil(ms) => (SettingKind::MutedUntil, ms),
            ChatSetting::Archived(archived) => (SettingKind::Archived, u64::from(archived)),
            ChatSetting::Read(clock) => (SettingKind::Read, clock),
        };
        let Some(with) = self.conversations.direct_account(chat) else { return Ok(()) };
        self.set(turn, kind, Some(with), number_value(number))
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
        let Some(with) = self.conversations.direct_account(chat) else { return Ok(Err(NotFound::Chat.into())) };
        let known = self.account.synced.settings.contains_key(&(SettingKind::Draft as i32, with.as_bytes().to_vec()));
        if known || !text.is_empty() {
            self.set(turn, SettingKind::Draft, Some(with), Bytes::copy_from_slice(text.as_bytes()))?;
        }
        Ok(Ok(()))
    }

    /// What other devices of our account have set. What is stamped ahead is not taken: nobody could set it again.
    pub(crate) fn take_settings(&mut self, turn: &mut Turn<'_>, settings: &[Setting]) -> Result<(), EngineError> {
        let latest = turn.agreed_ms().saturating_add(MAX_CLOCK_AHEAD_MS);
        for setting in settings.iter().filter(|setting| Clock(setting.clock).ms() <= latest) {
            if self.account.synced.take(turn, &self.store, setting)? {
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
    pub(super) fn take_settings_of_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        settings: &[Setting],
    ) -> Result<(), EngineError> {
        self.take_settings(turn, settings)?;
        if self.account.synced.has_newer_than(settings) {
            self.snapshot_soon(turn);
        }
        Ok(())
    }

    /// There is a conversation with somebody now: what other devices have set of it counts.
    pub(crate) fn apply_settings_about(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        for setting in self.account.synced.about(&account) {
            self.apply_setting(turn, &setting)?;
        }
        Ok(())
    }

    fn apply_setting(&mut self, turn: &mut Turn<'_>, setting: &Setting) -> Result<(), EngineError> {
        let (text, number) = (setting.text().unwrap_or_default(), setting.number());
        let audience = number.and_then(|n| u32::try_from(n).ok());
        let privacy = &mut self.account.settings;
        match setting.kind() {
            SettingKind::None => return Ok(()),
            SettingKind::Name => {
                if let Ok(name) = checked_name(text) {
                    self.account.identity.rename(name);
                }
            }
            SettingKind::Username => {
                if text.is_empty() || is_username(text) {
                    text.clone_into(&mut self.account.identity.row.username);
                    self.account.identity.dirty = true;
                }
            }
            SettingKind::LastSeen => privacy.last_seen = audience.unwrap_or(privacy.last_seen),
            SettingKind::Receipts => privacy.receipts = audience.unwrap_or(privacy.receipts),
            SettingKind::Typing => privacy.typing = audience.unwrap_or(privacy.typing),
            SettingKind::Pinned | SettingKind::MutedUntil | SettingKind::Archived | SettingKind::Read => {
                self.apply_chat_setting(turn, setting)?;
            }
            SettingKind::Draft => {
                let with = AccountId::from_bytes(&setting.subject).ok();
                if let Some(chat) = with.and_then(|with| self.conversations.direct_with(&with)) {
                    turn.live(TransientEvent::Draft { chat, text: text.to_owned() });
                }
                return Ok(());
            }
        }
        if matches!(setting.kind(), SettingKind::LastSeen | SettingKind::Receipts | SettingKind::Typing) {
            turn.put(META, b"settings", &self.account.settings)?;
        }
        turn.live(TransientEvent::Net);
        Ok(())
    }

    fn apply_chat_setting(&mut self, turn: &mut Turn<'_>, setting: &Setting) -> Result<(), EngineError> {
        let chat = AccountId::from_bytes(&setting.subject).ok().and_then(|a| self.conversations.direct_with(&a));
        let (Some(chat), Some(number)) = (chat, setting.number()) else { return Ok(()) };
        let (conversations, cx) = self.conversing();
        match setting.kind() {
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
        let rights = self.account.list().and_then(|list| list.device(device)).map(|entry| entry.rights);
        self.account.has_other(device) && rights.is_some_and(|rights| rights != Rights::Bot)
    }

    /// Tells devices that are connected what was set in this turn, and the others by the snapshot.
    pub(crate) fn tell_settings(&mut self, turn: &mut Turn<'_>) {
        let news = std::mem::take(&mut self.account.synced.news);
        if news.is_empty() {
            return;
        }
        let settings: Vec<Setting> =
            news.iter().filter_map(|key| self.account.synced.settings.get(key)).cloned().collect();
        for device in self.account.other_devices() {
            if self.delivery.links.contains_key(&device.id) {
                self.send_settings(turn, &device.id, &settings);
            }
        }
        let often = [SettingKind::Read as i32, SettingKind::Draft as i32];
        if news.iter().all(|(kind, _)| often.contains(kind)) {
            self.snapshot_within(turn, READ_MARKS_WITHIN_MS);
        } else {
            self.snapshot_soon(turn);
        }
    }

    /// A device of ours is connected: it may have missed what was set.
    pub(crate) fn tell_all_settings(&self, turn: &mut Turn<'_>, device: &DeviceId) {
        if self.account.has_other(device) {
            self.send_settings(turn, device, &self.account.synced.all());
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
