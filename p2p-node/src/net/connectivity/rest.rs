//! How long connections over datagrams may be silent, over each internet protocol: a NAT for IPv4 says nothing of a firewall for IPv6.

use std::time::Duration;

use super::{Connectivity, IpVersion, Subject};

/// How long a connection over datagrams may be silent where nothing is known of the network: some NATs forget a mapping after 15 s.
pub const FIRST_REST: Duration = Duration::from_secs(12);

/// What the network has shown to allow.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    v4: Duration,
    v6: Duration,
}

impl Default for Rest {
    fn default() -> Self {
        Self { v4: FIRST_REST, v6: FIRST_REST }
    }
}

impl Rest {
    /// For connections over an internet protocol.
    pub fn over(&self, version: IpVersion) -> Duration {
        match version {
            IpVersion::V4 => self.v4,
            IpVersion::V6 => self.v6,
        }
    }

    /// Returns what was allowed before.
    pub fn set(&mut self, version: IpVersion, rest: Duration) -> Duration {
        let of_version = match version {
            IpVersion::V4 => &mut self.v4,
            IpVersion::V6 => &mut self.v6,
        };
        std::mem::replace(of_version, rest)
    }
}

impl Connectivity {
    /// The internet protocol of the connection that carries a session or stream, if that goes over datagrams.
    pub(super) fn version_of(&self, subject: Subject) -> Option<IpVersion> {
        let (_, on) = self.connection_of(subject)?;
        self.over_datagrams.get(&on).copied()
    }

    /// How long a session or stream may be silent if its connection goes over datagrams. What goes through a relay may go over those of any of our
    /// connections.
    pub(super) fn rest_of(&self, subject: Subject) -> Duration {
        if let Some(version) = self.version_of(subject) {
            return self.rest.over(version);
        }
        let in_use = self.over_datagrams.values().map(|version| self.rest.over(*version));
        in_use.min().unwrap_or_else(|| self.rest.v4.max(self.rest.v6))
    }
}
