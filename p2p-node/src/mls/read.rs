//! Reading messages of a group: what each is, and who has sent it.

use mls_rs::{MlsMessage, error::MlsError, group::ReceivedMessage};
use starling_keys::Certificate;
use zeroize::Zeroizing;

use super::{LiveGroup, rules::certificate};

/// What came out of an MLS message.
#[derive(Debug)]
pub enum Processed {
    /// An application message of this device.
    Application {
        /// Who sent it.
        sender: Certificate,
        /// The plaintext.
        data: Zeroizing<Vec<u8>>,
        /// The epoch that it was encrypted in.
        epoch: u64,
    },
    /// One of an epoch that is over, of a group with a policy: who has sent it follows from the ratchet tree of that epoch, which is not here.
    Past {
        /// The leaf of who sent it.
        leaf: u32,
        /// The plaintext.
        data: Zeroizing<Vec<u8>>,
        /// The epoch that it was encrypted in.
        epoch: u64,
    },
    /// A commit, which is not followed: [`LiveGroup::judge`].
    Commit,
    /// Seen before, or our own.
    Duplicate,
    /// One of ours.
    Own,
    /// Of an epoch that we have not reached yet.
    Future,
    /// Of an epoch whose secrets are gone.
    TooOld,
    /// Not valid.
    Garbage,
}

impl LiveGroup {
    /// Takes an application message of this group. A commit is recognised, and not followed.
    pub fn process(&mut self, bytes: &[u8]) -> Processed {
        self.read(bytes, true)
    }

    /// What a message is, without taking it: no key is used up.
    pub fn preview(&mut self, bytes: &[u8]) -> Processed {
        self.read(bytes, false)
    }

    fn read(&mut self, bytes: &[u8], take: bool) -> Processed {
        let Ok(message) = MlsMessage::from_bytes(bytes) else {
            return Processed::Garbage;
        };
        if message.group_id() != Some(self.group.group_id()) {
            return Processed::Garbage;
        }
        let Some(epoch) = message.epoch() else { return Processed::Garbage };
        if epoch > self.epoch() {
            return Processed::Future;
        }
        // On a copy: the library uses up keys and keeps proposals even of what it refuses.
        let mut next = self.group.clone();
        match next.process_incoming_message(message) {
            Ok(ReceivedMessage::ApplicationMessage(m)) => {
                let data = Zeroizing::new(m.data().to_vec());
                let processed = if epoch < self.epoch() && self.has_policy() {
                    Processed::Past { leaf: m.sender_index, data, epoch }
                } else {
                    let Some(sender) = self.sender(m.sender_index) else { return Processed::Garbage };
                    Processed::Application { sender, data, epoch }
                };
                if take {
                    self.group = next;
                }
                processed
            }
            Ok(ReceivedMessage::Commit(_)) => Processed::Commit,
            Ok(_) => Processed::Garbage,
            Err(MlsError::CantProcessMessageFromSelf) => Processed::Own,
            Err(MlsError::KeyMissing(_)) => Processed::Duplicate,
            Err(MlsError::EpochNotFound | MlsError::InvalidEpoch) => Processed::TooOld,
            Err(error) => {
                tracing::debug!(%error, "a message was refused");
                Processed::Garbage
            }
        }
    }

    /// The device at a leaf of the ratchet tree.
    pub(super) fn sender(&mut self, leaf: u32) -> Option<Certificate> {
        if let Some(known) = self.senders.get(&leaf) {
            return Some(known.clone());
        }
        let certificate = self.group.member_at_index(leaf).and_then(|m| certificate(&m.signing_identity))?;
        self.senders.insert(leaf, certificate.clone());
        Some(certificate)
    }
}
