//! Who has written an event: a new author gets a number.

use starling_keys::{AccountId, DeviceId};

use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::Conversations,
    store::{AUTHORS, AuthorRow},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// The number of an author; a new one is stored. `tag` is the device's, as event ids have it.
    pub(crate) fn author(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        account: AccountId,
        tag: [u8; 8],
    ) -> Result<u32, EngineError> {
        if let Some(number) = self.authors.number(account, tag) {
            return Ok(number);
        }
        let own = account == dir.account.id();
        let this = dir.account.device();
        let is_it = |d: &DeviceId| d.tag() == tag;
        let list = dir.list_of(&account);
        let mut of_account = list.into_iter().flat_map(|l| &l.devices).map(|d| d.id);
        let device = Some(this).filter(|d| own && is_it(d)).or_else(|| of_account.find(is_it));
        let row = AuthorRow {
            account: account.as_bytes().to_vec(),
            device: device.map(|d| d.as_bytes().to_vec()).unwrap_or_default(),
            tag: tag.to_vec(),
            own,
        };
        let number = self.authors.next_number();
        turn.put(AUTHORS, &number.to_be_bytes(), &row)?;
        self.authors.insert(number, &row);
        Ok(number)
    }

    /// The number of the author that is another member of a conversation, by the tag of its device.
    pub(crate) fn author_among_others(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        tag: [u8; 8],
    ) -> Result<u32, EngineError> {
        let others: Vec<AccountId> = self.chats.get(&chat).map(|c| c.roster.others().collect()).unwrap_or_default();
        let known = others.iter().find(|account| self.authors.number(**account, tag).is_some());
        match known.or(others.first()) {
            Some(account) => self.author(turn, dir, *account, tag),
            None => Ok(0),
        }
    }
}
