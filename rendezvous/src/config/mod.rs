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
            turn: Turn::default(),
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
    /// Relay into private networks, too. For tests: it opens the operator's network to all users.
    pub private_peers: bool,
}

impl Config {
    /// Where STUN and TURN are served.
    pub fn turn_listen(&self) -> SocketAddr {
        use libp2p::multiaddr::Protocol;
        if let Ok(address) = self.turn.listen.parse() {
            return address;
        }
        let first = self.listen.first();
        let ip = first.and_then(|a| {
            a.iter().find_map(|p| match p {
                Protocol::Ip4(ip) => Some(ip.into()),
                Protocol::Ip6(ip) => Some(ip.into()),
                _ => None,
            })
        });
        // A server that lets the system choose its port is one of several on this machine.
        let free = first.is_some_and(|a| a.iter().any(|p| matches!(p, Protocol::Udp(0) | Protocol::Tcp(0))));
        SocketAddr::new(ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()), if free { 0 } else { 3478 })
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

    /// Overrides every setting that has a variable: `STARLING_RENDEZVOUS_` and its path in capitals, with `_` for the dots, such as
    /// `STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES`. Several addresses are separated by commas.
    pub fn with_environment(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let wrong = |name: &str, what: String| ConfigError::Value(format!("{name}: {what}"));
        let mut table = toml::Table::try_from(&self).map_err(|e| wrong("configuration", e.to_string()))?;
        override_table(&mut table, "STARLING_RENDEZVOUS", &variable)
            .map_err(|(name, what)| ConfigError::Value(format!("{name}: {what}")))?;
        table.try_into().map_err(|e: toml::de::Error| wrong("environment", e.message().to_owned()))
    }

    /// Refuses a variable with our prefix that is none: a setting that is misspelt would silently not count.
    pub fn check_variables(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
        let mut known = vec!["CONFIG".to_owned(), "PUBLIC_ADDRESS".into()];
        if let Ok(table) = toml::Table::try_from(Self::default()) {
            leaves(&table, "", &mut known);
        }
        for name in names {
            if let Some(setting) = name.strip_prefix("STARLING_RENDEZVOUS_")
                && !known.iter().any(|k| k == setting)
            {
                return Err(ConfigError::Value(format!("there is no setting for the variable {name}")));
            }
        }
        Ok(())
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
        if self.registration.work_bits > 24 || self.limits.inbox_work_bits > 24 {
            return wrong("a proof of work of more than 24 bits is refused by clients".into());
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log_level.as_str()) {
            return wrong(format!("log_level: “{}” is none of error, warn, info, debug, trace", self.log_level));
        }
        for address in self.listen.iter().chain(&self.public_addresses) {
            use libp2p::multiaddr::Protocol;
            if !address.iter().any(|p| matches!(p, Protocol::Tcp(_) | Protocol::QuicV1)) {
                return wrong(format!("“{address}” names no port: it has to end as /udp/4001/quic-v1 or /tcp/4001 do"));
            }
        }
        let limits = &self.limits;
        let least = [
            ("connections", u64::from(limits.connections), 1),
            ("log_entries", limits.log_entries, 1),
            ("log_bytes", limits.log_bytes, 1024 * 1024),
            ("inbox_entries", limits.inbox_entries, 64),
            ("inbox_bytes", limits.inbox_bytes, 1024 * 1024),
            ("account_bytes", limits.account_bytes, 1024 * 1024),
        ];
        for (name, value, least) in least {
            if value < least {
                return wrong(format!("limits.{name}: {value} is too little to work with: {least} at least"));
            }
        }
        if limits.keep_days == 0 || limits.keep_days > 3650 {
            return wrong("limits.keep_days: between 1 and 3650".into());
        }
        if limits.requests_per_second == 0 || limits.request_burst == 0 || limits.connections_per_minute == 0 {
            return wrong("limits: a rate of 0 would lock everyone out".into());
        }
        let turn = &self.turn;
        if turn.first_port > turn.last_port || (turn.first_port != 0 && turn.first_port < 1024) {
            return wrong("turn.first_port: a range above 1023 is needed, or 0 for both".into());
        }
        if turn.first_port == 0 && turn.last_port != 0 {
            return wrong("turn.last_port: has to be 0 if first_port is".into());
        }
        if !turn.public_ip.is_empty() && turn.public_ip.parse::<std::net::IpAddr>().is_err() {
            return wrong(format!("turn.public_ip: “{}” is not an IP address", turn.public_ip));
        }
        if turn.kilobytes_per_second < 16 || turn.kilobytes_per_second > 1_048_576 || turn.credential_hours == 0 {
            return wrong("turn: kilobytes_per_second between 16 and 1048576, credential_hours at least 1".into());
        }
        if !turn.listen.is_empty() && turn.listen.parse::<SocketAddr>().is_err() {
            return wrong(format!("turn.listen: “{}” is not IP:PORT", turn.listen));
        }
        Ok(())
    }
}

