//! The sender's display name.

use crate::{EventError, name};

/// The sender's display name, and that it is a contact from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// The display name.
    pub name: String,
    /// The sender is a program.
    pub bot: bool,
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
    }
}

impl Profile {
    pub(super) fn to_proto(&self) -> proto::Profile {
        let (name, full_name) = name::to_fields(&self.name);
        proto::Profile { name, bot: self.bot, full_name }
    }

    pub(super) fn from_proto(profile: &proto::Profile) -> Result<Self, EventError> {
        let name = name::from_fields(&profile.name, &profile.full_name).ok_or(EventError::Malformed)?;
        Ok(Self { name, bot: profile.bot })
    }
}
