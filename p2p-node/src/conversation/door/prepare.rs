//! The commit by which a device enters a group, made from what a door shows of it.

use bytes::Bytes;
use starling_keys::JoinSecret;
use starling_wire::{Body, DeviceLabel, Devices, Door, Event, limits::MAX_ENTRY};

use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{Conversations, context::Context, limits::MAX_DIRECT_CHAIN},
    limits::WHOLE_BYTES,
    mls::{ByLink, Expected, GroupError, GroupValue, LiveGroup},
    roster::Authors,
    store::{EnteringRow, OfferedDoor},
    turn::{EngineError, Turn},
};

/// Where a door leads.
pub(super) enum Prepared {
    /// Into the group, by this commit.
    Ready(EnteringRow),
    /// Into no group of the conversation.
    Nowhere,
    /// Into one with devices that are none of its accounts: it is about to be replaced.
    ToStrangers,
}

impl Conversations {
    /// The commit that leads through a door.
    pub(super) fn prepare_to_enter(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
        door: &Door,
        fits: impl Fn(&LiveGroup) -> bool,
    ) -> Result<Prepared, EngineError> {
        let Some(id) = self.chats.offered(chat).and_then(OfferedDoor::id) else { return Ok(Prepared::Nowhere) };
        let own = cx.dir.account.id();
        let expected = match self.chats.direct_account(chat) {
            Some(account) => Expected::Direct([own, account]),
            None => Expected::Group(chat.0),
        };
        // Into a group of many a device may come again that cannot go on in it.
        let inside = self.open(turn, cx.mls, id)?.map(|mut group| group.value()).transpose()?;
        if inside.is_some() && !self.chats.is_group_chat(chat) {
            return Ok(Prepared::Nowhere);
        }
        let note = self.authors.devices_to_tell(cx.dir);
        // It may lead into an epoch before those that we have.
        cx.mls.forget(&id);
        let secret = self.chats.offered(chat).and_then(|offered| JoinSecret::from_bytes(&offered.link));
        let place = (&id, door.epoch);
        let entered = match (expected, &secret) {
            (Expected::Group(conversation), Some(secret)) => {
                cx.mls.enter_by_link(&door.info, place, &ByLink { conversation, secret }, note, turn.agreed_ms())
            }
            _ => cx.mls.enter(&door.info, place, expected, note, turn.agreed_ms()),
        };
        let is_stranger = |member: &starling_keys::Certificate| {
            cx.dir.list_of(&member.account()).is_some_and(|list| list.device(&member.device()).is_none())
        };
        let of_two = !self.chats.is_group_chat(chat);
        if of_two && entered.as_ref().is_ok_and(|entered| entered.live.members().iter().any(is_stranger)) {
            // Nothing would be written into it.
            cx.mls.forget(&id);
            return Ok(Prepared::ToStrangers);
        }
        let policy = entered.as_ref().ok().and_then(|entered| entered.live.policy());
        if let Some(attempt) = self.entering.attempts.get_mut(&chat)
            && let Some(policy) = &policy
        {
            attempt.there = policy.members.iter().map(|member| member.account).collect();
        }
        let (large, most) = policy.map_or((false, MAX_ENTRY), |policy| (policy.large, policy.largest_commit()));
        let does_fit = entered.as_ref().is_ok_and(|entered| fits(&entered.live));
        let entered = entered.and_then(|mut entered| Ok((entered.live.value()?, entered.commit)));
        match inside {
            Some(value) => cx.mls.keep(&id, value),
            None => cx.mls.forget(&id),
        }
        Ok(match entered {
            Ok((value, commit)) if does_fit && commit.len() <= most => {
                Prepared::Ready(entering(door, &value, commit, large))
            }
            Ok(_) => Prepared::Nowhere,
            Err(error) => {
                self.leads_nowhere(turn, chat, error)?;
                Prepared::Nowhere
            }
        })
    }

    /// A door does not lead in: notes why.
    fn leads_nowhere(&mut self, turn: &mut Turn<'_>, chat: ChatId, error: GroupError) -> Result<(), EngineError> {
        tracing::warn!(%error, "a door that leads nowhere");
        match error {
            GroupError::Newer => self.report_newer(turn, chat)?,
            GroupError::AlreadyIn => {
                if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
                    attempt.already_in = true;
                }
            }
            GroupError::Link(denied) => {
                if let Some(attempt) = self.entering.attempts.get_mut(&chat) {
                    attempt.denied = Some(denied);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What is stored of a commit through a door until it counts.
fn entering(door: &Door, value: &GroupValue, commit: Vec<u8>, large: bool) -> EnteringRow {
    EnteringRow {
        in_parts: large && commit.len() > WHOLE_BYTES,
        epoch: door.epoch,
        secret: door.secret.to_vec(),
        state: value.state.to_vec(),
        commit: commit.into(),
    }
}

impl Authors {
    /// What members are told of our devices with the commit; nothing if that is too much for one: then they hear it from devices that they know.
    fn devices_to_tell(&self, dir: Directory<'_>) -> Vec<u8> {
        let chain = dir.account.list().filter(|chain| chain.as_bytes().len() <= MAX_DIRECT_CHAIN);
        let Some(chain) = chain else { return Vec::new() };
        let label = |device: &starling_keys::DeviceEntry| {
            let label = self.label(chain.account, device.id.tag())?;
            let device = Bytes::copy_from_slice(device.id.as_bytes());
            Some(DeviceLabel { device, name: label.name.clone(), kind: label.kind.clone() })
        };
        let labels = chain.devices.iter().filter_map(label).collect();
        Event::encode_body(&Body::Devices(Devices { list: chain.as_bytes().to_vec(), labels }))
    }
}
