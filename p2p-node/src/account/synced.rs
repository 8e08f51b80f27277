//! Settings of the account, the same on all its devices: name and user name, privacy, pinned, muted and archived conversations, their order and folders,
//! how far was read, short drafts.
//!
//! Each is a register ([`Setting`]): the newest value counts, of two with one clock that of the greater device. A change goes to the devices that are
//! connected in the same turn, and to the others with the account's snapshot, which a home announces to those that are online and a device reads when
//! it comes online.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Setting, SettingKind};

use super::limits::MAX_SETTINGS;
use crate::{
    api::types::ChatId,
    store::{Reading, SETTINGS, Store, prefix},
    turn::{EngineError, Turn},
};

type Key = (i32, Vec<u8>);

/// The settings that were ever made.
#[derive(Default)]
pub struct Synced {
    settings: BTreeMap<Key, Setting>,
    /// Those that other devices do not know yet.
    news: BTreeSet<Key>,
}

/// What a setting about a group has as its subject. No account has such an id: half of it is zero.
pub fn group_subject(group: ChatId) -> [u8; 32] {
    let mut subject = [0; 32];
    subject[..16].copy_from_slice(&group.0);
    subject
}

/// The group that a setting with this subject is about, if it is about one.
pub fn subject_group(subject: &[u8]) -> Option<ChatId> {
    let (group, zeros) = subject.split_at_checked(16)?;
    let is_group = zeros.len() == 16 && zeros.iter().all(|byte| *byte == 0);
    Some(ChatId(group.try_into().ok()?)).filter(|_| is_group)
}

/// Where a conversation stands in lists, as the user has arranged them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// The folder that it is in; empty for none.
    pub folder: String,
    /// Its place in a list that is sorted by hand, from 1.
    pub place: Option<u32>,
    /// Its channels are folded away.
    pub folded: bool,
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
        self.about(kind, &[])
    }

    /// A setting about somebody or something, if it was ever made; `subject` is empty for one of the account itself.
    pub fn about(&self, kind: SettingKind, subject: &[u8]) -> Option<&Setting> {
        self.settings.get(&(kind as i32, subject.to_vec()))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Setting> {
        self.settings.values().cloned().collect()
    }

    /// Those about an account.
    pub fn all_about(&self, account: &AccountId) -> Vec<Setting> {
        self.settings.values().filter(|s| s.subject == account.as_bytes()[..]).cloned().collect()
    }

    /// What another device than this one has left unsent for an account, if it has had the last word.
    pub fn draft_elsewhere(&self, with: &AccountId, this: &DeviceId) -> Option<String> {
        let draft = self.about(SettingKind::Draft, with.as_bytes())?;
        let elsewhere = draft.device != u64::from_be_bytes(this.tag());
        elsewhere.then(|| draft.text().unwrap_or_default().to_owned())
    }

    /// Where the conversation that is such a subject stands in lists.
    pub fn arrangement(&self, subject: &[u8]) -> Arrangement {
        let number = |kind| self.about(kind, subject).and_then(Setting::number).unwrap_or_default();
        let folder = self.about(SettingKind::Folder, subject).and_then(Setting::text).unwrap_or_default();
        Arrangement {
            // Of another device, and perhaps of another version.
            folder: starling_text::received_name(folder),
            place: u32::try_from(number(SettingKind::Place)).ok().filter(|place| *place > 0),
            folded: number(SettingKind::Folded) == 1,
        }
    }

    /// Takes a setting if it is newer than what is known of it.
    pub fn take(&mut self, turn: &Turn<'_>, store: &Store, setting: &Setting) -> Result<bool, EngineError> {
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

    /// Takes what the user has set here: other devices do not know it yet.
    pub fn change(&mut self, turn: &Turn<'_>, store: &Store, setting: &Setting) -> Result<(), EngineError> {
        if self.take(turn, store, setting)? {
            self.news.insert(key_of(setting));
        }
        Ok(())
    }

    /// What was set here since this was asked last.
    pub fn take_news(&mut self) -> Vec<Setting> {
        let news = std::mem::take(&mut self.news);
        news.iter().filter_map(|key| self.settings.get(key)).cloned().collect()
    }

    /// Whether something is known that others, who know these settings, do not.
    pub fn has_newer_than(&self, theirs: &[Setting]) -> bool {
        let theirs: BTreeMap<Key, (u64, u64)> = theirs.iter().map(|s| (key_of(s), s.stamp())).collect();
        self.settings.iter().any(|(key, setting)| theirs.get(key).is_none_or(|stamp| *stamp < setting.stamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_group_is_told_from_what_is_about_an_account() {
        let group = ChatId([7; 16]);
        assert_eq!(subject_group(&group_subject(group)), Some(group));
        for other in [&[7; 32][..], &[7; 16], &[], &[0; 40]] {
            assert_eq!(subject_group(other), None, "{} bytes", other.len());
        }
    }
}
