//! What a user of the engine sees: plain data.

use std::{fmt, path::PathBuf, str::FromStr};

use data_encoding::BASE32_NOPAD;
use starling_keys::{AccountId, DeviceId, chain::Rights};
use starling_media::spec::{AudioIn, AudioOut, VideoIn, VideoOut};
use starling_wire::{Availability, CallEnd, CallId, Clock, EventId, Recording};

/// What ids look like in text: base32 without padding, lower case.
fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidId> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).map_err(|_| InvalidId)
}

/// A text that is no id of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid id")]
pub struct InvalidId;

/// A conversation, in this profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(pub [u8; 16]);

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatId({})", &self.to_string()[..6])
    }
}

impl FromStr for ChatId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = decode(text)?;
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }
}

/// A message. Its order is the order of messages in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MessageId(pub EventId);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0.to_bytes()))
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = decode(text)?;
        EventId::from_bytes(&bytes).map(Self).ok_or(InvalidId)
    }
}

macro_rules! stored_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$doc])* $variant = $value),* }

        impl $name {
            /// From its stored number; one of a newer version reads as the default.
            pub fn from_stored(value: u32) -> Self {
                match value { $($value => Self::$variant,)* _ => Self::default() }
            }

            /// Its stored number.
            pub fn stored(self) -> u32 {
                self as u32
            }
        }
    };
}

stored_enum! {
    /// How far a message of ours has come.
    DeliveryState {
        /// On this device only.
        #[default]
        Queued = 0,
        /// Taken by a log or a device.
        Sent = 1,
        /// A device of the recipient has it.
        Delivered = 2,
        /// The recipient has read it.
        Read = 3,
        /// It will not arrive.
        Failed = 4,
    }
}

stored_enum! {
    /// What somebody is to us.
    ContactState {
        /// A contact.
        #[default]
        Active = 0,
        /// We have asked; they have not answered.
        Outgoing = 1,
        /// Blocked by us.
        Blocked = 2,
        /// Removed by us; asking again is a new request.
        Removed = 3,
    }
}

stored_enum! {
    /// What kind of conversation one is.
    ChatKind {
        /// Between two accounts.
        #[default]
        Direct = 0,
    }
}

stored_enum! {
    /// Who may see something.
    Audience {
        /// Contacts.
        #[default]
        Contacts = 0,
        /// Everyone (whom we talk to).
        Everyone = 1,
        /// Nobody.
        Nobody = 2,
    }
}

impl Audience {
    /// Whether somebody may see it, by the stored number.
    pub(crate) fn allows(stored: u32) -> bool {
        Self::from_stored(stored) != Self::Nobody
    }
}

stored_enum! {
    /// How a message came to us.
    Via {
        /// We wrote it.
        #[default]
        Own = 0,
        /// On a direct connection.
        Direct = 1,
        /// Through a relay.
        Relay = 2,
        /// From a log.
        Log = 3,
        /// Copied from another device of ours.
        Copy = 4,
    }
}

stored_enum! {
    /// What has happened to the devices of a contact.
    DeviceChange {
        /// One has joined the account.
        #[default]
        Joined = 0,
        /// One was removed from it.
        Left = 1,
        /// One has taken the place of all others, with the account's recovery phrase: somebody else may be there.
        Recovered = 2,
        /// Somebody who may change the account has written a history of it that contradicts the one known for long.
        Forked = 3,
    }
}

impl DeviceChange {
    /// Whether the user should make sure who is there.
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::Recovered | Self::Forked)
    }
}

stored_enum! {
    /// How far the copying of the history from another device is.
    CopyPhase {
        /// There is none, or it was given up.
        #[default]
        None = 0,
        /// The user of the other device is to agree.
        Wished = 1,
        /// Page after page.
        Copying = 2,
        /// All is there. Messages that the other device still gets alone, as their authors do not know of this one yet, follow.
        Following = 3,
        /// It is done.
        Done = 4,
        /// The other device has taken its permission back, or is no device of the account any more.
        Refused = 5,
    }
}

impl CopyPhase {
    /// Whether something is still to come.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Wished | Self::Copying | Self::Following)
    }
}

