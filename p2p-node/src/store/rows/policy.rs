//! Rows of group conversations.

use prost::Message;
use zeroize::Zeroize;

/// What is known of a group conversation beside its MLS group. By chat id.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct PolicyRow {
    /// What we are in it.
    #[prost(enumeration = "StandingRow", tag = "1")]
    pub standing: i32,
    /// The newest policy that is known, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub policy: Vec<u8>,
    /// What our user wants changed, in the order in which that was said.
    #[prost(message, repeated, tag = "3")]
    pub intents: Vec<IntentRow>,
    /// How we were invited.
    #[prost(message, optional, tag = "4")]
    pub offer: Option<OfferRow>,
    /// Accounts that this device has invited, and that have not come yet.
    #[prost(message, repeated, tag = "5")]
    pub invited: Vec<InvitedRow>,
    /// Words of accounts that leave, encoded, until they are gone.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub leaves: Vec<Vec<u8>>,
    /// The number of the event that says that we leave; 0 until it is said.
    #[prost(uint64, tag = "7")]
    pub leaving: u64,
    /// Others have come who do not know yet who we are.
    #[prost(bool, tag = "8")]
    pub introduce: bool,
    /// What was done of what our user wanted, as long as others may still go on from another commit.
    #[prost(message, repeated, tag = "9")]
    pub done: Vec<DoneRow>,
    /// As which members accounts were removed.
    #[prost(message, repeated, tag = "10")]
    pub gone: Vec<GoneRow>,
    /// Accounts that were removed where this device was, and that are members where it has come to: nothing is written while devices of theirs are there.
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub barred: Vec<Vec<u8>>,
    /// The group and the secret of the door by which it was being entered when our user left it.
    #[prost(bytes = "vec", tag = "12")]
    pub left_way: Vec<u8>,
    /// Somebody else may soon have to wait for a commit of another account.
    #[prost(bool, tag = "13")]
    pub is_waited_for: bool,
    /// Somebody has come who has nothing of the audit log.
    #[prost(bool, tag = "14")]
    pub hand_on: bool,
    /// Links that this device has made.
    #[prost(message, repeated, tag = "20")]
    pub links: Vec<OwnLinkRow>,
    /// Somebody is to be told the ways into the community's channels.
    #[prost(bool, tag = "21")]
    pub tell_ways: bool,
    /// As which members accounts have ceased to be owners where this device was.
    #[prost(message, repeated, tag = "22")]
    pub former_owners: Vec<GoneRow>,
    /// Devices that have come, and that nobody is known to have handed the history.
    #[prost(message, repeated, tag = "23")]
    pub newcomers: Vec<NewcomerRow>,
    /// The epoch from which on accounts that are let in see the history, as far as this device knows; none where they do not.
    #[prost(uint64, optional, tag = "24")]
    pub history_since: Option<u64>,
    /// What this device has taken of the history, if it may since it has come.
    #[prost(message, optional, tag = "25")]
    pub handed: Option<HandedRow>,
    /// When we were told that our request to be let in was refused, milliseconds since 1970; 0 if we were not.
    #[prost(uint64, tag = "26")]
    pub refused_ms: u64,
    /// An invitation that has come while we are a member, as far as the log was read: it counts if that says that we were removed.
    #[prost(message, optional, tag = "27")]
    pub offered_again: Option<OfferRow>,
    /// The invitation that our user has used a link instead of. Where our account is in the group by it still, it leads in, and the link does not.
    #[prost(message, optional, tag = "28")]
    pub invitation: Option<OfferRow>,
    /// The way in that the other devices of our account were told last, and which of them were. The account is not named.
    #[prost(message, optional, tag = "29")]
    pub told_own: Option<InvitedRow>,
}

/// A device that has come into a group, and is to be handed the history.
#[derive(Clone, PartialEq, Message)]
pub struct NewcomerRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// Its account.
    #[prost(bytes = "vec", tag = "2")]
    pub account: Vec<u8>,
    /// Clock of the newest message when it came: what is later it gets itself.
    #[prost(uint64, tag = "3")]
    pub upto: u64,
    /// How often this device would have handed it on, and did not know its key.
    #[prost(uint32, tag = "4")]
    pub tries: u32,
}

