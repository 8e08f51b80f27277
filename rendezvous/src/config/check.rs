//! What types cannot say: the ranges of numbers, and which addresses can be listened on.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    net::{IpAddr, SocketAddr},
};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{Config, ConfigError, environment::leaves};

const MIB: u64 = 1024 * 1024;
const TIB: u64 = MIB * MIB;
/// Clients refuse to do more work than this.
const MAX_WORK_BITS: u64 = crate::limits::MAX_WORK_BITS as u64;

/// Every number in the configuration, with the smallest and the largest value that make sense. No sum or product of two of them overflows.
pub(super) const RANGES: &[(&str, u64, u64)] = &[
    ("drain_seconds", 0, 3_600),
    ("registration.work_bits", 0, MAX_WORK_BITS),
    ("registration.per_address_per_hour", 1, 10_000_000),
    ("limits.connections", 1, 10_000_000),
    ("limits.connections_per_address", 1, 10_000_000),
    ("limits.connections_per_minute", 1, 1_000_000),
    ("limits.requests_per_second", 1, 1_000_000),
    ("limits.request_burst", 1, 10_000_000),
    ("limits.total_requests_per_second", 4, 100_000_000),
    ("limits.log_entries", 1, 1_000_000_000),
    ("limits.log_bytes", MIB, TIB),
    ("limits.inbox_entries", 64, 1_000_000),
    ("limits.inbox_bytes", MIB, TIB),
    ("limits.conversation_bytes", MIB, TIB),
    ("limits.account_bytes", MIB, TIB),
    ("limits.disk_reserve_bytes", 0, TIB),
    ("limits.store_bytes", MIB, 1024 * TIB),
    ("limits.keep_days", 1, 3_650),
    ("limits.inbox_work_bits", 0, MAX_WORK_BITS),
    ("relay.reservations", 0, 10_000_000),
    ("relay.circuits", 0, 10_000_000),
    ("relay.circuits_per_peer", 0, 1_000_000),
    ("relay.circuit_minutes", 1, 527_040),
    ("relay.circuit_megabytes", 0, MIB),
    ("turn.first_port", 0, 65_535),
    ("turn.last_port", 0, 65_535),
    ("turn.allocations", 0, 1_000_000),
    ("turn.allocations_per_user", 0, 1_000_000),
    ("turn.allocations_per_address", 0, 1_000_000),
    ("turn.kilobytes_per_second", 16, MIB),
    ("turn.credential_hours", 1, 8_784),
];

/// The smallest and the largest value of a setting.
pub(super) fn range(setting: &str) -> Option<(u64, u64)> {
    RANGES.iter().find(|(name, ..)| *name == setting).map(|(_, min, max)| (*min, *max))
}

/// Checks every number in a table, which need not be complete.
pub(super) fn numbers(table: &toml::Table) -> Result<(), ConfigError> {
    let mut settings = Vec::new();
    leaves(table, "", &mut settings);
    for (setting, value) in settings {
        if let toml::Value::Integer(value) = value
            && let Some((min, max)) = range(&setting)
            && !u64::try_from(value).is_ok_and(|value| (min..=max).contains(&value))
        {
            return Err(ConfigError::OutOfRange { setting, value: value.to_string(), min, max });
        }
    }
    Ok(())
}

