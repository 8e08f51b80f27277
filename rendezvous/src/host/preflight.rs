//! What has to hold before a server can start. `config check` asks for exactly this, and the server begins with it.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    fs, io,
    net::Ipv6Addr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use libp2p::Multiaddr;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use serde_json::json;

use super::{StartError, identity::Identity};
use crate::{
    config::{Config, Socket},
    services::{
        operator::{Metrics, ask_admin},
        relay::turn::{TurnError, TurnServer},
    },
};

/// Longest path of a Unix socket.
const MAX_SOCKET_PATH: usize = 107;
/// How long the server that runs in the data directory may take to say what it is bound to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that a server can do without.
#[derive(Debug)]
pub enum Warning {
    /// Calls between networks that let nothing in will find no path.
    NoCallRelay(TurnError),
    /// Clients that have IPv6 alone cannot connect.
    NoIpv6,
    /// Clients in networks that let out nothing but port 443 find no way, unless a proxy has that port.
    NoWeb {
        /// The address.
        address: Multiaddr,
        /// What the system said.
        error: io::Error,
    },
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCallRelay(error) => write!(f, "no relay for calls: {error}"),
            Self::NoIpv6 => f.write_str("this host has no IPv6: /ip6/:: is not listened on"),
            Self::NoWeb { address, error } => write!(
                f,
                "cannot listen on {address}, for networks that let out nothing else: {error}. If a proxy has that port, let it pass WebSocket on; \
                 listen_443 = false if this is as it should be"
            ),
        }
    }
}

/// Checks the configuration, the data directory and every address: each is bound for a moment. What a server that runs in the same data
/// directory is bound to is left out. Nothing is created.
pub async fn preflight(config: &Config) -> Result<Vec<Warning>, StartError> {
    config.check()?;
    let wanted = config.listen.len();
    let config = &config.on_host(has_ipv6());
    let mut warnings = Vec::new();
    if config.listen.len() < wanted {
        warnings.push(Warning::NoIpv6);
    }
    let dir = &config.data_dir;
    check_data_dir(dir).map_err(|error| StartError::DataDir { path: dir.clone(), error })?;
    Identity::check(&dir.join("identity"))?;
    let held = held_by_running_server(dir).await;
    let is_free = |socket: &Socket| !held.contains(&socket.to_string());
    let mut bound: Vec<OwnedFd> = Vec::new();
    for address in &config.listen {
        let socket = Socket::of(address)?;
        if is_free(&socket) {
            bound.push(bind(&socket).map_err(|error| StartError::Listen { address: address.clone(), error })?);
        }
    }
    let http = Socket { tcp: true, address: config.http };
    if is_free(&http) {
        bound.push(bind(&http).map_err(|error| StartError::Http { address: config.http, error })?);
    }
    for address in config.listen_web() {
        let socket = Socket::of(&address)?;
        if is_free(&socket) {
            match bind(&socket) {
                Ok(socket) => bound.push(socket),
                Err(error) => warnings.push(Warning::NoWeb { address, error }),
            }
        }
    }
    if config.turn.enabled && config.turn_sockets().all(|socket| is_free(&socket)) {
        match bind_turn(config, [0; 32], &Metrics::new()).await? {
            Ok(_) => {}
            Err(warning) => warnings.push(warning),
        }
    }
    Ok(warnings)
}

/// Binds the relay for calls. One that is asked for by name has to work; else calls that need a relay do without.
pub(crate) async fn bind_turn(
    config: &Config,
    secret: [u8; 32],
    metrics: &Metrics,
) -> Result<Result<TurnServer, Warning>, StartError> {
    match TurnServer::bind(config, secret, metrics).await {
        Ok(server) => Ok(Ok(server)),
        Err(error) if !config.turn.listen.is_empty() => Err(error.into()),
        Err(error) => Ok(Err(Warning::NoCallRelay(error))),
    }
}

/// Whether this process can have IPv6 sockets: not if the system was started without, or keeps them from it.
pub(crate) fn has_ipv6() -> bool {
    bind(&Socket { tcp: false, address: (Ipv6Addr::UNSPECIFIED, 0).into() }).is_ok()
}

/// As the server's transports bind. They also share a port with other processes of this user, which is never what is meant: here it is refused.
fn bind(socket: &Socket) -> io::Result<OwnedFd> {
    let family = if socket.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if socket.tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let fd = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if socket.address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    if socket.tcp {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    net::bind(&fd, &socket.address)?;
    Ok(fd)
}

/// Whether the directory, or the nearest one above that exists, can be written to.
fn check_data_dir(dir: &Path) -> io::Result<()> {
    if dir.join("admin.sock").as_os_str().len() > MAX_SOCKET_PATH {
        let problem =
            format!("its path is too long for the admin socket in it, which may have {MAX_SOCKET_PATH} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut existing: PathBuf = dir.to_owned();
    loop {
        match fs::metadata(&existing) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {
                let above = existing.parent().filter(|above| !above.as_os_str().is_empty());
                existing = above.unwrap_or(Path::new(".")).to_owned();
            }
        }
    }
    rustix::fs::access(&existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
    // Rights are not all: nothing can be made in /proc or /sys, whoever asks.
    let probe = existing.join(format!(".starling-check-{}", std::process::id()));
    fs::create_dir(&probe)?;
    fs::remove_dir(&probe)
}

/// What a server that already runs in this directory is bound to.
async fn held_by_running_server(dir: &Path) -> HashSet<String> {
    let status = tokio::time::timeout(PATIENCE, ask_admin(dir, json!({ "command": "status" }))).await;
    let Ok(Ok(status)) = status else {
        return HashSet::new();
    };
    let sockets = status.get("sockets").and_then(|sockets| sockets.as_array());
    sockets.into_iter().flatten().filter_map(|socket| socket.as_str()).map(str::to_owned).collect()
}
