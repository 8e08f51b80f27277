//! Why a server cannot start.

use std::{io, net::SocketAddr, path::PathBuf};

use libp2p::Multiaddr;

use super::identity::IdentityError;
use crate::{config::ConfigError, services::relay::turn::TurnError, store::StoreError};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {error}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server's key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A peer address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system said.
        error: io::Error,
    },
    /// The operator's port cannot be listened on.
    #[error("cannot listen on {address} for operators: {error}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// STUN and TURN cannot be served.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The transports cannot be set up.
    #[error("cannot set up the network: {0:#}")]
    Network(anyhow::Error),
}

impl StartError {
    /// What an operator can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        let (error, in_use) = match self {
            Self::Listen { error, .. } => {
                (error, "another program uses the port; choose one with --listen, port 0 picks a free one")
            }
            Self::Http { error, .. } => {
                (error, "another program uses the port; choose one with --http IP:PORT, port 0 picks a free one")
            }
            Self::Turn(TurnError::Listen { error, .. }) => {
                (error, "another program uses the port; choose one with turn.listen, or set turn.enabled = false")
            }
            Self::Turn(TurnError::NoPublicIp(_)) => {
                return Some("set turn.public_ip to the address that peers send to, or turn.enabled = false");
            }
            Self::DataDir { .. } => return Some("choose a directory that this user may write to with --data-dir"),
            _ => return None,
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => Some(in_use),
            io::ErrorKind::AddrNotAvailable => {
                Some("this machine has no such address; 0.0.0.0 or [::] stand for all that it has")
            }
            io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose one above, or grant it")
            }
            _ => None,
        }
    }
}