/// How much a device that has come into a group has taken of the history.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HandedRow {
    /// Parts.
    #[prost(uint32, tag = "1")]
    pub parts: u32,
    /// Messages in them.
    #[prost(uint32, tag = "2")]
    pub rows: u32,
}

/// A link that this device has made. By whom it is used up, or whether it counts, is in the policy.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OwnLinkRow {
    /// Its id.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// Its secret.
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
}

/// Somebody who asks to be let into a group. By chat id and account.
#[derive(Clone, PartialEq, Message)]
pub struct JoinRequestRow {
    /// The account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Its device chain.
    #[prost(bytes = "vec", tag = "2")]
    pub chain: Vec<u8>,
    /// What it calls itself.
    #[prost(string, tag = "3")]
    pub name: String,
    /// When it was read here, milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub at_ms: u64,
    /// The link that it has.
    #[prost(bytes = "vec", tag = "5")]
    pub link: Vec<u8>,
    /// It was refused: it is not shown again.
    #[prost(bool, tag = "6")]
    pub refused: bool,
    /// When our user, or somebody else who may, has refused it, milliseconds since 1970; 0 if an older version did.
    #[prost(uint64, tag = "7")]
    pub refused_ms: u64,
    /// Our refusal, encoded, until it is in the box, where the others who may let somebody in find it.
    #[prost(bytes = "vec", tag = "8")]
    pub refusal: Vec<u8>,
}

/// A report of a message to those who moderate a group. By chat id, reporter and the message's id.
#[derive(Clone, PartialEq, Message)]
pub struct ReportRow {
    /// The account that reports.
    #[prost(bytes = "vec", tag = "1")]
    pub by: Vec<u8>,
    /// The id of the message.
    #[prost(bytes = "vec", tag = "2")]
    pub message: Vec<u8>,
    /// The account of its author.
    #[prost(bytes = "vec", tag = "3")]
    pub author: Vec<u8>,
    /// Its text.
    #[prost(string, tag = "4")]
    pub text: String,
    /// This device has the message itself.
    #[prost(bool, tag = "5")]
    pub confirmed: bool,
    /// Why it is reported.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// When it was read here, milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub at_ms: u64,
}

/// An entry of a group's audit log. By chat id and number.
#[derive(Clone, PartialEq, Message)]
pub struct AuditRow {
    /// The entry, encoded.
    #[prost(bytes = "vec", tag = "1")]
    pub entry: Vec<u8>,
    /// The hash of all before it.
    #[prost(bytes = "vec", tag = "2")]
    pub before: Vec<u8>,
}

/// An account that was removed from a group, or is no owner of it any more.
#[derive(Clone, PartialEq, Message)]
pub struct GoneRow {
    /// The account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// The epoch that began when it had been let in.
    #[prost(uint64, tag = "2")]
    pub since: u64,
}

/// An intent that is done.
#[derive(Clone, PartialEq, Message)]
pub struct DoneRow {
    /// What was wanted.
    #[prost(message, optional, tag = "1")]
    pub intent: Option<IntentRow>,
    /// The epoch in which it was found done.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// What we are in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum StandingRow {
    /// A contact has invited us.
    Invited = 0,
    /// We have accepted, and enter.
    Entering = 1,
    /// We are in it.
    Member = 2,
    /// We leave, and the others do not all know.
    Leaving = 3,
    /// We have left.
    Left = 4,
    /// We were removed.
    Removed = 5,
    /// We have declined.
    Declined = 6,
    /// We have asked to be let in, by a link that somebody has to approve.
    Asked = 7,
}

