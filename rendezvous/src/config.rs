//! The configuration: a TOML file, overridden by the environment, overridden by flags.

use std::{net::SocketAddr, path::PathBuf};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

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
    /// Where peers connect. Port 0 picks a free one.
    pub listen: Vec<Multiaddr>,
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
    /// What clients may store and ask. Reloaded on SIGHUP.
    pub limits: Limits,
    /// Relaying for peers that cannot reach each other.
    pub relay: Relay,
}

/// Who may register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// `open`, `invite` or `closed`.
    pub mode: RegistrationMode,
    /// Leading zero bits of the proof of work for registering (18: about 30 ms).
    pub work_bits: u32,
}

/// What clients may store and ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// New connections a minute from one IPv4 address or IPv6 /64; loopback is not counted.
    pub connections_per_minute: u32,
    /// Requests a second of one device, on average.
    pub requests_per_second: u32,
    /// Requests of one device in a burst.
    pub request_burst: u32,
    /// Entries in one log.
    pub log_entries: u64,
    /// Bytes in one log.
    pub log_bytes: u64,
    /// Items in one inbox.
    pub inbox_entries: u64,
    /// Bytes in one inbox.
    pub inbox_bytes: u64,
    /// Bytes in all logs and inboxes of one account.
    pub account_bytes: u64,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "starling-rendezvous-data".into(),
            listen: ["/ip4/0.0.0.0/udp/4001/quic-v1", "/ip4/0.0.0.0/tcp/4001"]
                .iter()
                .filter_map(|a| a.parse().ok())
                .collect(),
            public_addresses: Vec::new(),
            http: SocketAddr::from(([127, 0, 0, 1], 9464)),
            store: "redb".into(),
            log_format: LogFormat::Text,
            log_level: "info".into(),
            drain_seconds: 10,
            registration: Registration::default(),
            limits: Limits::default(),
            relay: Relay::default(),
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self { mode: RegistrationMode::Open, work_bits: 18 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_minute: 120,
            requests_per_second: 50,
            request_burst: 2_000,
            log_entries: 20_000,
            log_bytes: 32 * 1024 * 1024,
            inbox_entries: 500,
            inbox_bytes: 16 * 1024 * 1024,
            account_bytes: 128 * 1024 * 1024,
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
    /// A value makes no sense.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: name.clone(), error })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse { path: name, error: Box::new(error) })
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::Value(what));
        if self.listen.is_empty() {
            return wrong("listen: at least one address is needed, such as /ip4/0.0.0.0/udp/4001/quic-v1".into());
        }
        if self.store != "redb" {
            return wrong(format!("store: “{}” is not supported by this version; use “redb”", self.store));
        }
        if self.registration.work_bits > 32 || self.limits.inbox_work_bits > 32 {
            return wrong("a proof of work of more than 32 bits would lock everyone out".into());
        }
        let limits = &self.limits;
        if limits.keep_days == 0 || limits.keep_days > 3650 {
            return wrong("limits.keep_days: between 1 and 3650".into());
        }
        if limits.requests_per_second == 0 || limits.request_burst == 0 || limits.connections_per_minute == 0 {
            return wrong("limits: a rate of 0 would lock everyone out".into());
        }
        Ok(())
    }
}
