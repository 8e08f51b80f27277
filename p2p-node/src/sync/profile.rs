//! What the user says of the account and of this device.

use bytes::Bytes;
use starling_wire::{Body, SettingKind};

use super::{AccountSync, settings::number_value};
use crate::{
    account::commands::checked_name,
    api::{error::NodeError, types::ChatId},
    roster::Label,
    store::META,
    turn::{EngineError, Fact, Turn},
};

impl AccountSync<'_> {
    /// Changes the name that contacts see, and sends it to them.
    pub(crate) fn set_name(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), EngineError> {
        self.cx.account.identity.rename(name.to_owned());
        self.set(turn, SettingKind::Name, None, Bytes::copy_from_slice(name.as_bytes()))?;
        self.announce_profile(turn);
        Ok(())
    }

    /// Contacts see what the account says of itself.
    pub(crate) fn announce_profile(&mut self, turn: &Turn<'_>) {
        let linked: Vec<ChatId> = self
            .cx
            .conversations
            .chats
            .keys()
            .copied()
            .filter(|c| self.cx.conversations.check_may_tell(self.cx.directory(), *c).is_ok())
            .collect();
        for chat in linked {
            let profile = Body::Profile(self.cx.account.profile());
            self.cx.announce(turn, chat, profile);
        }
    }

    /// Changes who sees what of the user, where something is given; gives how it is now.
    pub(crate) fn set_privacy(
        &mut self,
        turn: &mut Turn<'_>,
        last_seen: Option<u32>,
        receipts: Option<u32>,
        typing: Option<u32>,
    ) -> Result<[u32; 3], EngineError> {
        let settings = &mut self.cx.account.settings;
        settings.last_seen = last_seen.unwrap_or(settings.last_seen);
        settings.receipts = receipts.unwrap_or(settings.receipts);
        settings.typing = typing.unwrap_or(settings.typing);
        let now = [settings.last_seen, settings.receipts, settings.typing];
        turn.put(META, b"settings", settings)?;
        turn.fact(Fact::AudienceChanged);
        let kinds = [SettingKind::LastSeen, SettingKind::Receipts, SettingKind::Typing];
        for (kind, audience) in kinds.into_iter().zip([last_seen, receipts, typing]) {
            if let Some(audience) = audience {
                self.set(turn, kind, None, number_value(audience.into()))?;
            }
        }
        Ok(now)
    }

    /// Takes what this device is called, as its user and the account's contacts see it.
    pub(crate) fn describe_device(
        &mut self,
        turn: &Turn<'_>,
        name: &str,
        kind: &str,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let name = match checked_name(name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let label = Label { name, kind: starling_text::received_name(kind) };
        let (id, device) = (self.cx.account.id(), self.cx.account.device());
        let (conversations, cx) = self.cx.conversing();
        conversations.authors.label_device(turn, cx.dir, id, device, &label)?;
        Ok(Ok(()))
    }
}