stored_enum! {
    /// Kinds of durable news.
    DurableEventKind {
        /// A message.
        #[default]
        New = 0,
        /// A message's state has changed.
        State = 1,
        /// A message was edited.
        Edited = 2,
        /// A message was deleted.
        Deleted = 3,
        /// A reaction was set or removed.
        Reaction = 4,
        /// Somebody asks to be a contact.
        ContactRequested = 5,
        /// Somebody is a contact now.
        ContactAccepted = 6,
        /// A verified contact's key or devices have changed.
        KeyChanged = 7,
        /// We have blocked somebody.
        Blocked = 8,
        /// A call is over: its note in the timeline.
        Call = 9,
        /// Another device has joined our account.
        DeviceLinked = 10,
        /// A device was taken off our account.
        DeviceRemoved = 11,
        /// The devices of a contact have changed: the line about it in the timeline.
        ContactDevices = 12,
        /// A contact knows something of our account's devices that our home does not: [`HiddenChange`], in the text.
        DeviceHidden = 13,
        /// A device that was removed from our account has tried to remove another: [`RefusedRemoval`], in the text.
        DeviceRefused = 14,
        /// A rendezvous has shown the devices of a conversation different things: its address, in the text.
        ChatSplit = 15,
        /// There are two copies of a device of our account, or an older one was put back: its id, in the text.
        DeviceCopied = 16,
    }
}

/// What somebody who may change our account has done to it, and has hidden from its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenChange {
    /// `joined`, `left`, `recovered`, `changed` (rights or homes), or `forked` (a second history).
    pub change: String,
    /// The device that it is about.
    pub device: DeviceId,
    /// The device whose key has signed it; `None` for the recovery phrase.
    pub by: Option<DeviceId>,
    /// What the device is called, by its own word; empty if that is not known.
    pub name: String,
}

impl fmt::Display for HiddenChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.map_or_else(|| "-".to_owned(), |by| by.to_string());
        write!(f, "{} {} {by} {}", self.change, self.device, self.name)
    }
}

impl FromStr for HiddenChange {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.splitn(4, ' ');
        let (Some(change), Some(device), Some(by)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidId);
        };
        Ok(Self {
            change: change.to_owned(),
            device: device.parse().map_err(|_| InvalidId)?,
            by: by.parse().ok(),
            name: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

/// A device that was removed from our account has tried to remove another, with a history from before its own removal. It does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRemoval {
    /// The device that was removed: whoever has its key has signed this.
    pub by: DeviceId,
    /// The device that it has tried to remove.
    pub device: DeviceId,
}

impl fmt::Display for RefusedRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.by, self.device)
    }
}

impl FromStr for RefusedRemoval {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (by, device) = text.split_once(' ').ok_or(InvalidId)?;
        let id = |text: &str| text.parse().map_err(|_| InvalidId);
        Ok(Self { by: id(by)?, device: id(device)? })
    }
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub chat: ChatId,
    /// Who has written it.
    pub author: AccountId,
    /// On which device; `None` if it was removed before its key was known here.
    pub device: Option<DeviceId>,
    /// Its author is this account.
    pub own: bool,
    /// Its current text, as it was sent: not made safe for a terminal.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// Accounts mentioned.
    pub mentions: Vec<AccountId>,
    /// It was edited.
    pub edited: bool,
    /// Its author has deleted it.
    pub deleted: bool,
    /// Emoji, and whether it is ours.
    pub reactions: Vec<(String, bool)>,
    /// How far it has come.
    pub state: DeliveryState,
    /// How it came.
    pub via: Via,
    /// It is no message, but the note of a call.
    pub call: Option<CallNote>,
    /// It is no message, but a line about a device of its author.
    pub device_note: Option<DeviceNote>,
}

/// What a timeline says of a contact's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNote {
    /// What has happened.
    pub change: DeviceChange,
    /// What the device is called, by the account's word; empty if that is not known.
    pub name: String,
    /// What the device is, by the account's word: an operating system, for example.
    pub system: String,
}

/// What is kept of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNote {
    /// The call.
    pub id: CallId,
    /// With pictures.
    pub video: bool,
    /// How it ended.
    pub why: CallEnd,
    /// How long people talked, in milliseconds.
    pub duration_ms: u64,
    /// It is about a recording instead: what its author said.
    pub recording: Option<Recording>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// The way is being prepared.
    Starting,
    /// It rings.
    Ringing,
    /// It was answered, and media do not flow yet.
    Connecting,
    /// Media flow.
    Connected,
    /// Media have stopped; a way round is looked for.
    Interrupted,
    /// It is over.
    Ended,
}

impl CallPhase {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ringing => "ringing",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Interrupted => "interrupted",
            Self::Ended => "ended",
        }
    }
}

/// How far one side's wish to record a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// Nobody asked.
    #[default]
    No,
    /// It was asked, and not answered.
    Asked,
    /// It was agreed to: the call is recorded.
    Yes,
}

impl Consent {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Asked => "asked",
            Self::Yes => "yes",
        }
    }
}

