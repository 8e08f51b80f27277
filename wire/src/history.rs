//! How one device of an account copies the history to another. The device that lacks it asks for one page after another, so that either side can be
//! gone at any time; each message is sealed (HPKE) to the device that it is for.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    DeviceLabel, EventId, MAX_HANDED_PART,
    limits::{MAX_EMOJI, MAX_HISTORY_MESSAGE, MAX_HISTORY_ROWS, MAX_TEXT},
    pad, unpad,
};

/// The HPKE `info` of a sealed [`HistoryMessage`].
pub const HISTORY_INFO: &[u8] = b"starling history v1";
/// Length of a place in a history: what the device that has it finds a message by.
pub const HISTORY_PLACE: usize = 40;
/// Most devices of an account whose progress one part names: those that were ever on it and have written in the conversation.
const MAX_MARKS: usize = 512;
/// Most accounts that react to one message.
const MAX_REACTIONS: usize = 1024;

/// A message about copying the history.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryMessage {
    /// The permission under which it is copied: a number that the device with the history has drawn; 0 where there is none yet.
    #[prost(fixed64, tag = "1")]
    pub grant: u64,
    /// What is said.
    #[prost(oneof = "HistoryStep", tags = "2, 3, 4, 5, 6, 7, 8, 9")]
    pub step: Option<HistoryStep>,
}

/// A step of the copying.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HistoryStep {
    /// To the device with the history: its user is to give permission.
    #[prost(message, tag = "2")]
    Wish(Nothing),
    /// From it: the permission is there.
    #[prost(message, tag = "3")]
    Offer(Nothing),
    /// To it: the next page.
    #[prost(message, tag = "4")]
    Request(HistoryRequest),
    /// From it: a page.
    #[prost(message, tag = "5")]
    Page(HistoryPage),
    /// From it: there is no such permission.
    #[prost(message, tag = "6")]
    Refused(Nothing),
    /// To it: everything is there, or is not wanted any more.
    #[prost(message, tag = "7")]
    Finished(Nothing),
    /// To a device that was in a group before: the next page of what was written there.
    #[prost(message, tag = "8")]
    GroupRequest(GroupHistoryRequest),
    /// From it: that page.
    #[prost(message, tag = "9")]
    GroupPage(GroupHistoryPage),
}

/// A step that says all by its kind.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Nothing {}

/// Which page is wanted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryRequest {
    /// What stands before this place, as the page before has named it ([`HISTORY_PLACE`] bytes); empty for the first page.
    #[prost(bytes = "bytes", tag = "1")]
    pub before: Bytes,
    /// Instead: what has changed since this number, which an earlier page has named.
    #[prost(uint64, optional, tag = "2")]
    pub since: Option<u64>,
}

/// Which page of a group's messages is wanted, by a device that has entered the group after another one of its account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupHistoryRequest {
    /// The conversation (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub conversation: Bytes,
    /// The MLS group (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// The first epoch that the device is in. Who is not there yet has not read all that stands before it, and does not answer.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// What is stamped earlier is not wanted.
    #[prost(fixed64, tag = "4")]
    pub since: u64,
    /// What stands before this place, as the page before has named it ([`HISTORY_PLACE`] bytes); empty for the first page.
    #[prost(bytes = "bytes", tag = "5")]
    pub before: Bytes,
}

/// A page of a group's messages.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupHistoryPage {
    /// What it answers.
    #[prost(message, optional, tag = "1")]
    pub request: Option<GroupHistoryRequest>,
    /// The messages. `with` of its parts is empty, and of the page itself only `next`, `authors` and `parts` count.
    #[prost(message, optional, tag = "2")]
    pub page: Option<HistoryPage>,
}

