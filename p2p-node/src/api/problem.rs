//! What is wrong with a rendezvous or a conversation, as data. The sentences for people, which name commands, are those of the front end.

use starling_keys::chain::ChainError;
use starling_media::MediaError;

use crate::net::ConnectionProblem;

/// What keeps the account from using a rendezvous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeProblem {
    /// It is not connected, or does not answer.
    Connection(ConnectionProblem),
    /// It is not connected yet, and is still tried.
    Connecting {
        /// What is known of why.
        problem: ConnectionProblem,
        /// Port 443 is tried, as its own has led to nothing so far.
        last_resort: bool,
    },
    /// The account is being registered there.
    Registering,
    /// It registers holders of a token only.
    NeedsToken,
    /// It takes no new accounts.
    RegistrationClosed,
    /// Its operator has banned the account.
    Banned,
    /// It asks us to slow down.
    RateLimited,
    /// It has no room for another account.
    Full,
    /// It refused to register the account, and does not say why.
    RegistrationRefused,
    /// It asks for more work than a registration is worth.
    RegistrationWork,
    /// It asks for more work than a message is worth.
    MessageWork,
    /// It does not know the account's devices, and this device has not read yet what they are.
    UnknownDevices,
    /// Its history of the account's devices contradicts the one that counts here.
    OtherHistory,
    /// The account's device chain cannot be continued here.
    Chain(ChainError),
    /// The user name is taken there.
    UsernameTaken(String),
    /// It does not accept the user name as one.
    UsernameMalformed(String),
    /// It refused the user name.
    UsernameRefused,
    /// It runs an older version that would have to see the user name, which it is not given.
    WouldSeeUsername,
    /// This device is no longer one of its account.
    Superseded,
    /// The profile is an older copy of a device that went on.
    Outdated,
}

impl HomeProblem {
    /// The same for who does not wait for it any more.
    pub(crate) fn given_up(self) -> Self {
        match self {
            Self::Connecting { problem, .. } => Self::Connection(problem),
            problem => problem,
        }
    }
}

impl From<ConnectionProblem> for HomeProblem {
    fn from(problem: ConnectionProblem) -> Self {
        Self::Connection(problem)
    }
}

/// What keeps the messages of a conversation here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatProblem {
    /// The conversation's home has no more room for it, or for a change of a group.
    LogFull,
    /// The home asks us to slow down.
    LogRateLimited,
    /// The home has banned us: messages go out only while both are online.
    LogBanned,
    /// The home takes no messages now.
    LogRefused,
    /// The contact's inbox is full: the request waits.
    InboxFull,
    /// The contact's home asks us to slow down: the request waits.
    InboxRateLimited,
    /// The contact's home has refused the request for good.
    RequestRefused,
    /// What the conversation is encrypted with cannot be read: another group is made when its members can be reached.
    Damaged,
    /// Somebody is in the group who was removed where this device was before: nothing is written until an owner or admin has removed them again, or has
    /// let them in again.
    RemovedMember,
    /// Something in it is of a newer version than this program: it is read, or entered, once the program is updated.
    NeedsUpdate,
    /// The profile is an older copy of a device that went on.
    Outdated,
}

/// What does not work in a call, or what it was ended for. Told to this user alone: the texts of media name devices and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallProblem {
    /// Its media, here.
    Media(MediaError),
    /// It may only go through a relay, and no rendezvous of ours offers one.
    NoRelay,
    /// No way was found between the two networks.
    NoRoute,
    /// The connection was lost, or could not be made.
    ConnectionLost,
    /// Its device was removed from its account.
    DeviceRemoved,
    /// The device of ours that it was handed over to did not take it.
    NotTaken,
    /// The peer runs a version whose emoji cannot be compared.
    OldVersion,
    /// The peer does not reveal its part of the emoji.
    NotRevealed,
    /// Its check failed.
    Sas(SasError),
}

impl From<MediaError> for CallProblem {
    fn from(error: MediaError) -> Self {
        Self::Media(error)
    }
}

impl From<SasError> for CallProblem {
    fn from(error: SasError) -> Self {
        Self::Sas(error)
    }
}

/// Why a call is not safe: somebody may sit between its ends. `Display` is for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SasError {
    /// What the peer has revealed is not what its offer was bound to.
    #[error("the peer broke its commitment")]
    WrongReveal,
    /// A certificate that was not in the offer or its answer.
    #[error("the peer shows another certificate")]
    OtherCertificate,
}

/// What a rendezvous has answered that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FalseAnswer {
    /// A device chain that is none.
    NoChain(ChainError),
    /// A device chain other than the one that the linking device has told.
    OtherChain,
    /// A device chain that the known one does not lead to, or with a device of another account.
    Devices,
}

/// Why an item of the inbox is not taken. `Display` is for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItemRefused {
    /// It is not sealed to this device.
    #[error("not sealed to this device")]
    NotSealed,
    /// It is none, or its content is none.
    #[error("not an item")]
    Malformed,
    /// Something in it is beyond its limits.
    #[error("beyond its limits")]
    BeyondLimits,
    /// Its device chain is none.
    #[error("not a device chain")]
    FalseChain,
    /// It is not signed by a device of the account that it names.
    #[error("not signed by a device of that account")]
    NotSigned,
    /// Beacons or a group's offer of somebody that we exchange no messages with.
    #[error("of a stranger")]
    Stranger,
    /// The sender is blocked.
    #[error("from somebody who is blocked")]
    Blocked,
    /// The account does not have the sending device, or has removed it.
    #[error("from a device that its account does not have, or has removed")]
    RemovedDevice,
    /// The device chain lists a device of another account.
    #[error("a device chain that lists a device of another account")]
    ForeignDevice,
    /// The device chain is from the past, or contradicts the one that is known.
    #[error("a device chain from the past, or one that contradicts the one known")]
    OldChain,
    /// It has no welcome, or the welcome names no group.
    #[error("no welcome")]
    NoWelcome,
    /// Its welcome cannot be used.
    #[error("a welcome that cannot be used")]
    UnusableWelcome,
    /// Its group has others in it.
    #[error("a group with others in it")]
    OthersInGroup,
    /// What another device of ours says is about no other account.
    #[error("not about another account")]
    OwnAccount,
    /// It is no offer of a group, or one that names no rendezvous.
    #[error("not an offer of a group")]
    NoOffer,
    /// It offers a group that is another conversation here.
    #[error("an offer for another conversation of ours")]
    OtherConversation,
    /// Too many invitations wait for an answer.
    #[error("too many invitations wait")]
    TooManyInvitations,
    /// It accepts no invitation of ours into a group that this device adds others to.
    #[error("not an acceptance of an invitation of ours")]
    NoAcceptance,
    /// It offers a group that its sender may let nobody into.
    #[error("an offer of somebody who may not let others in")]
    MayNotInvite,
}
