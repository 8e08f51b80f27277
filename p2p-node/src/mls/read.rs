//! Reading messages in the order in which they come, and back where one is broken.
//!
//! The library uses up keys also for what it refuses, so a message must not be read on the only copy of a group; and to copy a large group costs more
//! than to decrypt a message. So a group is copied once before several messages are read on it: if one of them is broken, the copy reads those before
//! it again and takes the group's place. What is only looked at is read on another copy, which is kept to look at more, and once more when it is
//! taken: whether a message counts follows from those that were taken alone, and not from what a neighbour has brought before.
//!
//! Both copies end with any other change: going back over what this device has encrypted would use keys twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use mls_rs::{Group, MlsMessage, WireFormat, error::MlsError, group::ReceivedMessage};
use starling_keys::Certificate;
use zeroize::Zeroizing;

use super::{Config, LiveGroup, rules::certificate};

/// Messages that are read on a group, or looked at on a copy, before it is copied again: if another one is broken as many are decrypted once more …
const MAX_TAKEN: usize = 64;
/// … and their bytes, which are kept until then.
const MAX_TAKEN_BYTES: usize = 256 * 1024;

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

/// What was in a message.
enum Content {
    Application { leaf: u32, data: Zeroizing<Vec<u8>> },
    Commit,
    Other,
}

impl From<ReceivedMessage> for Content {
    fn from(received: ReceivedMessage) -> Self {
        match received {
            ReceivedMessage::ApplicationMessage(message) => {
                Self::Application { leaf: message.sender_index, data: Zeroizing::new(message.data().to_vec()) }
            }
            ReceivedMessage::Commit(_) => Self::Commit,
            _ => Self::Other,
        }
    }
}

/// A group as it was before messages that were read on it.
struct Before {
    group: Group<Config>,
    taken: Vec<Vec<u8>>,
    bytes: usize,
}

impl Before {
    fn new(group: Group<Config>) -> Self {
        Self { group, taken: Vec::new(), bytes: 0 }
    }

    fn note(&mut self, message: &[u8]) {
        self.taken.push(message.to_vec());
        self.bytes += message.len();
    }

    fn is_full(&self) -> bool {
        self.taken.len() >= MAX_TAKEN || self.bytes >= MAX_TAKEN_BYTES
    }

    /// The group after the messages, which it has read before.
    fn again(mut self) -> Group<Config> {
        for message in &self.taken {
            let read = MlsMessage::from_bytes(message).and_then(|message| self.group.process_incoming_message(message));
            if let Err(error) = read {
                // Whoever sends it once more is read.
                tracing::warn!(%error, "a message that was read cannot be read again");
            }
        }
        self.group
    }
}

/// The hash of a message.
type Hash = [u8; 32];

/// A copy of a group on which messages are looked at.
struct Scratch {
    group: Group<Config>,
    /// What was looked at and not taken since: the leaf of its author, and the plaintext.
    looked: BTreeMap<Hash, (u32, Zeroizing<Vec<u8>>)>,
    /// What was taken and was not looked at before: the keys of these are still here.
    taken: BTreeSet<Hash>,
    /// How many messages were read on it, and their bytes.
    count: usize,
    bytes: usize,
}

impl Scratch {
    fn new(group: Group<Config>) -> Self {
        Self { group, looked: BTreeMap::new(), taken: BTreeSet::new(), count: 0, bytes: 0 }
    }

    /// A message that it knows: it was looked at before, or taken.
    fn known(&self, hash: &Hash) -> Option<Result<Content, MlsError>> {
        if self.taken.contains(hash) {
            // No key is left of it where it was taken.
            return Some(Err(MlsError::KeyMissing(0)));
        }
        let (leaf, data) = self.looked.get(hash)?;
        Some(Ok(Content::Application { leaf: *leaf, data: data.clone() }))
    }

    /// A message was taken.
    fn note_taken(&mut self, bytes: &[u8]) {
        let hash = *blake3::hash(bytes).as_bytes();
        if self.looked.remove(&hash).is_none() {
            self.taken.insert(hash);
        }
    }

    fn is_full(&self) -> bool {
        self.count.max(self.taken.len()) >= MAX_TAKEN || self.bytes >= MAX_TAKEN_BYTES
    }
}

/// A group with its copies. A clone of it has none of them.
pub(super) struct Kept {
    group: Group<Config>,
    before: Option<Box<Before>>,
    scratch: Option<Box<Scratch>>,
}

