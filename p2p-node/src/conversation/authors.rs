//! Who has written an event: a new author gets a number.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::DeviceLabel;

use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::Conversations,
    roster::{Authors, Label},
    store::{AUTHORS, AuthorRow},
    turn::{EngineError, Turn},
};

impl Conversations {
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
            Some(account) => self.authors.author_with_tag(turn, dir, *account, tag),
            None => Ok(0),
        }
    }
}

impl Authors {
    /// The number of the author that is a device of an account; a new one is stored.
    pub(crate) fn author(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        account: AccountId,
        device: &DeviceId,
    ) -> Result<u32, EngineError> {
        let number = self.author_with_tag(turn, dir, account, device.tag())?;
        if !self.is_named(number) {
            let label = self.label(account, device.tag()).cloned().unwrap_or_default();
            self.put_author(turn, dir, number, (account, device.tag()), Some(*device), &label)?;
        }
        Ok(number)
    }

    /// The same by the tag of its device, as event ids have it.
    pub(crate) fn author_with_tag(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        account: AccountId,
        tag: [u8; 8],
    ) -> Result<u32, EngineError> {
        if let Some(number) = self.number(account, tag) {
            return Ok(number);
        }
        let own = (account == dir.account.id()).then(|| dir.account.device());
        let listed = dir.list_of(&account).into_iter().flat_map(|l| &l.devices).map(|d| d.id);
        let device = own.into_iter().chain(listed).find(|d| d.tag() == tag);
        let number = self.next_number();
        self.put_author(turn, dir, number, (account, tag), device, &Label::default())?;
        Ok(number)
    }

    /// Takes note of what a device is called. Gives whether that is new.
    pub(crate) fn label_device(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        account: AccountId,
        device: DeviceId,
        label: &Label,
    ) -> Result<bool, EngineError> {
        let known = self.label(account, device.tag());
        if known.unwrap_or(&Label::default()) == label {
            return Ok(false);
        }
        let number = self.author(turn, dir, account, &device)?;
        self.put_author(turn, dir, number, (account, device.tag()), Some(device), label)?;
        Ok(true)
    }

    /// What the devices of an account, ours or a contact's, are called.
    pub(crate) fn labels_of(&self, dir: Directory<'_>, account: &AccountId) -> Vec<DeviceLabel> {
        let devices = dir.list_of(account).into_iter().flat_map(|list| &list.devices);
        let known = devices.filter_map(|d| Some((d.id, self.label(*account, d.id.tag())?)));
        let labelled = known.filter(|(_, label)| **label != Label::default());
        labelled
            .map(|(device, label)| DeviceLabel {
                device: Bytes::copy_from_slice(device.as_bytes()),
                name: label.name.clone(),
                kind: label.kind.clone(),
            })
            .collect()
    }

    /// Takes what an account says that its devices are called; of others than those on its chain it says nothing that counts.
    pub(crate) fn take_labels(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        account: AccountId,
        labels: &[DeviceLabel],
    ) -> Result<(), EngineError> {
        for label in labels {
            let Ok(device) = DeviceId::from_bytes(&label.device) else { continue };
            if dir.list_of(&account).is_some_and(|list| list.device(&device).is_some()) {
                let label = Label { name: label.name.clone(), kind: label.kind.clone() };
                self.label_device(turn, dir, account, device, &label)?;
            }
        }
        Ok(())
    }

    fn put_author(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        number: u32,
        (account, tag): (AccountId, [u8; 8]),
        device: Option<DeviceId>,
        label: &Label,
    ) -> Result<(), EngineError> {
        let row = AuthorRow {
            account: account.as_bytes().to_vec(),
            device: device.map(|d| d.as_bytes().to_vec()).unwrap_or_default(),
            tag: tag.to_vec(),
            own: account == dir.account.id(),
            name: label.name.clone(),
            kind: label.kind.clone(),
        };
        turn.put(AUTHORS, &number.to_be_bytes(), &row)?;
        self.insert(number, &row);
        Ok(())
    }
}
