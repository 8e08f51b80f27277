//! The account and its devices, as users of a node change them.

use starling_keys::{DeviceChain, DeviceId, RendezvousAddr, chain::Rights};
use tokio::sync::oneshot;

use super::Node;
use crate::{
    account::{
        link::{AccountLink, NewDevice},
        recovery::Recovery,
    },
    api::{
        error::NodeError,
        types::{Audience, Device, HistoryState, Storage},
    },
    engine::{AccountCommand, HistoryCommand},
};

impl Node {
    /// The devices of our account, this one among them.
    pub async fn devices(&self) -> Result<Vec<Device>, NodeError> {
        self.call(AccountCommand::Devices).await
    }

    /// Says what this device is called, and what it is: an operating system, for example. Contacts and the account's other devices see it.
    pub async fn describe_device(&self, name: String, kind: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::Describe { name, kind, reply }).await
    }

    /// A new short code by which another device asks to join our account ([`TransientEvent::LinkRequested`](crate::TransientEvent::LinkRequested)). It works once, while this node
    /// runs, for ten minutes; [`TransientEvent::CodeEnded`](crate::TransientEvent::CodeEnded) tells how it ends.
    pub async fn open_device_code(&self) -> Result<String, NodeError> {
        self.call(|reply| AccountCommand::OpenCode(true, reply)).await
    }

    /// Asks, with such a code, for the account that this device is to join: what a profile with [`Origin::Linked`](crate::Origin::Linked) is made of.
    /// `name` and `kind` are what the user of the other device sees of `device`; `asked` is called once the code was right, and the user of the
    /// other device is asked.
    pub async fn join_account(
        &self,
        code: String,
        home: RendezvousAddr,
        device: NewDevice,
        (name, kind): (String, String),
        asked: impl FnOnce(),
    ) -> Result<(AccountLink, NewDevice), NodeError> {
        let device = Box::new(device);
        let (when_asked, is_asked) = oneshot::channel();
        let joined =
            self.call(|reply| AccountCommand::JoinAccount { code, home, device, name, kind, asked: when_asked, reply });
        let mut joined = std::pin::pin!(joined);
        tokio::select! {
            biased;
            Ok(Ok(())) = is_asked => asked(),
            result = &mut joined => return result,
        }
        joined.await
    }

    /// Goes on with [`Node::join_account`] of an earlier run with this profile, which had asked and did not hear the answer.
    ///
    /// # Errors
    /// [`NotFound::Code`](crate::NotFound::Code) if nothing was asked, or the rendezvous does not know the account;
    /// [`NotAllowed::LinkDeclined`](crate::NotAllowed::LinkDeclined) if the device was not let in.
    pub async fn resume_join(&self) -> Result<(AccountLink, NewDevice), NodeError> {
        self.call(AccountCommand::ResumeJoin).await
    }

    /// The user's answer to a device that asks to join ([`TransientEvent::LinkRequested`](crate::TransientEvent::LinkRequested)); without rights it may not. With `history` it
    /// may copy the history of this one. Ready when a home has
    /// the account's chain with it.
    pub async fn answer_link(&self, device: DeviceId, rights: Option<Rights>, history: bool) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::AnswerLink { device, rights, history, reply }).await
    }

    /// What is copied between this device and others of the account: see [`TransientEvent::HistoryCopy`](crate::TransientEvent::HistoryCopy).
    pub async fn history_state(&self) -> Result<HistoryState, NodeError> {
        self.call(HistoryCommand::State).await
    }

    /// Lets another device of the account copy the history that this one has, once: it does if its user wants it, too.
    pub async fn give_history(&self, device: DeviceId) -> Result<(), NodeError> {
        self.call(|reply| HistoryCommand::Give(device, reply)).await
    }

    /// Copies the history of another device of the account, or of the only other one, as soon as its user agrees. Gives the device.
    pub async fn get_history(&self, from: Option<DeviceId>) -> Result<DeviceId, NodeError> {
        self.call(|reply| HistoryCommand::Get(from, reply)).await
    }

    /// Gives up what is copied to this device, which keeps what it has; and takes back what others may copy.
    pub async fn cancel_history(&self) -> Result<(), NodeError> {
        self.call(HistoryCommand::Cancel).await
    }

    /// Gives a device of the account other rights.
    pub async fn set_device_rights(&self, device: DeviceId, rights: Rights) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetRights { device, rights, reply }).await
    }

    /// Takes another device off our account: it gets nothing that is written from now on.
    pub async fn remove_device(&self, device: DeviceId) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::RemoveDevice(device, reply)).await
    }

    /// What the account's root is to sign so that this is its only device.
    pub async fn recovery(&self) -> Result<Recovery, NodeError> {
        self.call(AccountCommand::Recovery).await
    }

    /// Takes the chain that the root has signed ([`Recovery::sign`]): all other devices are removed. Ready when a home has it. A device that was
    /// removed does not come back by that: a new one takes the account back ([`Origin::Restored`](crate::Origin::Restored)).
    pub async fn recover(&self, chain: &DeviceChain) -> Result<(), NodeError> {
        let bytes = chain.as_bytes().to_vec();
        self.call(|reply| AccountCommand::Recover(bytes, reply)).await
    }

    /// Who may see last seen, read receipts and typing; `None` leaves one as it is. Gives all three.
    pub async fn set_privacy(
        &self,
        last_seen: Option<Audience>,
        receipts: Option<Audience>,
        typing: Option<Audience>,
    ) -> Result<[Audience; 3], NodeError> {
        let stored = |a: Option<Audience>| a.map(Audience::stored);
        let all = self
            .call(|reply| AccountCommand::SetPrivacy {
                last_seen: stored(last_seen),
                receipts: stored(receipts),
                typing: stored(typing),
                reply,
            })
            .await?;
        Ok(all.map(Audience::from_stored))
    }

    /// Changes our display name, and tells contacts.
    pub async fn set_name(&self, name: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetName(name, reply)).await
    }

    /// Takes a user name at our homes; ready when one of them has answered.
    pub async fn set_username(&self, name: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetUsername(name, reply)).await
    }

    /// What the account's homes store for it. With the id of a conversation's logs, those that this device does not need are deleted first.
    pub async fn storage(&self, delete: Option<String>) -> Result<Storage, NodeError> {
        self.call(|reply| AccountCommand::Storage { delete, reply }).await
    }

    /// Moves to other home servers, with the operator's token if they ask for one. Gives up what was known of the old ones.
    pub async fn set_homes(&self, homes: Vec<RendezvousAddr>, token: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetHomes { homes, token, reply }).await
    }
}