/// A call as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// Its id here.
    pub id: CallId,
    /// The conversation.
    pub chat: ChatId,
    /// We made it.
    pub outgoing: bool,
    /// With pictures.
    pub video: bool,
    /// How far it is.
    pub phase: CallPhase,
    /// Since when media flow, milliseconds since 1970; 0 before.
    pub connected_ms: u64,
    /// How it ended, and a word of the other side's.
    pub end: Option<(CallEnd, String)>,
    /// Another call was there first.
    pub waiting: bool,
    /// Six emoji that both sides see if nobody is between them; empty before media flow.
    pub emoji: String,
    /// What does not work: a device, a file.
    pub trouble: Option<String>,
    /// Whether we record it.
    pub recording: Consent,
    /// Whether the other side does.
    pub recorded: Consent,
    /// Both called at once: the call goes on under this id.
    pub replaced_by: Option<CallId>,
    /// Another device of ours hands it over to this one.
    pub moved: bool,
    /// The others in it, each with the device that speaks for them, once that is known.
    pub participants: Vec<(AccountId, Option<DeviceId>)>,
}

/// A call that another device of ours has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallElsewhere {
    /// The conversation.
    pub chat: ChatId,
    /// The device.
    pub device: DeviceId,
    /// With pictures.
    pub video: bool,
    /// Since when they talk, milliseconds since 1970.
    pub since_ms: u64,
}

/// What a call captures, where it goes, and how it may be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSetup {
    /// Sound in.
    pub audio_in: AudioIn,
    /// Sound out.
    pub audio_out: AudioOut,
    /// Pictures in.
    pub video_in: VideoIn,
    /// Pictures out, besides the screen.
    pub video_out: VideoOut,
    /// The camera is on from the beginning.
    pub camera: bool,
    /// Only through a relay: the other side does not learn our address.
    pub relay_only: bool,
}

impl CallSetup {
    /// The files that the call reads, and those that it writes.
    pub fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        if let AudioIn::File(path) = &self.audio_in {
            inputs.push(path.clone());
        }
        if let VideoIn::File(path) = &self.video_in {
            inputs.push(path.clone());
        }
        if let AudioOut::File(path) = &self.audio_out {
            outputs.push(path.clone());
        }
        if let VideoOut::File(path) = &self.video_out {
            outputs.push(path.clone());
        }
        (inputs, outputs)
    }
}

impl Message {
    /// When it was written, milliseconds since 1970, by its author's clock.
    pub fn sent_ms(&self) -> u64 {
        self.id.0.clock.ms()
    }
}

/// Somebody we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The account.
    pub account: AccountId,
    /// The conversation with them.
    pub chat: ChatId,
    /// The name to show: the one that the user gave, else their own.
    pub name: String,
    /// The name that they give themselves.
    pub own_name: String,
    /// The user name that they say they have; empty if they do not say.
    pub username: String,
    /// The user name by which a rendezvous has led to them, which may lead to anybody, until they say themselves that it is theirs; empty otherwise.
    pub found_as: String,
    /// What they are to us.
    pub state: ContactState,
    /// Safety numbers were compared.
    pub verified: bool,
    /// Their key or devices have changed since; sending waits.
    pub key_changed: bool,
    /// A program.
    pub bot: bool,
    /// Their devices.
    pub devices: Vec<DeviceId>,
    /// Last sign of life, milliseconds since 1970; 0 if not known.
    pub last_seen_ms: u64,
    /// Whether they are there now, if they show it.
    pub availability: Option<Availability>,
    /// They are typing now.
    pub typing: bool,
    /// Connected to one of their devices: directly (`Some(false)`) or through a relay.
    pub relayed: Option<bool>,
}

/// A device of our account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub id: DeviceId,
    /// When it joined, milliseconds since 1970.
    pub added_ms: u64,
    /// What it is called; empty if that is not known here.
    pub name: String,
    /// What it is: an operating system, for example; empty if that is not known here.
    pub system: String,
    /// What it may do to the account.
    pub rights: Rights,
    /// The device that has linked it; `None` if that was done with the phrase.
    pub linked_by: Option<DeviceId>,
    /// It is this one.
    pub this: bool,
    /// When it was last heard of, milliseconds since 1970; `None` if it was not since this node was started.
    pub heard_ms: Option<u64>,
    /// Connected to it: directly (`Some(false)`) or through a relay.
    pub relayed: Option<bool>,
}

/// The copying of the history to this device, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCopy {
    /// The device that it comes from.
    pub source: DeviceId,
    /// How far it is.
    pub phase: CopyPhase,
    /// About how many messages there are; 0 before the first have come.
    pub total: u64,
    /// How many of them were gone through.
    pub walked: u64,
    /// How many were new here.
    pub copied: u64,
    /// When it began, milliseconds since 1970; 0 before.
    pub started_ms: u64,
    /// When everything was there, milliseconds since 1970; 0 before.
    pub complete_ms: u64,
}

/// What is copied between this device and others of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryState {
    /// To this device, now or last.
    pub copy: Option<HistoryCopy>,
    /// Devices that may copy from this one.
    pub granted: Vec<DeviceId>,
    /// Devices that wish to.
    pub wishes: Vec<DeviceId>,
    /// Devices that this one may copy from.
    pub offers: Vec<DeviceId>,
}

