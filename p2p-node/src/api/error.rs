//! Why the node cannot do what it was asked, as data: what was wrong, with its limits and names. The sentences for people, which name commands,
//! are those of the front end; `Display` is for logs.

mod refusals;

pub use refusals::{EventRefusal, GroupRefusal};

use starling_keys::{AccountId, CodeError, DeviceId, chain::ChainError};
use starling_media::MediaError;
use starling_text::NameError;
use starling_wire::rendezvous::Refusal;

use crate::{
    api::{
        problem::{FalseAnswer, HomeProblem, ItemRefused},
        types::{ChatId, OldProgram},
    },
    store::StoreError,
};

/// Why the node cannot do what it was asked.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NodeError {
    /// Something in the request makes no sense.
    #[error("not valid: {0:?}")]
    Invalid(Invalid),
    /// There is no such thing.
    #[error("not found: {0:?}")]
    NotFound(NotFound),
    /// Nobody is meant by what was given to find a contact, or several are.
    #[error("not found: {0:?}")]
    Unfound(Unfound),
    /// Somebody who is needed cannot be reached, and nothing was queued.
    #[error("not reached: {0:?}")]
    Unreachable(Unreachable),
    /// It is not possible or not allowed now.
    #[error("refused: {0:?}")]
    NotAllowed(NotAllowed),
    /// The contact's devices have changed since the user verified them.
    #[error("the devices of a contact have changed")]
    KeyChanged {
        /// The contact's name.
        name: String,
    },
    /// Too many requests.
    #[error("too many requests: try again in {retry_after_ms} ms")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The store has failed.
    #[error("{0}")]
    Store(String),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        impl From<$name> for NodeError {
            fn from(reason: $name) -> Self {
                Self::$name(reason)
            }
        }
    )*};
}

reasons! {
    Invalid;
    NotFound;
    Unfound;
    Unreachable;
    NotAllowed;
}

/// What makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// A message without text.
    EmptyMessage,
    /// A text that is too long; both lengths in bytes.
    MessageTooLong {
        /// Its length.
        length: usize,
        /// The most that a message can have.
        max: usize,
    },
    /// The topic of a group that is too long.
    TopicTooLong {
        /// The most that it can have, in bytes.
        max: usize,
    },
    /// The reason of a report that is too long.
    ReportTooLong {
        /// The most that it can have, in bytes.
        max: usize,
    },
    /// A message that mentions too many.
    TooManyMentions {
        /// The most that it can mention.
        max: usize,
    },
    /// A reaction that is more than one emoji.
    Reaction,
    /// A value that a setting of a group, which is named, cannot have.
    Setting(&'static str),
    /// A search without words.
    EmptySearch,
    /// A search with too many words.
    TooManySearchWords {
        /// The most that it can have.
        max: usize,
    },
    /// A name that cannot be shown.
    Name(NameError),
    /// A text that is no user name.
    Username {
        /// The text.
        given: String,
    },
    /// The user name of somebody else, which their rendezvous does not accept as one.
    TheirUsername,
    /// A greeting that is too long.
    GreetingTooLong {
        /// The most that it can have, in bytes.
        max: usize,
    },
    /// A number of uses that an invite cannot have.
    InviteUses {
        /// The most that it can have.
        max: u32,
    },
    /// A link into a group that nobody, or more than any group has, could use.
    LinkUses,
    /// An invite that lives for less than a second.
    InviteLifetime,
    /// An invite of an account without a rendezvous.
    InviteWithoutHome,
    /// A text that is no short code.
    Code(CodeError),
    /// A short code to be made by an account without a rendezvous.
    CodeWithoutHome,
    /// A short code to be used without a rendezvous.
    CodeWithoutRendezvous,
    /// The account's own address.
    OwnAddress,
    /// An address without a rendezvous.
    AddressWithoutRendezvous,
    /// An account that is not blocked.
    NotBlocked,
    /// One of several devices, without saying which.
    WhichDevice,
    /// Files of a call.
    Files(MediaError),
}

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The conversation.
    Chat,
    /// The group, or an invitation into it.
    Group,
    /// The link into the group.
    Link,
    /// Somebody who asks to be let into the group.
    JoinRequest,
    /// The message, in its conversation.
    Message,
    /// The contact.
    Contact,
    /// The contact request.
    Request,
    /// The contact request, in a form that can be read.
    ReadableRequest,
    /// An account with the address, at its rendezvous.
    Account,
    /// The short code: it is used, burnt by wrong guesses, or too old.
    Code,
    /// The call.
    Call,
    /// A call on another device of the account.
    CallElsewhere,
    /// The device of the account.
    Device,
    /// Logs with this id at the account's homes.
    StoredLogs,
}

/// Why no contact was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfound {
    /// There is no conversation with this id.
    Conversation {
        /// The id.
        id: String,
    },
    /// Nobody with the address is a contact.
    Address,
    /// Nobody with the name is.
    Name {
        /// The name.
        name: String,
        /// Some names that begin like it.
        close: Vec<String>,
        /// Whether somebody was asked who has not accepted yet, and whose name is known only then.
        asked: bool,
    },
    /// Nobody with the name, account or address is a contact, but somebody asks to be one.
    Asks {
        /// The name.
        name: String,
        /// Who asks: several may have the name.
        accounts: Vec<AccountId>,
    },
    /// Several have the name.
    Several {
        /// The name.
        name: String,
        /// The conversation with each of them.
        chats: Vec<ChatId>,
    },
}

