//! What is left in inboxes about groups.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::inbox::InboxBody;

use crate::{
    contacts::Directory,
    conversation::{Conversations, context::Context, group::GroupId},
    home::{Recipient, Sealing},
    turn::{EngineError, Turn},
};

/// Who we are, with what an item says.
pub(super) fn own_body(dir: Directory<'_>) -> InboxBody {
    let identity = &dir.account.identity;
    InboxBody {
        device_list: identity.list.as_ref().map(|l| Bytes::copy_from_slice(l.as_bytes())).unwrap_or_default(),
        device: Bytes::copy_from_slice(dir.account.device().as_bytes()),
        name: identity.row.name.clone(),
        bot: identity.row.bot,
        ..InboxBody::default()
    }
}

impl Conversations {
    /// Leaves something about a group in the inboxes of devices of an account. Gives whether it knows where they are.
    pub(super) fn leave_for(
        &self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (account, devices): (AccountId, &[DeviceId]),
        place: GroupId,
        body: &InboxBody,
    ) -> Result<bool, EngineError> {
        let own = account == cx.dir.account.id();
        let homes = if own {
            cx.dir.account.identity.homes.clone()
        } else {
            cx.dir.list_of(&account).map(|list| list.homes.clone()).unwrap_or_default()
        };
        let Some(list) = cx.dir.list_of(&account) else { return Ok(false) };
        let Some(home) = homes.iter().find(|h| cx.homes.answers(&h.peer)).or(homes.first()) else { return Ok(false) };
        let identity = &cx.dir.account.identity;
        let sealing = Sealing { mls: cx.mls, key: &identity.device_key };
        let address = home.to_string();
        for device in list.devices.iter().filter(|device| devices.contains(&device.id)) {
            let recipient = Recipient { account, device, home: &address };
            cx.homes.leave_item(turn, &sealing, &recipient, place, body)?;
        }
        Ok(true)
    }
}
