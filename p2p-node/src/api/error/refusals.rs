//! Why events are void, and why something cannot be done in a group.

/// Why an event is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventRefusal {
    /// Only the author of a message changes it.
    #[error("only the author can change a message")]
    NotTheAuthor,
    /// A message is deleted for everyone within [`crate::DELETE_WINDOW_MS`] only.
    #[error("a message can be deleted for everyone for 48 hours only")]
    TooLate,
    /// The message is deleted.
    #[error("the message was deleted")]
    Deleted,
    /// A reaction is one emoji.
    #[error("a reaction is one emoji")]
    NotAnEmoji,
    /// In a group the role is too low for that.
    #[error("the role is too low for that")]
    Role,
    /// What is kept of a call is nobody's to change.
    #[error("a call is no message")]
    NotAMessage,
}

/// Why something cannot be done in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    /// We are none of its members: not yet, or not any more.
    #[error("not a member of the group")]
    NotAMember,
    /// Our role is too low for that.
    #[error("the role is too low for that")]
    Role,
    /// The group would be left without an owner.
    #[error("the group would be left without an owner")]
    LastOwner,
    /// It has as many accounts as a group can have.
    #[error("the group has no room for more")]
    Full,
    /// The account is none of the group's.
    #[error("the account is not in the group")]
    NotInGroup,
    /// Only contacts are invited.
    #[error("not a contact")]
    NotAContact,
    /// The account was removed from the group since it was invited.
    #[error("the account was removed from the group")]
    Removed,
    /// We are in as many groups as a profile keeps.
    #[error("too many groups")]
    TooManyGroups,
    /// The change is not one that the group takes.
    #[error("the change is not one that the group takes")]
    Void,
    /// The account is banned from the group.
    #[error("the account is banned from the group")]
    Banned,
    /// As many accounts are banned as can be.
    #[error("too many accounts are banned")]
    TooManyBans,
    /// The link does not lead into the group: it was ended or used up, its time is over, or it was none of the group's.
    #[error("the link does not lead into the group (any more)")]
    LinkEnded,
    /// There are as many links as can be.
    #[error("the group has too many links")]
    TooManyLinks,
    /// The group was made by an older version, and does not know this.
    #[error("the group was made by an older version, which does not know this")]
    OldGroup,
    /// The group is of a newer version.
    #[error("the group is of a newer version: this program has to be updated")]
    NewGroup,
    /// It is a channel, and that is decided in its community.
    #[error("that is decided in the community of the channel")]
    Community,
    /// It is no community.
    #[error("not a community")]
    NotACommunity,
    /// Nobody who moderates the group could read a report: they are the author, or have not come yet.
    #[error("nobody who moderates the group could read a report of that")]
    NoModerator,
    /// Somebody has changed the same later than it was wanted here.
    #[error("somebody has changed the same later")]
    Overtaken,
    /// Our request to be let in was refused.
    #[error("the request to be let in was refused")]
    RequestRefused,
}

impl GroupRefusal {
    const ALL: [Self; 20] = [
        Self::NotAMember,
        Self::Role,
        Self::LastOwner,
        Self::Full,
        Self::NotInGroup,
        Self::NotAContact,
        Self::Removed,
        Self::TooManyGroups,
        Self::Void,
        Self::Banned,
        Self::TooManyBans,
        Self::LinkEnded,
        Self::TooManyLinks,
        Self::OldGroup,
        Self::NewGroup,
        Self::Community,
        Self::NotACommunity,
        Self::NoModerator,
        Self::Overtaken,
        Self::RequestRefused,
    ];

    /// A word for programs, which stays the same; it is also what is stored.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAMember => "not_a_member",
            Self::Role => "role",
            Self::LastOwner => "last_owner",
            Self::Full => "group_full",
            Self::NotInGroup => "not_in_group",
            Self::NotAContact => "not_a_contact",
            Self::Removed => "removed",
            Self::TooManyGroups => "too_many_groups",
            Self::Void => "void",
            Self::Banned => "banned",
            Self::TooManyBans => "too_many_bans",
            Self::LinkEnded => "link_ended",
            Self::TooManyLinks => "too_many_links",
            Self::OldGroup => "old_group",
            Self::NewGroup => "newer_group",
            Self::Community => "community",
            Self::NotACommunity => "not_a_community",
            Self::NoModerator => "no_moderator",
            Self::Overtaken => "overtaken",
            Self::RequestRefused => "request_refused",
        }
    }

    /// The one with a [`GroupRefusal::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }
}