impl Config {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::Value(what));
        // A number that TOML cannot hold is outside of every range.
        let table = toml::Table::try_from(self).map_err(|e| ConfigError::Value(e.to_string()))?;
        numbers(&table)?;
        self.check_listen()?;
        if self.store != "redb" {
            return wrong(format!("store: “{}” is not supported by this version; use “redb”", self.store));
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log_level.as_str()) {
            return wrong(format!("log_level: “{}” is none of error, warn, info, debug, trace", self.log_level));
        }
        for address in &self.public_addresses {
            if !address.iter().any(|p| matches!(p, Protocol::Tcp(_) | Protocol::QuicV1)) {
                return wrong(format!("“{address}” names no port: it has to end as /udp/4001/quic-v1 or /tcp/4001 do"));
            }
        }
        self.check_turn()
    }

    fn check_listen(&self) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::Value(what));
        if self.listen.is_empty() {
            return wrong("listen: at least one address is needed, such as /ip4/0.0.0.0/udp/4001/quic-v1".into());
        }
        let mut sockets = HashSet::new();
        for address in &self.listen {
            let socket = Socket::of(address)?;
            if socket.address.port() != 0 && !sockets.insert(socket) {
                return wrong(format!("listen: “{address}” is there twice, or its port is"));
            }
        }
        Ok(())
    }

    fn check_turn(&self) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::Value(what));
        let turn = &self.turn;
        if turn.first_port > turn.last_port || (turn.first_port != 0 && turn.first_port < 1024) {
            return wrong("turn.first_port: a range above 1023 is needed, or 0 for both".into());
        }
        if turn.first_port == 0 && turn.last_port != 0 {
            return wrong("turn.last_port: has to be 0 if first_port is".into());
        }
        if !turn.public_ip.is_empty() && turn.public_ip.parse::<IpAddr>().is_err() {
            return wrong(format!("turn.public_ip: “{}” is not an IP address", turn.public_ip));
        }
        if !turn.listen.is_empty() && turn.listen.parse::<SocketAddr>().is_err() {
            return wrong(format!("turn.listen: “{}” is not IP:PORT", turn.listen));
        }
        Ok(())
    }
}

impl Config {
    /// Everything that a server with this configuration is bound to by a port that was not free to choose. Of what it can do without, that which it
    /// has: `web` of [`Config::listen_web`], and `turn` for calls.
    pub(crate) fn sockets(&self, web: &[Multiaddr], turn: &[SocketAddr]) -> Vec<String> {
        let listened = self.listen.iter().chain(web).filter_map(|address| Socket::of(address).ok());
        let http = Socket { tcp: true, address: self.http };
        let turn = turn.iter().map(|address| Socket { tcp: false, address: *address });
        let all = listened.chain([http]).chain(turn);
        all.filter(|socket| socket.address.port() != 0).map(|socket| socket.to_string()).collect()
    }
}

impl Config {
    /// Those that STUN and TURN are served on.
    pub(crate) fn turn_sockets(&self) -> impl Iterator<Item = Socket> {
        let (first, other) = self.turn_listen();
        let all = [first].into_iter().chain(other).map(|address| Socket { tcp: false, address });
        all.filter(|_| self.turn.enabled)
    }
}

/// What a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    /// TCP, else UDP.
    pub tcp: bool,
    /// IP address and port; port 0 lets the system choose.
    pub address: SocketAddr,
}

impl Socket {
    /// The socket behind an address that peers connect to; an error says why it cannot be listened on.
    pub fn of(address: &Multiaddr) -> Result<Self, ConfigError> {
        let mut parts = address.iter();
        let ip: IpAddr = match parts.next() {
            Some(Protocol::Ip4(ip)) => ip.into(),
            Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => {
                return Err(ConfigError::Value(format!(
                    "listen: “{address}” is a link-local address, which means nothing without its interface; use /ip6/:: for all addresses of this machine"
                )));
            }
            Some(Protocol::Ip6(ip)) => ip.into(),
            Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
                return Err(ConfigError::Value(format!(
                    "listen: “{address}” is a name, but a server listens on IP addresses; names belong into public_addresses"
                )));
            }
            _ => return Err(not_listenable(address)),
        };
        match parts.collect::<Vec<_>>().as_slice() {
            [Protocol::Tcp(port)]
            | [Protocol::Tcp(port), Protocol::Ws(_) | Protocol::Wss(_)]
            | [Protocol::Tcp(port), Protocol::Tls, Protocol::Ws(_)] => {
                Ok(Self { tcp: true, address: (ip, *port).into() })
            }
            [Protocol::Udp(port), Protocol::QuicV1] => Ok(Self { tcp: false, address: (ip, *port).into() }),
            _ => Err(not_listenable(address)),
        }
    }
}

impl Display for Socket {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, if self.tcp { "tcp" } else { "udp" })
    }
}

fn not_listenable(address: &Multiaddr) -> ConfigError {
    ConfigError::Value(format!(
        "listen: “{address}” cannot be listened on; what can is of the form /ip4/0.0.0.0/udp/4001/quic-v1, /ip4/0.0.0.0/tcp/4001, \
         /ip6/::/tcp/4002/ws or /ip4/0.0.0.0/tcp/443/tls/ws"
    ))
}
