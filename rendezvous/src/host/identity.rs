//! The server's key: made once, kept in the data directory with mode 0600.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use libp2p::identity::Keypair;

use crate::private_file::keep_private;

/// Why the server's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot use the key file {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The file does not hold a key.
    #[error("{0} does not hold a key of 32 bytes: restore it from a backup, or delete it to get a new identity")]
    Malformed(String),
}

/// The server's key pair and the secret that user names are hashed with.
pub(crate) struct Identity {
    pub keypair: Keypair,
    pub name_key: [u8; 32],
    pub turn_key: [u8; 32],
    /// Under which name it is kept in memory where members are connected from: one that nobody else can know before.
    pub last_seen_name: [u8; 32],
}

impl Identity {
    /// Whether the key file can be used, or there is none yet.
    pub fn check(path: &Path) -> Result<(), IdentityError> {
        read_seed(path).map(|_| ())
    }

    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let io = |error| IdentityError::Io { path: path.display().to_string(), error };
        let mut seed = match read_seed(path)? {
            Some(seed) => {
                keep_private(path).map_err(io)?;
                seed
            }
            None => {
                let seed: [u8; 32] = rand::random();
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
                file.write_all(&seed).map_err(io)?;
                file.sync_all().map_err(io)?;
                seed
            }
        };
        let name_key = blake3::derive_key("starling 2026 rendezvous user names v1", &seed);
        let turn_key = blake3::derive_key("starling 2026 rendezvous turn v1", &seed);
        let last_seen_name = blake3::derive_key("starling 2026 rendezvous last seen v1", &seed);
        let keypair =
            Keypair::ed25519_from_bytes(&mut seed).map_err(|_| IdentityError::Malformed(path.display().to_string()))?;
        Ok(Self { keypair, name_key, turn_key, last_seen_name })
    }
}

/// The seed in a key file, if there is one.
fn read_seed(path: &Path) -> Result<Option<[u8; 32]>, IdentityError> {
    let name = || path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => bytes.as_slice().try_into().map(Some).map_err(|_| IdentityError::Malformed(name())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Io { path: name(), error }),
    }
}
