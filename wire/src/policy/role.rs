//! What an account is in a group.

/// What an account may do in a group. A role acts on lower ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Does everything, and makes others owners.
    Owner,
    /// Invites and removes, gives lower roles, changes name, topic and settings.
    Admin,
    /// Removes and bans lower roles, and deletes what they have written.
    Moderator,
    /// Writes.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// All roles, the highest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Moderator, Self::Member, Self::Reader];

    /// Its place, from zero for the highest.
    pub fn rank(self) -> u8 {
        self as u8
    }

    /// Whether it is above another one.
    pub fn is_above(self, other: Self) -> bool {
        self < other
    }

    /// The role with this place.
    pub fn from_rank(rank: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|role| u32::from(role.rank()) == rank)
    }
}