/// Somebody who asks to be a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The account.
    pub account: AccountId,
    /// The name that they give themselves.
    pub name: String,
    /// A few words.
    pub greeting: String,
    /// When it came, milliseconds since 1970.
    pub at_ms: u64,
}

/// An account that takes part in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatMember {
    /// The account.
    pub account: AccountId,
    /// It is ours.
    pub own: bool,
}

/// A conversation in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// The conversation.
    pub id: ChatId,
    /// What it is.
    pub kind: ChatKind,
    /// Who takes part in it, our account too.
    pub members: Vec<ChatMember>,
    /// Its name.
    pub name: String,
    /// Messages not read.
    pub unread: u32,
    /// When the newest message was written, milliseconds since 1970.
    pub newest_ms: u64,
    /// Pinned to the top.
    pub pinned: bool,
    /// No notifications until then, milliseconds since 1970.
    pub muted_until_ms: u64,
    /// Out of the way.
    pub archived: bool,
    /// Read up to this clock.
    pub read: Clock,
    /// Messages that wait in the outbox.
    pub queued: u64,
    /// What keeps them from getting through, such as a full log; it clears itself.
    pub problem: Option<&'static str>,
    /// The encryption that it uses, as text.
    pub cipher: &'static str,
    /// What another device of ours has left unsent here, if it was the last to write something; empty if it has cleared that.
    pub draft: Option<String>,
}

impl Chat {
    /// The other account of a direct conversation.
    pub fn direct(&self) -> Option<AccountId> {
        let other = self.members.iter().find(|m| !m.own).filter(|_| self.kind == ChatKind::Direct);
        other.map(|member| member.account)
    }
}

/// One piece of durable news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableEvent {
    /// Counts from 1 without gaps in a profile.
    pub sequence: u64,
    /// When it happened, milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub kind: DurableEventKind,
    /// The conversation, if it is about one.
    pub chat: Option<ChatId>,
    /// The message, if it is about one.
    pub message: Option<MessageId>,
    /// The new state, for a state change.
    pub state: DeliveryState,
    /// The account, if it is about one.
    pub account: Option<AccountId>,
    /// A reason or text.
    pub text: String,
}

/// News that are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransientEvent {
    /// Somebody types, or stops.
    Typing {
        /// Where.
        chat: ChatId,
        /// Whether.
        typing: bool,
    },
    /// Somebody's presence has changed.
    Presence {
        /// Who.
        account: AccountId,
        /// What they show.
        availability: Availability,
        /// Last sign of life, milliseconds since 1970.
        last_seen_ms: u64,
    },
    /// Connections have changed.
    Net,
    /// A call has changed.
    Call(Box<CallInfo>),
    /// A short code has ended: used (`true`) or burnt.
    CodeEnded {
        /// The code.
        code: String,
        /// Whether it was used.
        used: bool,
    },
    /// A device asks to join our account, over a code of ours.
    LinkRequested {
        /// The code.
        code: String,
        /// The device.
        device: DeviceId,
        /// What its user calls it.
        name: String,
        /// What it says that it is.
        kind: String,
    },
    /// Another device of ours has left something unsent in a conversation, or cleared that.
    Draft {
        /// Where.
        chat: ChatId,
        /// What.
        text: String,
    },
    /// The copying of the history to this device has come further.
    HistoryCopy(HistoryCopy),
    /// Another device of ours wishes to copy the history of this one.
    HistoryWished(DeviceId),
    /// Another device of ours has its history copied, if this one wants it.
    HistoryOffered(DeviceId),
    /// The store has failed; the node has stopped.
    Failed(String),
}

/// A rendezvous as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeStatus {
    /// Its first address.
    pub address: String,
    /// One of ours (not only of a contact).
    pub own: bool,
    /// Connected.
    pub connected: bool,
    /// Registered there.
    pub registered: bool,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// Its clock minus ours, in milliseconds, when it greeted us.
    pub clock_offset_ms: i64,
}

/// The node as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Our account.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// Our name.
    pub name: String,
    /// A program.
    pub bot: bool,
    /// Rendezvous servers.
    pub homes: Vec<HomeStatus>,
    /// Devices connected: directly, through a relay.
    pub peers: (usize, usize),
    /// Addresses of this device.
    pub addresses: Vec<String>,
    /// Confirmed from outside.
    pub public: bool,
    /// Entries that wait in outboxes.
    pub queued: u64,
    /// Invitations and requests that wait for a rendezvous.
    pub requests_waiting: u64,
    /// Everything that waited for us at our homes has been read.
    pub synced: bool,
    /// This device is no longer one of its account.
    pub removed: bool,
    /// Our contact address, as a link.
    pub address: String,
    /// Our user name, if we have one.
    pub username: String,
}
