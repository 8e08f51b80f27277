//! The node as it is now.

use starling_keys::{AccountId, DeviceId};

use crate::{api::problem::HomeProblem, net::Transport};

/// A rendezvous as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeStatus {
    /// Its first address.
    pub address: String,
    /// One of ours (not only of a contact).
    pub own: bool,
    /// Connected.
    pub connected: bool,
    /// What the connection goes over, while it is connected.
    pub transport: Option<Transport>,
    /// UDP does not get through to it, and something else does.
    pub udp_blocked: bool,
    /// Registered there.
    pub registered: bool,
    /// What is wrong, if anything.
    pub problem: Option<HomeProblem>,
    /// Its clock minus ours, in milliseconds. 0 if it has not greeted us yet.
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
    /// The proxy that everything goes through, without user name and password.
    pub proxy: Option<String>,
    /// Everything that waited for us at our homes has been read.
    pub synced: bool,
    /// This device is no longer one of its account.
    pub removed: bool,
    /// Our contact address, as a link.
    pub address: String,
    /// Our user name, if we have one.
    pub username: String,
}
