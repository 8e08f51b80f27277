//! The node as it is now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountId, DeviceId};

/// The node as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The account of this profile.
    pub account: AccountId,
    /// Its device here.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// It is a program.
    pub bot: bool,
    /// Its user name; empty if it has none.
    pub username: String,
    /// The addresses of this device.
    pub addresses: Vec<String>,
    /// The account's address, as a link.
    pub address: String,
    /// The rendezvous servers that it uses: its own, and those of contacts.
    pub rendezvous: Vec<Rendezvous>,
    /// How others can connect to it.
    pub reachability: Reachability,
    /// Devices of contacts that are connected.
    pub peers: Peers,
    /// Batches that wait to be sent.
    pub queued: u64,
    /// Requests and invitations that wait for a rendezvous.
    pub requests_waiting: u64,
    /// What waited for this account at its rendezvous servers has been read.
    pub synced: bool,
    /// This device is no longer one of its account: it was removed, or another has taken its place. Its profile can only be read.
    #[serde(default)]
    pub removed: bool,
    /// The proxy that everything goes through, without user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl Status {
    /// The rendezvous servers of this account itself.
    pub fn homes(&self) -> impl Iterator<Item = &Rendezvous> {
        self.rendezvous.iter().filter(|server| server.own)
    }

    /// A server of this account that is connected, if none is connected over QUIC.
    pub fn without_quic(&self) -> Option<&Rendezvous> {
        let mut connected = self.homes().filter(|home| home.transport.is_some());
        let first = connected.next()?;
        let over_quic = |home: &Rendezvous| home.transport == Some(Transport::Quic);
        (!over_quic(first) && !connected.any(over_quic)).then_some(first)
    }

    /// Whether there are some, and none of them takes connections.
    pub fn is_cut_off(&self) -> bool {
        self.homes().next().is_some() && self.homes().all(|home| home.failure().is_some())
    }
}

/// A rendezvous server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rendezvous {
    /// Its first address.
    pub address: String,
    /// It is one of this account, not only of a contact.
    pub own: bool,
    /// It is connected.
    pub connected: bool,
    /// It is not, and is still tried: `problem` is what is known so far.
    #[serde(default)]
    pub connecting: bool,
    /// What the connection goes over, while it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// UDP does not get through to it, so something else is used.
    #[serde(default)]
    pub udp_blocked: bool,
    /// The account is registered there.
    pub registered: bool,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
    /// A name for that, which stays the same: `no_answer`, `token`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_code: Option<String>,
    /// Its clock minus the one of this machine, in milliseconds; 0 if it was never connected.
    pub clock_offset_ms: i64,
}

impl Rendezvous {
    /// Why the account cannot be registered at a server that is connected.
    pub fn refusal(&self) -> Option<&str> {
        self.problem.as_deref().filter(|_| self.connected && self.problem_code.as_deref() != Some("registering"))
    }

    /// Why it cannot be connected, if that was tried, and not only begun.
    pub fn failure(&self) -> Option<&str> {
        self.problem.as_deref().filter(|_| !self.connected && !self.connecting)
    }
}

words! {
    /// What a connection goes over.
    Transport {
        /// QUIC, over UDP.
        Quic = "quic",
        /// TCP.
        Tcp = "tcp",
        /// WebSocket over TCP, with TLS or without it.
        WebSocket = "websocket",
        /// TCP or WebSocket, through a proxy.
        Proxy = "proxy",
    }
}

words! {
    /// How others can connect to a node.
    #[derive(Default)]
    Reachability {
        /// Directly: that was confirmed from outside.
        Public = "public",
        /// By hole punching or through the relay of its rendezvous.
        Relay = "relay",
        /// Only from the same network.
        #[default]
        None = "none",
    }
}

/// How many devices of contacts are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peers {
    /// Directly.
    pub direct: usize,
    /// Through a relay.
    pub relayed: usize,
}

words! {
    /// Who may see something of this account.
    Audience {
        /// Everyone in a conversation with it.
        Everyone = "everyone",
        /// Contacts.
        Contacts = "contacts",
        /// Nobody.
        Nobody = "nobody",
    }
}

/// Who may see what of this account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Privacy {
    /// When it was there last.
    pub last_seen: Audience,
    /// That it has read a message.
    pub receipts: Audience,
    /// That it is typing.
    pub typing: Audience,
}