/// A page.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryPage {
    /// What it answers.
    #[prost(message, optional, tag = "1")]
    pub request: Option<HistoryRequest>,
    /// Where the next page begins; empty if this is the last one.
    #[prost(bytes = "bytes", tag = "2")]
    pub next: Bytes,
    /// The number to ask for changes since.
    #[prost(uint64, tag = "3")]
    pub changes: u64,
    /// There are more changes already.
    #[prost(bool, tag = "4")]
    pub more: bool,
    /// About how many messages there are; on the first page.
    #[prost(uint64, tag = "5")]
    pub total: u64,
    /// How many of them this page stands for, those that are not copied too.
    #[prost(uint32, tag = "6")]
    pub walked: u32,
    /// Who has written, by their place in this list.
    #[prost(message, repeated, tag = "7")]
    pub authors: Vec<HistoryAuthor>,
    /// What is copied, by conversation.
    #[prost(message, repeated, tag = "8")]
    pub parts: Vec<HistoryPart>,
}

/// Somebody who has written, or whose device a line is about.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryAuthor {
    /// The account (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// The device's tag (8 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub tag: Bytes,
    /// The device, with what it is called; its key is empty if only the tag is known.
    #[prost(message, optional, tag = "3")]
    pub label: Option<DeviceLabel>,
}

/// A part of one conversation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryPart {
    /// The other account (32 bytes) of a direct conversation; empty for a group.
    #[prost(bytes = "bytes", tag = "1")]
    pub with: Bytes,
    /// Our account has read up to this clock.
    #[prost(fixed64, tag = "2")]
    pub read: u64,
    /// The other account has read up to this clock.
    #[prost(fixed64, tag = "3")]
    pub read_by_them: u64,
    /// How far the events of our account's devices were delivered.
    #[prost(message, repeated, tag = "4")]
    pub delivered: Vec<DeliveredMark>,
    /// The messages, newest first.
    #[prost(message, repeated, tag = "5")]
    pub rows: Vec<HistoryRow>,
}

/// The numbered events of a device were delivered to the other account up to `upto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliveredMark {
    /// The device (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// A sequence number.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
}

/// A message, the note of a call or a line about a device, as it is now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryRow {
    /// The event's id ([`EventId::LEN`] bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Its author, by the place in the page's list.
    #[prost(uint32, tag = "2")]
    pub author: u32,
    /// The event's body ([`crate::Event::encode_body`]), without its text if that was edited or deleted; empty for a line about a device.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    /// Its newest text, if it was edited.
    #[prost(message, optional, tag = "4")]
    pub edited: Option<EditedText>,
    /// Its author has deleted it.
    #[prost(bool, tag = "5")]
    pub deleted: bool,
    /// Reactions; one that was taken back has no emoji.
    #[prost(message, repeated, tag = "6")]
    pub reactions: Vec<HistoryReaction>,
    /// What a line about a device says: 0 joined, 1 left, 2 recovered, 3 forked.
    #[prost(uint32, optional, tag = "7")]
    pub device_note: Option<u32>,
}

/// The newest text of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EditedText {
    /// The text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// The clock of the edit.
    #[prost(fixed64, tag = "2")]
    pub clock: u64,
    /// The tag of its device.
    #[prost(bytes = "bytes", tag = "3")]
    pub device: Bytes,
}

/// A reaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryReaction {
    /// Whose it is (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// One emoji.
    #[prost(string, tag = "2")]
    pub emoji: String,
    /// When it was set.
    #[prost(fixed64, tag = "3")]
    pub clock: u64,
    /// The tag of its device.
    #[prost(bytes = "bytes", tag = "4")]
    pub device: Bytes,
}

/// Messages of a group as they are now, as one member hands them on to who has come: the plaintext of a [`crate::HandedHistory`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct HandedPart {
    /// Who has written, by their place in this list.
    #[prost(message, repeated, tag = "1")]
    pub authors: Vec<HistoryAuthor>,
    /// The messages, newest first.
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<HistoryRow>,
}

/// Why a message about the history was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Not a message.
    #[error("malformed: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Something in it is beyond its bound.
    #[error("beyond its limits")]
    Limits,
    /// Its padding is not of the form that we make.
    #[error("wrong padding")]
    Padding,
}