/// The names of all settings, as in variables.
fn leaves(table: &toml::Table, path: &str, names: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{path}{}", key.to_uppercase());
        match value {
            toml::Value::Table(inner) => leaves(inner, &format!("{name}_"), names),
            _ => names.push(name),
        }
    }
}

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn override_table(table: &mut toml::Table, path: &str, variable: Variable<'_>) -> Result<(), (String, String)> {
    for (key, value) in table.iter_mut() {
        let name = format!("{path}_{}", key.to_uppercase());
        if let toml::Value::Table(inner) = value {
            override_table(inner, &name, variable)?;
        } else if let Some(text) = variable(&name) {
            let parsed = match value {
                toml::Value::Integer(_) => text.trim().parse().ok().map(toml::Value::Integer),
                toml::Value::Boolean(_) => text.trim().parse().ok().map(toml::Value::Boolean),
                toml::Value::Array(_) => {
                    let items = text.split(',').map(str::trim).filter(|t| !t.is_empty());
                    Some(toml::Value::Array(items.map(|t| toml::Value::String(t.to_owned())).collect()))
                }
                _ => Some(toml::Value::String(text.clone())),
            };
            let what = || format!("“{}” is not valid there", text.escape_debug());
            *value = parsed.ok_or_else(|| (name.clone(), what()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Config, ConfigError> {
        let config = Config::default().with_environment(|n| (n == name).then(|| value.to_owned()))?;
        config.check().map(|()| config)
    }

    #[test]
    fn every_setting_has_a_variable() {
        let config = with("STARLING_RENDEZVOUS_REGISTRATION_MODE", "closed").unwrap();
        assert_eq!(config.registration.mode, RegistrationMode::Closed);
        let config = with("STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES", "7").unwrap();
        assert_eq!(config.limits.log_entries, 7);
        let two = "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/udp/2/quic-v1";
        assert_eq!(with("STARLING_RENDEZVOUS_LISTEN", two).unwrap().listen.len(), 2);
        assert_eq!(Config::default().with_environment(|_| None).unwrap(), Config::default());
    }

    #[test]
    fn misspelt_variables_are_refused() {
        let check = |name: &str| Config::check_variables([name.to_owned()].into_iter());
        assert!(check("STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES").is_ok() && check("HOME").is_ok());
        assert!(check("STARLING_RENDEZVOUS_LISTEN").is_ok() && check("STARLING_RENDEZVOUS_CONFIG").is_ok());
        assert!(check("STARLING_RENDEZVOUS_LIMITS_LOGENTRIES").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value) in [
            ("STARLING_RENDEZVOUS_REGISTRATION_MODE", "maybe"),
            ("STARLING_RENDEZVOUS_LOG_LEVEL", "loud"),
            ("STARLING_RENDEZVOUS_LISTEN", "/ip4/1.2.3.4"),
            ("STARLING_RENDEZVOUS_LISTEN", ""),
            ("STARLING_RENDEZVOUS_LIMITS_CONNECTIONS", "0"),
            ("STARLING_RENDEZVOUS_LIMITS_LOG_BYTES", "many"),
            ("STARLING_RENDEZVOUS_HTTP", "nowhere"),
        ] {
            assert!(with(name, value).is_err(), "{name}={value}");
        }
    }
}