/// A change of a group's policy that the user wants.
#[derive(Clone, PartialEq, Message)]
pub struct IntentRow {
    /// What.
    #[prost(enumeration = "IntentKind", tag = "1")]
    pub kind: i32,
    /// The account, if it is about one.
    #[prost(bytes = "vec", tag = "2")]
    pub account: Vec<u8>,
    /// The role, by its rank.
    #[prost(uint32, tag = "3")]
    pub role: u32,
    /// The name or topic.
    #[prost(string, tag = "4")]
    pub text: String,
    /// The device, if it is about one.
    #[prost(bytes = "vec", tag = "5")]
    pub device: Vec<u8>,
    /// The user knew that the account had been removed.
    #[prost(bool, tag = "6")]
    pub again: bool,
    /// The setting, by its number.
    #[prost(uint32, tag = "7")]
    pub setting: u32,
    /// The value that it is to have.
    #[prost(uint32, tag = "8")]
    pub value: u32,
    /// The link, if it is about one.
    #[prost(message, optional, tag = "20")]
    pub link: Option<WantedLinkRow>,
    /// The conversation of the channel, if it is about one; its lowest role is the role.
    #[prost(bytes = "vec", tag = "21")]
    pub channel: Vec<u8>,
    /// The MLS group of it.
    #[prost(bytes = "vec", tag = "22")]
    pub channel_group: Vec<u8>,
    /// When the user wanted it, milliseconds since 1970, if it is a name, topic, role or setting; 0 as older versions have written it.
    #[prost(uint64, tag = "23")]
    pub wanted_ms: u64,
    /// Only if the account has no device in the group yet.
    #[prost(bool, tag = "24")]
    pub absent: bool,
}

/// A link that is to be made or ended.
#[derive(Clone, PartialEq, Message)]
pub struct WantedLinkRow {
    /// Its id.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// Its public key; empty if it is to be ended.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// When it ends, milliseconds since 1970; 0 if it does not end by itself.
    #[prost(uint64, tag = "3")]
    pub expires: u64,
    /// How many accounts may come in by it; none if any number may.
    #[prost(uint32, optional, tag = "4")]
    pub uses: Option<u32>,
    /// Whether somebody has to approve.
    #[prost(bool, tag = "5")]
    pub approve: bool,
}

/// Kinds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum IntentKind {
    /// Lets an account in, also one that was removed.
    Invite = 0,
    /// Removes an account.
    Remove = 1,
    /// Gives an account a role.
    Role = 2,
    /// Gives the group a name.
    Name = 3,
    /// Gives it a topic.
    Topic = 4,
    /// Buries a device of ours that was removed from our account.
    Bury = 5,
    /// Bans an account, and removes it if it is there.
    Ban = 6,
    /// Lifts the ban of an account.
    Unban = 7,
    /// Gives a setting a value.
    Setting = 8,
    /// Makes a link.
    LinkNew = 20,
    /// Ends a link.
    LinkEnd = 21,
    /// Adds a channel to a community.
    AddChannel = 22,
    /// Ends a channel of a community.
    RemoveChannel = 23,
}

/// A way into a group that somebody has offered.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OfferRow {
    /// The MLS group.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// The secret of its door.
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
    /// The rendezvous with its logs.
    #[prost(string, tag = "3")]
    pub home: String,
    /// What it is called.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Who has offered it.
    #[prost(bytes = "vec", tag = "5")]
    pub by: Vec<u8>,
    /// When it came, milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
    /// The secret of the link by which we come in, or ask to; empty without one. `secret` is then that of the link's log.
    #[prost(bytes = "vec", tag = "7")]
    pub link: Vec<u8>,
}

/// An account that was invited.
#[derive(Clone, PartialEq, Message)]
pub struct InvitedRow {
    /// The account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Hash of the way in that it was offered last; empty if it was not offered any yet.
    #[prost(bytes = "vec", tag = "2")]
    pub offered: Vec<u8>,
    /// The devices that were told of it.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub told: Vec<Vec<u8>>,
}

impl Drop for OfferRow {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.link.zeroize();
    }
}

impl Drop for OwnLinkRow {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}