impl HistoryMessage {
    /// Reads a message; labels are cleaned.
    ///
    /// # Errors
    /// If it is malformed or something in it is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HistoryError> {
        if bytes.len() > MAX_HISTORY_MESSAGE {
            return Err(HistoryError::Limits);
        }
        let mut message = Self::decode(bytes)?;
        let fits = match &mut message.step {
            Some(HistoryStep::Request(request)) => request.is_valid(),
            Some(HistoryStep::Page(page)) => page.clean(32),
            Some(HistoryStep::GroupRequest(request)) => request.is_valid(),
            Some(HistoryStep::GroupPage(page)) => page.clean(),
            _ => true,
        };
        if fits { Ok(message) } else { Err(HistoryError::Limits) }
    }
}

impl HistoryRequest {
    fn is_valid(&self) -> bool {
        self.before.is_empty() || self.before.len() == HISTORY_PLACE
    }
}

impl GroupHistoryRequest {
    fn is_valid(&self) -> bool {
        let is_place = self.before.is_empty() || self.before.len() == HISTORY_PLACE;
        self.conversation.len() == 16 && self.group.len() == 16 && is_place
    }
}

impl GroupHistoryPage {
    fn clean(&mut self) -> bool {
        let is_asked = self.request.as_ref().is_some_and(GroupHistoryRequest::is_valid);
        is_asked && self.page.as_mut().is_some_and(|page| page.clean(0))
    }
}

impl HistoryPage {
    /// Cleans what is shown; `false` if something is beyond its bound. The parts are `with` a name of this length.
    fn clean(&mut self, with: usize) -> bool {
        let rows: usize = self.parts.iter().map(|part| part.rows.len()).sum();
        let places = self.next.is_empty() || self.next.len() == HISTORY_PLACE;
        if rows > MAX_HISTORY_ROWS || self.authors.len() > MAX_HISTORY_ROWS || self.parts.len() > MAX_HISTORY_ROWS {
            return false;
        }
        let authors = self.authors.len();
        places
            && self.request.as_ref().is_none_or(HistoryRequest::is_valid)
            && self.authors.iter_mut().all(HistoryAuthor::clean)
            && self.parts.iter().all(|part| part.with.len() == with && part.is_valid(authors))
    }
}

impl HandedPart {
    /// Encodes and pads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        pad(self.encode_to_vec())
    }

    /// Reads what [`HandedPart::to_bytes`] made; labels are cleaned.
    ///
    /// # Errors
    /// If it is malformed or something in it is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HistoryError> {
        if bytes.len() > MAX_HANDED_PART {
            return Err(HistoryError::Limits);
        }
        let mut part = Self::decode(unpad(bytes).map_err(|_| HistoryError::Padding)?)?;
        let authors = part.authors.len();
        let fits = part.rows.len() <= MAX_HISTORY_ROWS
            && authors <= MAX_HISTORY_ROWS
            && part.authors.iter_mut().all(HistoryAuthor::clean)
            && part.rows.iter().all(|row| (row.author as usize) < authors && row.is_valid());
        if fits { Ok(part) } else { Err(HistoryError::Limits) }
    }
}

impl HistoryAuthor {
    fn clean(&mut self) -> bool {
        let Some(label) = self.label.take() else { return self.has_ids() };
        self.label = DeviceLabel::received(vec![label]).and_then(|mut labels| labels.pop());
        self.label.is_some() && self.has_ids()
    }

    fn has_ids(&self) -> bool {
        self.account.len() == 32 && self.tag.len() == 8
    }
}

impl HistoryPart {
    fn is_valid(&self, authors: usize) -> bool {
        self.delivered.len() <= MAX_MARKS
            && self.rows.iter().all(|row| (row.author as usize) < authors && row.is_valid())
    }
}

