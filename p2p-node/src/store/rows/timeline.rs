//! Rows of timelines and of the event log.

use prost::Message;

/// One event in a timeline. By chat id and event id.
#[derive(Clone, PartialEq, Message)]
pub struct EventRow {
    /// The encoded body.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// How it came: [`crate::Via`].
    #[prost(uint32, tag = "3")]
    pub via: u32,
    /// Its newest text, if it was edited.
    #[prost(string, optional, tag = "4")]
    pub edited: Option<String>,
    /// Clock of the newest edit.
    #[prost(uint64, tag = "5")]
    pub edit_clock: u64,
    /// Deleted by its author.
    #[prost(bool, tag = "6")]
    pub deleted: bool,
    /// Reactions.
    #[prost(message, repeated, tag = "7")]
    pub reactions: Vec<ReactionRow>,
    /// Who has written it, by number.
    #[prost(uint32, tag = "8")]
    pub author: u32,
    /// Tag of the device of the newest edit: of two with one clock the greater counts.
    #[prost(bytes = "vec", tag = "9")]
    pub edit_device: Vec<u8>,
    /// It is no event, but a line about a device of its author.
    #[prost(message, optional, tag = "10")]
    pub device_note: Option<DeviceNoteRow>,
    /// It came by gossip, and does not count, as far as can be seen.
    #[prost(bool, tag = "11")]
    pub undone: bool,
    /// Who has handed it on, by number, if it came by [`crate::Via::Handed`]; that its author has written it is that member's word.
    #[prost(uint32, tag = "12")]
    pub handed_by: u32,
}

/// What has happened to a device of an account.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct DeviceNoteRow {
    /// [`crate::DeviceChange`].
    #[prost(uint32, tag = "1")]
    pub change: u32,
}

/// What came before the message that it is about. By chat id and the message's id.
#[derive(Clone, PartialEq, Message)]
pub struct EarlyRow {
    /// What each account says that only the author may say.
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<EarlyChange>,
    /// Reactions.
    #[prost(message, repeated, tag = "2")]
    pub reactions: Vec<ReactionRow>,
}

/// A change to a message that is not here.
#[derive(Clone, PartialEq, Message)]
pub struct EarlyChange {
    /// The account that wants it.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Its newest text of the message.
    #[prost(string, optional, tag = "2")]
    pub text: Option<String>,
    /// Clock of that edit.
    #[prost(uint64, tag = "3")]
    pub clock: u64,
    /// Tag of its device.
    #[prost(bytes = "vec", tag = "4")]
    pub device: Vec<u8>,
    /// The message is deleted.
    #[prost(bool, tag = "5")]
    pub deleted: bool,
}

/// An event that is stamped ahead of the time, or of a kind that a newer version knows. By chat id and event id.
#[derive(Clone, PartialEq, Message)]
pub struct HeldEventRow {
    /// Its account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Its device.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// How it came: [`crate::Via`].
    #[prost(uint32, tag = "3")]
    pub via: u32,
    /// The encoded body.
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
    /// The rank of its account's role when it came, if it had one, of an event that a newer version knows.
    #[prost(uint32, optional, tag = "5")]
    pub role: Option<u32>,
    /// What roles allowed when it came, by [`starling_wire::Permissions::to_ranks`], of such an event.
    #[prost(uint32, repeated, tag = "6")]
    pub permissions: Vec<u32>,
}

/// A reaction.
#[derive(Clone, PartialEq, Message)]
pub struct ReactionRow {
    /// Whose it is.
    #[prost(bytes = "vec", tag = "4")]
    pub account: Vec<u8>,
    /// One emoji.
    #[prost(string, tag = "2")]
    pub emoji: String,
    /// When, so that the newest wins.
    #[prost(uint64, tag = "3")]
    pub clock: u64,
    /// Tag of the device: of two with one clock the greater counts.
    #[prost(bytes = "vec", tag = "5")]
    pub device: Vec<u8>,
}

/// Things that happened, for those who listen. One row stands for as many lines as it has ids (at least one). By first sequence number.
#[derive(Clone, PartialEq, Message)]
pub struct EventLogRow {
    /// [`crate::DurableEventKind`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The chat; empty for contact events.
    #[prost(bytes = "vec", tag = "2")]
    pub chat: Vec<u8>,
    /// Event ids, 24 bytes each.
    #[prost(bytes = "vec", tag = "3")]
    pub ids: Vec<u8>,
    /// [`crate::DeliveryState`] of a state change.
    #[prost(uint32, tag = "4")]
    pub state: u32,
    /// The account of a contact event.
    #[prost(bytes = "vec", tag = "5")]
    pub account: Vec<u8>,
    /// When, milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
    /// A reason or text.
    #[prost(string, tag = "7")]
    pub text: String,
}