impl From<Group<Config>> for Kept {
    fn from(group: Group<Config>) -> Self {
        Self { group, before: None, scratch: None }
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        self.group.clone().into()
    }
}

impl Deref for Kept {
    type Target = Group<Config>;

    fn deref(&self) -> &Group<Config> {
        &self.group
    }
}

impl Kept {
    /// The group, to be changed.
    pub fn change(&mut self) -> &mut Group<Config> {
        (self.before, self.scratch) = (None, None);
        &mut self.group
    }

    /// How many groups this takes the memory of.
    fn copies(&self) -> u32 {
        1 + u32::from(self.before.is_some()) + u32::from(self.scratch.is_some())
    }

    /// Reads a message on a copy, and gives that.
    fn read_on_copy(&self, message: MlsMessage) -> Result<(Content, Group<Config>), MlsError> {
        let mut copy = self.group.clone();
        let content = Content::from(copy.process_incoming_message(message)?);
        Ok((content, copy))
    }

    /// The same; the copy takes the group's place if the message is one of an application.
    fn take_on_copy(&mut self, message: MlsMessage) -> Result<Content, MlsError> {
        let (content, next) = self.read_on_copy(message)?;
        if matches!(content, Content::Application { .. }) {
            *self = next.into();
        }
        Ok(content)
    }

    /// Takes a private message of the current epoch.
    fn take(&mut self, bytes: &[u8], message: MlsMessage) -> Result<Content, MlsError> {
        if self.before.is_none() {
            self.before = Some(Box::new(Before::new(self.group.clone())));
        }
        let content = self.group.process_incoming_message(message).map(Content::from);
        match &content {
            Ok(Content::Application { .. }) => {
                if let Some(before) = &mut self.before {
                    before.note(bytes);
                }
                if let Some(scratch) = &mut self.scratch {
                    scratch.note_taken(bytes);
                }
                self.forget_full();
            }
            // For these no key is used up.
            Err(MlsError::CantProcessMessageFromSelf | MlsError::KeyMissing(_)) => {}
            Ok(Content::Commit | Content::Other) | Err(_) => self.go_back(),
        }
        content
    }

    /// Reads a message on a copy, which is kept for the next ones.
    fn look(&mut self, bytes: &[u8], message: MlsMessage) -> Result<Content, MlsError> {
        let hash = *blake3::hash(bytes).as_bytes();
        if let Some(known) = self.scratch.as_ref().and_then(|scratch| scratch.known(&hash)) {
            return known;
        }
        self.forget_full();
        let mut scratch = self.scratch.take().unwrap_or_else(|| Box::new(Scratch::new(self.group.clone())));
        let content = scratch.group.process_incoming_message(message).map(Content::from);
        let is_whole = match &content {
            Ok(Content::Application { leaf, data }) => {
                (scratch.count, scratch.bytes) = (scratch.count + 1, scratch.bytes + bytes.len());
                scratch.looked.insert(hash, (*leaf, data.clone()));
                true
            }
            Err(MlsError::CantProcessMessageFromSelf | MlsError::KeyMissing(_)) => true,
            // It has used up a key which another message may need.
            Ok(Content::Commit | Content::Other) | Err(_) => false,
        };
        self.scratch = Some(scratch).filter(|_| is_whole);
        content
    }

    /// Copies that a lot was read on end.
    fn forget_full(&mut self) {
        self.before.take_if(|before| before.is_full());
        self.scratch.take_if(|scratch| scratch.is_full());
    }

    /// What was read last has not happened.
    fn go_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.group = before.again();
        }
    }
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

    /// How many groups this takes the memory of: copies are kept beside it until its value is stored.
    pub fn copies(&self) -> u32 {
        self.group.copies()
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
        // Others are rare, and change more than the keys of this epoch.
        let is_plain = epoch == self.epoch() && message.wire_format() == WireFormat::PrivateMessage;
        let content = match (take, is_plain) {
            (true, true) => self.group.take(bytes, message),
            (true, false) => self.group.take_on_copy(message),
            (false, true) => self.group.look(bytes, message),
            (false, false) => self.group.read_on_copy(message).map(|(content, _)| content),
        };
        match content {
            Ok(Content::Application { leaf, data }) => match self.sender(leaf) {
                Some(sender) => Processed::Application { sender, data, epoch },
                None => Processed::Garbage,
            },
            Ok(Content::Commit) => Processed::Commit,
            Ok(Content::Other) => Processed::Garbage,
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