impl HistoryRow {
    fn is_valid(&self) -> bool {
        self.id.len() == EventId::LEN
            && self.reactions.len() <= MAX_REACTIONS
            && self.edited.as_ref().is_none_or(|edited| edited.text.len() <= MAX_TEXT && edited.device.len() <= 8)
            && self.reactions.iter().all(|r| r.emoji.len() <= MAX_EMOJI && r.account.len() == 32 && r.device.len() <= 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_with(with: usize, row: HistoryRow) -> HistoryPage {
        let author = HistoryAuthor { account: vec![1; 32].into(), tag: vec![2; 8].into(), label: None };
        let part = HistoryPart { with: vec![3; with].into(), rows: vec![row], ..HistoryPart::default() };
        HistoryPage { authors: vec![author], parts: vec![part], ..HistoryPage::default() }
    }

    fn page(row: HistoryRow) -> HistoryMessage {
        HistoryMessage { grant: 7, step: Some(HistoryStep::Page(page_with(32, row))) }
    }

    fn row() -> HistoryRow {
        HistoryRow { id: vec![4; EventId::LEN].into(), ..HistoryRow::default() }
    }

    fn read(message: &HistoryMessage) -> Result<HistoryMessage, HistoryError> {
        HistoryMessage::from_bytes(&message.encode_to_vec())
    }

    #[test]
    fn a_page_is_read_back() {
        let whole = page(row());
        assert_eq!(read(&whole), Ok(whole));
    }

    #[test]
    fn a_part_that_is_handed_on_is_read_back_and_bounded() {
        let author = HistoryAuthor { account: vec![1; 32].into(), tag: vec![2; 8].into(), label: None };
        let part = HandedPart { authors: vec![author], rows: vec![row()] };
        let bytes = part.to_bytes();
        assert_eq!(HandedPart::from_bytes(&bytes), Ok(part.clone()));
        assert_eq!(HandedPart::from_bytes(&[0; 256]), Err(HistoryError::Padding));
        assert_eq!(HandedPart::from_bytes(&vec![1; MAX_HANDED_PART + 1]), Err(HistoryError::Limits));
        let no_author = HandedPart { authors: Vec::new(), ..part.clone() };
        let many = HandedPart { rows: vec![row(); MAX_HISTORY_ROWS + 1], ..part };
        for bad in [no_author, many] {
            assert_eq!(HandedPart::from_bytes(&bad.to_bytes()), Err(HistoryError::Limits));
        }
    }

    #[test]
    fn a_page_of_a_group_says_what_it_answers_and_is_with_nobody() {
        let request = GroupHistoryRequest {
            conversation: vec![1; 16].into(),
            group: vec![2; 16].into(),
            epoch: 7,
            since: 3,
            before: Bytes::new(),
        };
        let (direct, of_group) = (page_with(32, row()), page_with(0, row()));
        let message = |request: Option<GroupHistoryRequest>, page: HistoryPage| HistoryMessage {
            grant: 0,
            step: Some(HistoryStep::GroupPage(GroupHistoryPage { request, page: Some(page) })),
        };
        let whole = message(Some(request.clone()), of_group.clone());
        assert_eq!(read(&whole), Ok(whole));
        assert_eq!(read(&message(Some(request.clone()), direct)), Err(HistoryError::Limits));
        assert_eq!(read(&message(None, of_group.clone())), Err(HistoryError::Limits));
        let step = |step| HistoryMessage { grant: 0, step: Some(step) };
        assert_eq!(read(&step(HistoryStep::Page(of_group))), Err(HistoryError::Limits));
        let short = GroupHistoryRequest { group: Bytes::new(), ..request.clone() };
        assert_eq!(read(&step(HistoryStep::GroupRequest(short))), Err(HistoryError::Limits));
        let asks = step(HistoryStep::GroupRequest(request));
        assert_eq!(read(&asks), Ok(asks));
    }

    #[test]
    fn what_is_beyond_its_bounds_is_refused() {
        let no_author = HistoryRow { author: 1, ..row() };
        let no_id = HistoryRow { id: Bytes::new(), ..row() };
        let edited = EditedText { text: "x".repeat(MAX_TEXT + 1), ..EditedText::default() };
        let long = HistoryRow { edited: Some(edited), ..row() };
        for bad in [no_author, no_id, long] {
            assert_eq!(read(&page(bad)), Err(HistoryError::Limits));
        }
        let request = HistoryRequest { before: vec![0; 3].into(), since: None };
        assert_eq!(
            read(&HistoryMessage { grant: 1, step: Some(HistoryStep::Request(request)) }),
            Err(HistoryError::Limits)
        );
    }
}
