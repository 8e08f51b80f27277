//! The configuration: a TOML file, overridden by the environment, overridden by flags.

mod check;
mod environment;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::address::{Network, RelayIps};

pub(crate) use check::Socket;

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Anyone who does a proof of work.
    Open,
    /// Holders of a token that `admin invite new` prints.
    Invite,
    /// Nobody; those who are registered stay.
    Closed,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the database, the server's key and the admin socket are.
    pub data_dir: PathBuf,
    /// Where peers connect. Port 0 picks a free one. `/ip6/::` is left out on hosts without IPv6.
    pub listen: Vec<Multiaddr>,
    /// Also WebSocket over TLS on port 443 of the addresses in `listen`, if it can be had: for clients in networks that let out little else.
    pub listen_443: bool,
    /// Addresses to give to users, if they differ from those listened on (behind a NAT, or with a name).
    pub public_addresses: Vec<Multiaddr>,
    /// Where operators look: `/healthz`, `/readyz`, `/metrics`. Keep it private.
    pub http: SocketAddr,
    /// `redb` (the only one so far).
    pub store: String,
    /// Log lines as text or JSON.
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`. Reloaded on SIGHUP.
    pub log_level: String,
    /// Seconds that a stopping server waits for its clients.
    pub drain_seconds: u64,
    /// Who may register. Reloaded on SIGHUP.
    pub registration: Registration,
    /// What clients may store and ask. Sizes and prices are reloaded on SIGHUP; connections and rates are those of the start.
    pub limits: Limits,
    /// Relaying for peers that cannot reach each other.
    pub relay: Relay,
    /// STUN and TURN for calls. Those of the start count.
    pub turn: Turn,
}

/// Who may register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// `open`, `invite` or `closed`.
    pub mode: RegistrationMode,
    /// Leading zero bits of the proof of work for registering (18: about 30 ms).
    pub work_bits: u32,
    /// New accounts an hour from one IPv4 address or IPv6 /64; twice as many from a /28 or /56, four times from a /24 or /48. That of the start.
    pub per_address_per_hour: u32,
}

/// What clients may store and ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Connections of registered devices at a time from one IPv4 address or IPv6 /64; twice as many from a /28 or /56, four times from a /24 or
    /// /48. Others may have an eighth of that.
    pub connections_per_address: u32,
    /// New connections a minute from one IPv4 address or IPv6 /64, and from wider networks as above; from a /16 or /32 eight times as many. A quarter
    /// of them may come at once.
    pub connections_per_minute: u32,
    /// Addresses or networks of reverse proxies, such as `127.0.0.1` or `10.0.0.0/8`. Clients behind one cannot be told apart by their addresses, so
    /// that one proxy may have half of all connections; it has to limit its clients itself.
    pub trusted_proxies: Vec<Network>,
    /// Requests a second, on average, of one account; of devices without one, from one IPv4 address or IPv6 /64, and from wider networks as above.
    pub requests_per_second: u32,
    /// Requests of those in a burst.
    pub request_burst: u32,
    /// Requests a second of all clients together; of devices without an account a quarter of that.
    pub total_requests_per_second: u32,
    /// Entries in one log.
    pub log_entries: u64,
    /// Bytes in one log.
    pub log_bytes: u64,
    /// Items in one inbox.
    pub inbox_entries: u64,
    /// Bytes in one inbox; less in those of new accounts.
    pub inbox_bytes: u64,
    /// Bytes in all logs of one conversation.
    pub conversation_bytes: u64,
    /// Bytes in all logs of one account. A new account has a sixteenth of that, and all of it after 30 days.
    pub account_bytes: u64,
    /// Bytes of everything that the server stores, about; accounts of less than 30 days have half of that. Beyond that it refuses to store more; reading and deleting go on.
    pub store_bytes: u64,
    /// Bytes that have to stay free on the disk: with less, the server refuses to store more; reading and deleting, which take some, go on.
    pub disk_reserve_bytes: u64,
    /// Days until an entry is deleted.
    pub keep_days: u64,
    /// Leading zero bits of the proof of work for writing to a stranger (20: about 0.1 s).
    pub inbox_work_bits: u32,
}

/// Relaying.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Devices that can be reached through this server at a time.
    pub reservations: usize,
    /// Circuits at a time.
    pub circuits: usize,
    /// Circuits of one device at a time.
    pub circuits_per_peer: usize,
    /// Minutes that a circuit may last; peers make a new one without losing anything.
    pub circuit_minutes: u64,
    /// Megabytes that a circuit may carry; 0 for no limit.
    pub circuit_megabytes: u64,
}

/// All addresses of the host, of both internet protocols.
const DEFAULT_LISTEN: [&str; 4] =
    ["/ip4/0.0.0.0/udp/4001/quic-v1", "/ip4/0.0.0.0/tcp/4001", "/ip6/::/udp/4001/quic-v1", "/ip6/::/tcp/4001"];

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "starling-rendezvous-data".into(),
            listen: DEFAULT_LISTEN.iter().filter_map(|a| a.parse().ok()).collect(),
            listen_443: false,
            public_addresses: Vec::new(),
            http: SocketAddr::from(([127, 0, 0, 1], 9464)),
            store: "redb".into(),
            log_format: LogFormat::Text,
            log_level: "info".into(),
            drain_seconds: 10,
            registration: Registration::default(),
            limits: Limits::default(),
            relay: Relay::default(),
            turn: Turn::default(),
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self { mode: RegistrationMode::Open, work_bits: 18, per_address_per_hour: 60 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 512,
            connections_per_minute: 600,
            trusted_proxies: Vec::new(),
            requests_per_second: 50,
            request_burst: 2_000,
            total_requests_per_second: 20_000,
            log_entries: 20_000,
            log_bytes: 32 * 1024 * 1024,
            inbox_entries: 500,
            inbox_bytes: 16 * 1024 * 1024,
            conversation_bytes: 32 * 1024 * 1024,
            account_bytes: 128 * 1024 * 1024,
            store_bytes: 16 * 1024 * 1024 * 1024,
            disk_reserve_bytes: 128 * 1024 * 1024,
            keep_days: 30,
            inbox_work_bits: 20,
        }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            reservations: 40_000,
            circuits: 2_000,
            circuits_per_peer: 32,
            circuit_minutes: 120,
            circuit_megabytes: 64,
        }
    }
}

/// STUN and TURN for calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Whether calls that find no direct path are relayed.
    pub enabled: bool,
    /// Where clients ask (UDP), as IP:PORT; empty: port 3478 of the first address in `listen`. On a host with several addresses, name one:
    /// answers have to leave from it.
    pub listen: String,
    /// The address that peers send to; empty: that of `public_addresses`, else the one listened on.
    pub public_ip: String,
    /// First UDP port for relaying; 0 lets the system choose all.
    pub first_port: u16,
    /// Last UDP port for relaying.
    pub last_port: u16,
    /// Allocations at a time; each takes a socket and a port.
    pub allocations: usize,
    /// Allocations of one account: a client takes one for each call, peer and network interface.
    pub allocations_per_user: u32,
    /// Allocations from one IPv4 address or IPv6 /64.
    pub allocations_per_address: u32,
    /// Kilobytes a second that one allocation may relay, both directions together.
    pub kilobytes_per_second: u64,
    /// Hours that credentials last; a call cannot last longer.
    pub credential_hours: u64,
    /// Relay into private networks, too, for servers in one: it opens that network to all users. Never to the server's own addresses, loopback and
    /// link-local ones.
    pub private_peers: bool,
}

impl Config {
    /// As a host can have it: without IPv6, `/ip6/::` is not listened on, unless there is nothing else.
    pub(crate) fn on_host(&self, has_ipv6: bool) -> Self {
        let is_any_v6 = |address: &Multiaddr| address.ip_addr() == Some(Ipv6Addr::UNSPECIFIED.into());
        let mut config = self.clone();
        config.listen.retain(|address| has_ipv6 || !is_any_v6(address));
        if config.listen.is_empty() { self.clone() } else { config }
    }

    /// Where WebSocket over TLS is listened for beside `listen`, if these sockets can be bound. Nowhere if `listen` names such an address itself, or
    /// if the server is for this machine alone, or may be one of several.
    pub(crate) fn listen_web(&self) -> Vec<Multiaddr> {
        use libp2p::multiaddr::Protocol;
        let decides = |part: Protocol<'_>| {
            matches!(part, Protocol::Udp(0) | Protocol::Tcp(0 | 443) | Protocol::Tls | Protocol::Wss(_))
        };
        if !self.listen_443 || self.listen.iter().any(|address| address.iter().any(decides)) {
            return Vec::new();
        }
        let ips = self.listen.iter().filter_map(|address| address.ip_addr()).filter(|ip| !ip.is_loopback());
        let ips: BTreeSet<IpAddr> = ips.collect();
        let web = |ip: IpAddr| {
            Multiaddr::from(ip).with(Protocol::Tcp(443)).with(Protocol::Tls).with(Protocol::Ws("/".into()))
        };
        ips.into_iter().map(web).collect()
    }
}

impl Config {
    /// Where STUN and TURN are served: the first address that is listened on, and the first one of the other protocol.
    pub fn turn_listen(&self) -> (SocketAddr, Option<SocketAddr>) {
        use libp2p::multiaddr::Protocol;
        if let Ok(address) = self.turn.listen.parse() {
            return (address, None);
        }
        // A server that lets the system choose its port is one of several on this machine.
        let is_free = |a: &Multiaddr| a.iter().any(|p| matches!(p, Protocol::Udp(0) | Protocol::Tcp(0)));
        let address = |a: &Multiaddr| Some(SocketAddr::new(a.ip_addr()?, if is_free(a) { 0 } else { 3478 }));
        let mut all = self.listen.iter().filter_map(address);
        let first = all.next().unwrap_or(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 3478));
        (first, all.find(|other| other.is_ipv4() != first.is_ipv4()))
    }
}

impl Config {
    /// The addresses that TURN's peers send to; `None` if they have to be set.
    pub(crate) fn turn_relay_ips(&self) -> Option<RelayIps> {
        let (first, other) = self.turn_listen();
        let both = first.is_ipv6() && first.ip().is_unspecified() && other.is_none();
        let listened = [Some(first), other].map(|address| address.map(|address| address.ip()));
        let serves = |ip: &IpAddr| both || listened.iter().flatten().any(|ours| ours.is_ipv4() == ip.is_ipv4());
        let named = self.turn.public_ip.parse::<IpAddr>().ok();
        let public = self.public_addresses.iter().filter_map(|a| a.ip_addr()).filter(serves);
        let own = listened.into_iter().flatten().filter(|ip| !ip.is_unspecified());
        let mut all = named.into_iter().chain(public).chain(own);
        all.next().map(|first| RelayIps::new(first, all))
    }

    /// The addresses of this server, as far as they are configured.
    pub(crate) fn own_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.listen.iter().chain(&self.public_addresses).filter_map(|a| a.ip_addr())
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: String::new(),
            public_ip: String::new(),
            first_port: 49_152,
            last_port: 65_535,
            allocations: 1_000,
            allocations_per_user: 16,
            allocations_per_address: 64,
            kilobytes_per_second: 1_024,
            credential_hours: 12,
            private_peers: false,
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not valid TOML, or has an unknown key or a wrong type.
    #[error("{path}: {error}")]
    Parse {
        /// The file.
        path: String,
        /// Where and what.
        error: Box<toml::de::Error>,
    },
    /// A number is outside its range.
    #[error("{setting}: {value} is outside of what makes sense: {min} to {max}")]
    OutOfRange {
        /// The setting, as in the file.
        setting: String,
        /// What was asked for.
        value: String,
        /// The smallest that makes sense.
        min: u64,
        /// The largest that makes sense.
        max: u64,
    },
    /// A value makes no sense.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: name.clone(), error })?;
        if let Ok(table) = text.parse() {
            check::numbers(&table)?;
        }
        toml::from_str(&text).map_err(|error| ConfigError::Parse { path: name, error: Box::new(error) })
    }

    /// The settings that differ from `other` and that [`Server::reload`](crate::Server::reloader) does not change, as in the file.
    pub fn needs_restart(&self, other: &Self) -> Vec<String> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (config, leaves) in [(self, &mut old), (other, &mut new)] {
            if let Ok(table) = toml::Table::try_from(config) {
                environment::leaves(&table, "", leaves);
            }
        }
        let changed = old.into_iter().zip(new).filter(|(old, new)| old != new);
        changed.map(|((setting, _), _)| setting).filter(|setting| !is_reloadable(setting)).collect()
    }
}

/// Whether a setting counts as soon as it is reloaded.
fn is_reloadable(setting: &str) -> bool {
    const AT_START: [&str; 7] = [
        "limits.connections",
        "limits.connections_per_address",
        "limits.connections_per_minute",
        "limits.trusted_proxies",
        "limits.requests_per_second",
        "limits.request_burst",
        "limits.total_requests_per_second",
    ];
    setting == "log_level"
        || (setting.starts_with("registration.") && setting != "registration.per_address_per_hour")
        || (setting.starts_with("limits.") && !AT_START.contains(&setting))
}
