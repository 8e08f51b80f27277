//! The sender's display name.

use crate::{EventError, limits::is_username, name};

/// The sender's display name, and that it is a contact from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// The display name.
    pub name: String,
    /// The sender is a program.
    pub bot: bool,
    /// When the account was given this name, and by which device (tag): an older name does not count. `None` from older versions.
    pub named: Option<(u64, u64)>,
    /// The user name that the account has at its home; empty if it has none, or does not say. A home may lead to any account by a name: this is what the
    /// account itself says.
    pub username: String,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Profile {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(bool, tag = "2")]
        pub bot: bool,
        #[prost(string, tag = "3")]
        pub full_name: String,
        #[prost(fixed64, tag = "4")]
        pub named_clock: u64,
        #[prost(fixed64, tag = "5")]
        pub named_by: u64,
        #[prost(string, tag = "6")]
        pub username: String,
    }
}

impl Profile {
    pub(super) fn to_proto(&self) -> proto::Profile {
        let (name, full_name) = name::to_fields(&self.name);
        proto::Profile {
            name,
            bot: self.bot,
            full_name,
            named_clock: self.named.map_or(0, |(clock, _)| clock),
            named_by: self.named.map_or(0, |(_, device)| device),
            username: self.username.clone(),
        }
    }

    pub(super) fn from_proto(profile: &proto::Profile) -> Result<Self, EventError> {
        let name = name::from_fields(&profile.name, &profile.full_name).ok_or(EventError::Malformed)?;
        let named = (profile.named_clock > 0).then_some((profile.named_clock, profile.named_by));
        let username = Some(&profile.username).filter(|name| is_username(name)).cloned().unwrap_or_default();
        Ok(Self { name, bot: profile.bot, named, username })
    }
}