/// What was needed and cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreachable {
    /// The rendezvous of the account.
    Home,
    /// A rendezvous of the account that is of a version which takes user names without seeing them.
    OlderHome,
    /// The rendezvous of the account, which has to give a short code.
    HomeForCode,
    /// The rendezvous of the account, which has to take the new list of devices.
    HomeForDeviceList,
    /// The connection to the rendezvous ended before the answer.
    ConnectionLost,
    /// The rendezvous of somebody else.
    TheirHome {
        /// What is wrong with it.
        problem: HomeProblem,
    },
    /// The rendezvous with the logs of a group.
    GroupHome,
    /// The device that has made a short code.
    CodeOwner,
    /// Any of their devices: none has left a key package.
    KeyPackages,
    /// The encrypted conversation is being made.
    Conversation {
        /// With whom.
        name: String,
    },
    /// What the conversation is encrypted with cannot be read in this profile; another is made when its members can be reached.
    DamagedConversation {
        /// With whom.
        name: String,
    },
    /// The list of the account's devices is not here yet.
    DeviceList,
    /// A rendezvous has not taken a change of the account's devices yet. It is sent again.
    DeviceChangePending {
        /// The device.
        device: DeviceId,
        /// What keeps it.
        problem: HomeProblem,
    },
}

/// What is not possible or not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAllowed {
    /// A group does not allow it.
    Group(GroupRefusal),
    /// The group is of an older version until the programs of these devices are updated.
    OldPrograms(Vec<OldProgram>),
    /// A request to be let into a group was refused, and cannot be repeated yet.
    JoinRefused {
        /// When it can, in so many milliseconds.
        retry_after_ms: u64,
    },
    /// The device is no longer one of its account.
    Superseded,
    /// The profile is an older copy of a device that went on: its numbers and keys were used already.
    Outdated,
    /// The contact is blocked.
    Blocked {
        /// Its name; nothing before it is known.
        name: Option<String>,
    },
    /// The contact was removed.
    Removed {
        /// Its name.
        name: String,
    },
    /// Somebody was asked to be a contact, and has not accepted yet.
    NotAccepted {
        /// Its name.
        name: String,
    },
    /// There are as many contacts as there can be.
    TooManyContacts {
        /// So many.
        max: usize,
    },
    /// Too much waits to be sent.
    OutboxFull {
        /// To whom.
        name: String,
        /// Batches that can wait.
        max: usize,
    },
    /// A change of a message that its members would not take.
    Event(EventRefusal),
    /// A contact request that cannot be accepted.
    Request(ItemRefused),
    /// The rendezvous has given an answer that is not true.
    FalseAnswer(FalseAnswer),
    /// The rendezvous has given the devices of another account.
    ForeignDevices,
    /// The rendezvous has given an old list of devices.
    OldDeviceList,
    /// The rendezvous refuses.
    ByRendezvous(Refusal),
    /// The user name belongs to somebody else.
    UsernameTaken {
        /// The name.
        name: String,
    },
    /// The rendezvous refuses the user name.
    UsernameRefused,
    /// The rendezvous gives no more short codes: as many are open as it allows.
    TooManyCodes,
    /// The rendezvous gives no short code now.
    NoCode(Refusal),
    /// The short code is wrong.
    WrongCode(CodePurpose),
    /// The short code is for something else.
    CodeIsFor(CodePurpose),
    /// The account's device chain does not allow it.
    Chain(ChainError),
    /// This device may not change the account.
    NotAdmin,
    /// The user of the other device has not agreed.
    LinkDeclined,
    /// The account has as many devices as it can have.
    TooManyDevices {
        /// So many.
        max: usize,
    },
    /// The device that is used.
    ThisDevice,
    /// The account has no other device.
    NoOtherDevice,
    /// Something about a call.
    Call(CallRefused),
}

/// What is not possible in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallRefused {
    /// The contact has not accepted yet.
    NotAccepted,
    /// There is a call with them already.
    InCall,
    /// Another device of the account has a call with them.
    InCallElsewhere,
    /// There are as many calls as there can be.
    TooManyCalls,
    /// The call does not wait for an answer.
    NotRinging,
    /// The call is not connected, and cannot be handed over.
    NotConnected,
    /// The call has no microphone yet.
    NoMicrophone,
    /// As many connections attend the call as can.
    TooManyAttendants,
    /// The call is not being recorded.
    NotRecorded,
    /// The call is not connected, and cannot be recorded.
    RecordBeforeConnected,
    /// A recording was asked for already.
    RecordingAsked,
    /// Nobody has asked to record.
    NobodyAskedToRecord,
    /// The file of a recording.
    RecordingFile(MediaError),
}

impl From<CallRefused> for NodeError {
    fn from(reason: CallRefused) -> Self {
        Self::NotAllowed(NotAllowed::Call(reason))
    }
}

/// What a short code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodePurpose {
    /// Two people become contacts.
    Contact,
    /// A device joins an account.
    Device,
}
